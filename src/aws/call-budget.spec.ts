import { describe, expect, it } from '@jest/globals';
import { toAwsError } from './aws-error.js';
import { CallBudget, type BudgetStart } from './call-budget.js';

function budgetOf(start: BudgetStart = { kind: 'full' }, share = 1) {
  const clock = { now: 0 };
  return { clock, budget: new CallBudget({ share, now: () => clock.now, start }) };
}

describe('CallBudget', () => {
  it('lets pass what EC2 lets pass: five RunInstances at once, then two a second', () => {
    const { clock, budget } = budgetOf();
    const taken = [1, 2, 3, 4, 5].map(() => budget.take('RunInstances'));
    expect(taken).toEqual([0, 0, 0, 0, 0]);
    expect(budget.take('RunInstances')).toBe(500);
    clock.now = 499;
    expect(budget.take('RunInstances')).toBeGreaterThan(0);
    clock.now = 500;
    expect(budget.take('RunInstances')).toBe(0);
    expect(budget.take('RunInstances')).toBe(500);
  });

  it('counts instances as well: 1,000 at once, then two a second', () => {
    const { clock, budget } = budgetOf();
    expect(budget.take('RunInstances', 1000)).toBe(0);
    expect(budget.available('RunInstances')).toBe(0);
    expect(budget.take('RunInstances', 10)).toBe(5000);
    clock.now = 5000;
    expect(budget.take('RunInstances', 10)).toBe(0);
  });

  it('takes nothing from one bucket when the other is empty', () => {
    const { clock, budget } = budgetOf();
    budget.take('RunInstances', 1000);
    for (let tries = 0; tries < 10; tries += 1) budget.take('RunInstances', 100);
    clock.now = 50_000;
    expect(budget.take('RunInstances', 100)).toBe(0);
    expect([1, 1, 1, 1].map(() => budget.take('RunInstances', 0))).toEqual([0, 0, 0, 0]);
  });

  it('keeps to its share', () => {
    const { budget } = budgetOf({ kind: 'full' }, 0.4);
    expect([1, 2, 3].map(() => budget.take('RunInstances'))).toEqual([0, 0, 1250]);
  });

  it('lets a call pass that is larger than its bucket ever gets, once the bucket is full', () => {
    const { budget } = budgetOf({ kind: 'full' }, 0.1);
    expect(budget.take('RunInstances', 200)).toBe(0);
  });

  it('keeps actions apart', () => {
    const { budget } = budgetOf();
    while (budget.take('RunInstances') === 0);
    expect(budget.take('TerminateInstances', 100)).toBe(0);
    expect(budget.take('DescribeInstances')).toBe(0);
  });

  it('starts empty after a crash, but for what has been refilled since', () => {
    const crashed = budgetOf({ kind: 'levels', tokens: {}, elapsedMs: 0 });
    expect(crashed.budget.take('RunInstances')).toBe(500);
    const later = budgetOf({ kind: 'levels', tokens: {}, elapsedMs: 3_600_000 });
    expect(later.budget.take('RunInstances', 1000)).toBe(0);
  });

  it('goes on where another left off', () => {
    const first = budgetOf();
    first.budget.take('RunInstances', 300);
    const tokens = first.budget.snapshot();
    const second = budgetOf({ kind: 'levels', tokens, elapsedMs: 1000 });
    expect(second.budget.available('RunInstances')).toBe(702);
    expect(second.budget.snapshot()).toMatchObject({ RunInstances: 5 });
  });

  it('slows down when EC2 refuses all the same, and recovers', () => {
    const { clock, budget } = budgetOf();
    budget.throttled('RunInstances');
    expect(budget.take('RunInstances')).toBe(1000);
    budget.throttled('RunInstances');
    expect(budget.take('RunInstances')).toBe(2000);
    clock.now = 15_000;
    budget.take('RunInstances');
    clock.now = 60_000;
    while (budget.take('RunInstances') === 0);
    expect(budget.take('RunInstances')).toBe(500);
  });

  it('hears a throttle in the error of a call, and nothing in another', () => {
    const { budget } = budgetOf();
    const error = (action: string, name: string) => toAwsError(action, Object.assign(new Error(), { name }));
    budget.recordFailure(error('RunInstances', 'InsufficientInstanceCapacity'));
    budget.recordFailure(error('RunInstances', 'ExpiredToken'));
    budget.recordFailure(error('CreateTags', 'RequestLimitExceeded'));
    expect(budget.take('RunInstances')).toBe(0);
    expect(budget.take('CreateTags')).toBeGreaterThan(0);
  });

  it('keeps half of the instances when EC2 refuses: which of its buckets was empty it does not say', () => {
    const { budget } = budgetOf();
    budget.throttled('RunInstances');
    expect(budget.available('RunInstances')).toBe(500);
    for (let times = 0; times < 8; times += 1) budget.throttled('RunInstances');
    expect(budget.available('RunInstances')).toBe(1);
  });

  it('never hands out more than the quota allows, however it is asked', () => {
    const { clock, budget } = budgetOf({ kind: 'full' }, 0.8);
    let calls = 0;
    let instances = 0;
    for (clock.now = 0; clock.now < 20_000; clock.now += 7) {
      if (budget.take('RunInstances', 50) > 0) continue;
      calls += 1;
      instances += 50;
    }
    expect(calls).toBeLessThanOrEqual(5 + 2 * 20);
    expect(instances).toBeLessThanOrEqual(1000 + 2 * 20);
  });
});
