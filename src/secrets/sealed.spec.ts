import { describe, expect, it } from '@jest/globals';
import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { headerOf, type Keys, seal, unseal } from './sealed.js';

const key = createSecretKey(Buffer.alloc(32, 1));
const other = createSecretKey(Buffer.alloc(32, 2));
const keys: Keys = [key];

describe('seal', () => {
  it('opens with the key and the context it was sealed with', () => {
    expect(unseal(keys, seal(keys, 'launch secret ✓', 'launch-1'), 'launch-1')).toBe('launch secret ✓');
  });

  it('shows nothing, and never the same twice', () => {
    const [one, two] = [seal(keys, 'launch secret', 'launch-1'), seal(keys, 'launch secret', 'launch-1')];
    expect(one.toString('latin1')).not.toContain('secret');
    expect(one.equals(two)).toBe(false);
  });

  it('is done by the first key, opened by any', () => {
    const sealed = seal(keys, 'x', 'launch-1');
    expect(unseal([other, key], sealed, 'launch-1')).toBe('x');
    expect(sealed.subarray(0, 5)).toEqual(headerOf(key));
    expect(seal([other, key], 'x', 'launch-1').subarray(0, 5)).toEqual(headerOf(other));
  });

  it('opens what was sealed before keys had ids', () => {
    expect(unseal([other, key], sealOfOld(key, 'x', 'launch-1'), 'launch-1')).toBe('x');
    expect(() => unseal([other], sealOfOld(key, 'x', 'launch-1'), 'launch-1')).toThrow(/sealed value of launch-/);
  });

  it.each([
    ['another key', () => unseal([other], seal(keys, 'x', 'launch-1'), 'launch-1')],
    ['another row', () => unseal(keys, seal(keys, 'x', 'launch-1'), 'launch-2')],
    ['a changed byte', () => unseal(keys, flip(-1, seal(keys, 'x', 'launch-1')), 'launch-1')],
    ['a changed id of its key', () => unseal(keys, flip(1, seal(keys, 'x', 'launch-1')), 'launch-1')],
    ['another version', () => unseal(keys, Buffer.from([9, 9, 9]), 'launch-1')],
    ['too few bytes', () => unseal(keys, seal(keys, 'x', 'launch-1').subarray(0, 12), 'launch-1')],
    ['nothing', () => unseal(keys, Buffer.alloc(0), 'launch-1')],
  ])('does not open with %s', (_, open) => {
    expect(open).toThrow(/sealed value of launch-/);
  });
});

function flip(index: number, bytes: Buffer): Buffer {
  const at = (index + bytes.length) % bytes.length;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

function sealOfOld(by: KeyObject, text: string, context: string): Buffer {
  const nonce = Buffer.alloc(12, 3);
  const cipher = createCipheriv('aes-256-gcm', by, nonce).setAAD(Buffer.from(context));
  const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([Buffer.from([1]), nonce, cipher.getAuthTag(), ciphertext]);
}
