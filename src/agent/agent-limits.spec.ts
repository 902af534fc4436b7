import { describe, expect, it } from '@jest/globals';
import { AgentLimits } from './agent-limits.js';

const MIB = 1_048_576;

describe('what an instance may ask', () => {
  /** With a clock that moves by hand. */
  function start() {
    const clock = { now: 0 };
    const limits = new AgentLimits(() => clock.now);
    const enter = (isUpload = false) => limits.enter('i-1', isUpload);
    const once = (bytes = 300, isUpload = false): boolean => {
      const entry = enter(isUpload);
      if (entry.isAllowed) entry.leave(bytes);
      return entry.isAllowed;
    };
    return { clock, limits, enter, once };
  }

  it('is more than an agent asks at its busiest: quick polls, a log at full rate half of it twice, reports', () => {
    const { clock, enter, once } = start();
    for (let second = 0; second < 600; second += 1) {
      const upload = enter(true);
      const report = enter();
      for (let poll = 0; poll < 20; poll += 1) {
        expect(once()).toBe(true);
        clock.now += 50;
      }
      expect([upload.isAllowed, report.isAllowed]).toEqual([true, true]);
      if (upload.isAllowed) upload.leave(5 * MIB);
      if (report.isAllowed) report.leave(256 * 1024);
    }
  });

  it('is some at once, of logs fewer', () => {
    const { limits, enter } = start();
    const uploads = Array.from({ length: 2_000 }, () => enter(true));
    expect(uploads.filter(({ isAllowed }) => isAllowed)).toHaveLength(4);
    expect(uploads[4]).toMatchObject({ isAllowed: false, retryAfterSeconds: 1 });
    const others = Array.from({ length: 2_000 }, () => enter());
    expect(others.filter(({ isAllowed }) => isAllowed)).toHaveLength(20);
    expect(enter()).toMatchObject({ isAllowed: false, retryAfterSeconds: 1 });
    expect(limits.enter('i-2', true).isAllowed).toBe(true);
    for (const entry of [...uploads, ...others]) if (entry.isAllowed) entry.leave(0);
    // None of the others counts as a log, neither when it begins nor when it ends.
    const few = Array.from({ length: 6 }, () => enter());
    expect(Array.from({ length: 5 }, () => enter(true).isAllowed)).toEqual([true, true, true, true, false]);
    expect(few.every(({ isAllowed }) => isAllowed)).toBe(true);
  });

  it('is so many requests a minute, and says when to come again', () => {
    const { clock, enter, once } = start();
    const allowed = Array.from({ length: 5_000 }, () => once()).filter(Boolean);
    expect(allowed).toHaveLength(1_800);
    expect(enter()).toMatchObject({ isAllowed: false, retryAfterSeconds: 1 });
    clock.now += 1_000;
    expect(Array.from({ length: 100 }, () => once()).filter(Boolean)).toHaveLength(30);
  });

  it('is so many bytes a minute; what was too much has to come in first', () => {
    const { clock, once, enter } = start();
    let taken = 0;
    while (taken < 10_000 && once(8 * MIB, true)) taken += 8;
    expect(taken).toBe(640);
    expect(enter()).toMatchObject({ isAllowed: false });
    clock.now += 60_000;
    expect(once(2_000 * MIB)).toBe(true);
    expect(enter()).toMatchObject({ isAllowed: false, retryAfterSeconds: 128 });
  });

  it('is a change of its probe every ten seconds, twenty at once; one that is too early does not count', () => {
    const { clock, limits } = start();
    const change = () => limits.takeChange('i-1');
    expect(Array.from({ length: 20 }, change)).toEqual(Array(20).fill(0));
    expect([change(), change()]).toEqual([10_000, 10_000]);
    expect(limits.takeChange('i-2')).toBe(0);
    clock.now += 9_999;
    expect(change()).toBeCloseTo(1);
    clock.now += 1;
    expect([change(), change()]).toEqual([0, 10_000]);
  });

  it.each<[string, (limits: AgentLimits) => unknown, (limits: AgentLimits) => unknown]>([
    [
      'what is under way',
      (limits) => Array.from({ length: 4 }, () => limits.enter('i-1', true)),
      (limits) => limits.enter('i-1', true).isAllowed,
    ],
    [
      'bytes that have to come in first',
      (limits) => {
        const entry = limits.enter('i-1', false);
        if (entry.isAllowed) entry.leave(2_000 * MIB);
      },
      (limits) => limits.enter('i-1', false).isAllowed,
    ],
    [
      'changes of a probe',
      (limits) => Array.from({ length: 20 }, () => limits.takeChange('i-1')),
      (limits) => limits.takeChange('i-1') === 0,
    ],
  ])('remembers %s, however many instances ask', (_what, begin, isAllowed) => {
    const { clock, limits } = start();
    begin(limits);
    clock.now += 5_000;
    for (let n = 0; n < 10_001; n += 1) limits.takeChange(`other-${n}`);
    expect(isAllowed(limits)).toBe(false);
  });

  it('forgets those that ask for nothing, once they are many', () => {
    const { clock, limits } = start();
    for (let n = 0; n < 10_000; n += 1) limits.takeChange(`i-${n}`);
    expect(limits.size).toBe(10_000);
    clock.now += 10_000;
    limits.takeChange('one more');
    expect(limits.size).toBe(1);
  });

  it('takes a bounded memory', () => {
    const { clock, limits } = start();
    for (let n = 0; n < 30_000; n += 1) {
      clock.now += 60;
      const entry = limits.enter(`i-${n}`, false);
      if (entry.isAllowed) entry.leave(100);
    }
    expect(limits.size).toBeLessThanOrEqual(10_000);
  });
});
