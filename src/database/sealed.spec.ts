import { describe, expect, it } from '@jest/globals';
import { createSecretKey } from 'node:crypto';
import { seal, unseal } from './sealed.js';

const key = createSecretKey(Buffer.alloc(32, 1));
const other = createSecretKey(Buffer.alloc(32, 2));

describe('seal', () => {
  it('opens with the key and the context it was sealed with', () => {
    expect(unseal(key, seal(key, 'launch secret ✓', 'launch-1'), 'launch-1')).toBe('launch secret ✓');
  });

  it('shows nothing, and never the same twice', () => {
    const [one, two] = [seal(key, 'launch secret', 'launch-1'), seal(key, 'launch secret', 'launch-1')];
    expect(one.toString('latin1')).not.toContain('secret');
    expect(one.equals(two)).toBe(false);
  });

  it.each([
    ['another key', () => unseal(other, seal(key, 'x', 'launch-1'), 'launch-1')],
    ['another row', () => unseal(key, seal(key, 'x', 'launch-1'), 'launch-2')],
    ['a changed byte', () => unseal(key, flipLast(seal(key, 'x', 'launch-1')), 'launch-1')],
    ['another version', () => unseal(key, Buffer.from([9, 9, 9]), 'launch-1')],
    ['too few bytes', () => unseal(key, seal(key, 'x', 'launch-1').subarray(0, 12), 'launch-1')],
    ['nothing', () => unseal(key, Buffer.alloc(0), 'launch-1')],
  ])('does not open with %s', (_, open) => {
    expect(open).toThrow(/sealed value of launch-/);
  });
});

function flipLast(bytes: Buffer): Buffer {
  const last = bytes.length - 1;
  bytes[last] = (bytes[last] ?? 0) ^ 1;
  return bytes;
}
