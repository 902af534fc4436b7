import { describe, expect, it } from '@jest/globals';
import { Seldom } from './seldom.js';

describe('what is told seldom', () => {
  it('is told once a second of each kind, with how many were not', () => {
    let now = 0;
    const told: string[] = [];
    const seldom = new Seldom(() => now);
    for (; now < 3_000; now += 10) {
      seldom.tell('forged', (untold) => told.push(`${now} forged ${untold}`));
      if (now % 500 === 0) seldom.tell('late', (untold) => told.push(`${now} late ${untold}`));
    }
    expect(told).toEqual(['0 forged 0', '0 late 0', '1000 forged 99', '1000 late 1', '2000 forged 99', '2000 late 1']);
  });
});
