import { describe, expect, it } from '@jest/globals';
import { MOST_BYTES_AT_ONCE, WriteBudget } from './write-budget.js';

describe('what a token may leave behind', () => {
  it('is so much at once, and a little a minute after that', () => {
    let now = 0;
    const budget = new WriteBudget(() => now);
    let taken = 0;
    for (; budget.secondsToWait('a') === 0 && taken < 2 * MOST_BYTES_AT_ONCE; taken += 131_072)
      budget.take('a', 131_072);
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

  it('is 64 MiB to the last byte, with 1 KiB for the rows of each change', () => {
    const budget = new WriteBudget(() => 0);
    for (let n = 0; n < 64; n += 1) {
      expect(budget.secondsToWait('a')).toBe(0);
      budget.take('a', 1_048_576 - 1_024 - (n === 63 ? 1 : 0));
    }
    expect(budget.secondsToWait('a')).toBe(0);
    budget.take('a', 0);
    expect(budget.secondsToWait('a')).toBe(1);
    budget.take('b', MOST_BYTES_AT_ONCE - 1_024);
    expect(budget.secondsToWait('b')).toBe(1);
    // What was stored beyond it flows in before the next change.
    budget.take('c', MOST_BYTES_AT_ONCE - 1_024 + 1_048_575);
    expect(budget.secondsToWait('c')).toBe(60);
  });

  it('takes a bounded memory, in which those stay who have to wait', () => {
    let now = 0;
    const budget = new WriteBudget(() => now);
    budget.take('waits', 2 * MOST_BYTES_AT_ONCE);
    for (let n = 0; n < 9_999; n += 1) budget.take(String(n), 0);
    expect(budget.size).toBe(10_000);
    now = 1_000;
    budget.take('next', 0);
    expect(budget.size).toBe(2);
    expect(budget.secondsToWait('waits')).toBeGreaterThan(3_600);
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
