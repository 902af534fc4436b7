import { describe, expect, it } from '@jest/globals';
import { MOST_BYTES_AT_ONCE, WriteBudget } from './write-budget.js';

describe('what a token may leave behind', () => {
  it('is so much at once, and a little a minute after that', () => {
    let now = 0;
    const budget = new WriteBudget(() => now);
    let taken = 0;
    for (; budget.secondsToWait('a') === 0; taken += 131_072) budget.take('a', 131_072);
    expect(Math.abs(taken - MOST_BYTES_AT_ONCE)).toBeLessThan(1_048_576);
    expect(budget.secondsToWait('a')).toBeGreaterThan(0);
    expect(budget.secondsToWait('b')).toBe(0);
    let later = 0;
    for (; now < 3_600_000; now += 100) {
      if (budget.secondsToWait('a') > 0) continue;
      budget.take('a', 131_072);
      later += 131_072;
    }
    expect(later / 60 / 1_048_576).toBeCloseTo(1, 1);
  });

  it('is more than a busy pipeline needs: 200 changes a minute for a day', () => {
    let now = 0;
    const budget = new WriteBudget(() => now);
    let refused = 0;
    for (; now < 86_400_000; now += 300) {
      if (budget.secondsToWait('ci') > 0) refused += 1;
      budget.take('ci', 4_096);
    }
    expect(refused).toBe(0);
  });
});
