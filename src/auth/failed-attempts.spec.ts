import { describe, expect, it } from '@jest/globals';
import { FailedAttempts, networkOf } from './failed-attempts.js';

describe('wrong tokens', () => {
  const guess = (attempts: FailedAttempts, address: string, count: number) =>
    Array.from({ length: count }, (_, n) => attempts.note(address, `token-${n}`));

  it('are counted per address, and forgotten after a minute', () => {
    let now = 0;
    const attempts = new FailedAttempts(() => now);
    expect(guess(attempts, '192.0.2.1', 20).indexOf(true)).toBe(19);
    expect(attempts.secondsToWait('192.0.2.1')).toBe(60);
    expect(attempts.secondsToWait('192.0.2.2')).toBe(0);
    now = 59_001;
    expect(attempts.secondsToWait('192.0.2.1')).toBe(1);
    now = 60_000;
    expect(attempts.secondsToWait('192.0.2.1')).toBe(0);
    expect(attempts.isKnown('192.0.2.1', 'token-0')).toBe(false);
    expect(guess(attempts, '192.0.2.1', 20).indexOf(true)).toBe(19);
    expect(attempts.secondsToWait('192.0.2.1')).toBe(60);
  });

  it('count once each: a client with an old token shuts out nobody', () => {
    const attempts = new FailedAttempts(() => 0);
    for (let n = 0; n < 1_000; n += 1) attempts.note('192.0.2.1', 'revoked');
    expect(attempts.secondsToWait('192.0.2.1')).toBe(0);
    expect(attempts.isKnown('192.0.2.1', 'revoked')).toBe(true);
    expect(attempts.isKnown('192.0.2.1', 'another')).toBe(false);
    expect(attempts.isKnown('192.0.2.2', 'revoked')).toBe(false);
  });

  it('take a bounded memory, whoever sends them', () => {
    const attempts = new FailedAttempts(() => 0);
    for (let n = 0; n < 12_000; n += 1) attempts.note(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, 'x');
    expect(attempts.size).toBe(10_000);
    expect(attempts.isKnown('10.0.0.0', 'x')).toBe(false);
    expect(attempts.isKnown('10.0.46.223', 'x')).toBe(true);
  });

  it('are forgotten first of those who guessed first, however often they did before', () => {
    let now = 0;
    const attempts = new FailedAttempts(() => now);
    attempts.note('192.0.2.1', 'x');
    now = 1;
    attempts.note('192.0.2.2', 'x');
    now = 60_000;
    attempts.note('192.0.2.1', 'x');
    for (let n = 0; n < 9_999; n += 1) attempts.note(`10.0.${n >> 8}.${n & 255}`, 'x');
    expect(attempts.isKnown('192.0.2.2', 'x')).toBe(false);
    expect(attempts.isKnown('192.0.2.1', 'x')).toBe(true);
  });
});

describe('networkOf', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:DB8:1:2::', '2001:db8:1:2'],
    ['2001:0db8::1', '2001:db8:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::1', '0:0:0:0'],
    ['::', '0:0:0:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4'],
    ['1::3:4:5:6:7:8', '1:0:3:4'],
    ['1::4:5:6:7:8', '1:0:0:4'],
    ['1:2:3::8', '1:2:3:0'],
    ['1:2:3:4:5:6:7::', '1:2:3:4'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0'],
    ['not an address', 'not an address'],
  ])('%s: %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
