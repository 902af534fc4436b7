import { describe, expect, it } from '@jest/globals';
import { LogThrottle } from './log-throttle.js';

describe('what is logged seldom', () => {
  it('is told once a second of each kind, with how many were not', () => {
    let now = 0;
    const logged: string[] = [];
    const throttle = new LogThrottle(() => now);
    for (; now < 3_000; now += 10) {
      throttle.log('forged', (unlogged) => logged.push(`${now} forged ${unlogged}`));
      if (now % 500 === 0) throttle.log('late', (unlogged) => logged.push(`${now} late ${unlogged}`));
    }
    expect(logged).toEqual([
      '0 forged 0',
      '0 late 0',
      '1000 forged 99',
      '1000 late 1',
      '2000 forged 99',
      '2000 late 1',
    ]);
  });
});
