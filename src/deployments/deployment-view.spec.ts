import { describe, expect, it } from '@jest/globals';
import { phaseDurations } from './deployment-view.js';

const at = (seconds: number) => new Date(1_800_000_000_000 + seconds * 1000);
const attempt = (phases: Partial<Parameters<typeof phaseDurations>[0]>) => ({
  now: at(100),
  attempt: 1,
  phase: null,
  waiting_at: null,
  assigned_at: null,
  pulling_at: null,
  starting_at: null,
  healthy_at: null,
  stopping_at: null,
  attempt_ended_at: null,
  ...phases,
});

describe('phases of an attempt', () => {
  it.each([
    ['no attempt yet', {}, {}],
    ['the first phase, up to now', { waiting_at: at(90) }, { waiting: 10_000 }],
    [
      'each phase up to the next',
      { waiting_at: at(0), assigned_at: at(20), pulling_at: at(21), starting_at: at(30), healthy_at: at(40) },
      { waiting: 20_000, assigned: 1_000, pulling: 9_000, starting: 10_000, healthy: 60_000 },
    ],
    [
      'an attempt that ended before it was healthy',
      { waiting_at: at(0), assigned_at: at(20), pulling_at: at(21), attempt_ended_at: at(25) },
      { waiting: 20_000, assigned: 1_000, pulling: 4_000 },
    ],
    ['a clock that was set back', { waiting_at: at(101) }, { waiting: 0 }],
  ])('%s', (_what, phases, expected) => {
    expect(phaseDurations(attempt(phases))).toEqual(expected);
  });
});
