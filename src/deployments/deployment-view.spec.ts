import { describe, expect, it } from '@jest/globals';
import { phaseDurations } from './deployment-view.js';

const at = (seconds: number) => new Date(1_800_000_000_000 + seconds * 1000);
const attempt = (phases: Partial<Parameters<typeof phaseDurations>[0]>) => ({
  now: at(100),
  attempt: 1,
  phase: null,
  waitingAt: null,
  assignedAt: null,
  pullingAt: null,
  startingAt: null,
  healthyAt: null,
  unroutingAt: null,
  stoppingAt: null,
  attemptEndedAt: null,
  ...phases,
});

describe('phases of an attempt', () => {
  it.each([
    ['no attempt yet', {}, {}],
    ['the first phase, up to now', { waitingAt: at(90) }, { waiting: 10_000 }],
    [
      'each phase up to the next',
      { waitingAt: at(0), assignedAt: at(20), pullingAt: at(21), startingAt: at(30), healthyAt: at(40) },
      { waiting: 20_000, assigned: 1_000, pulling: 9_000, starting: 10_000, healthy: 60_000 },
    ],
    [
      'an attempt that ended before it was healthy',
      { waitingAt: at(0), assignedAt: at(20), pullingAt: at(21), attemptEndedAt: at(25) },
      { waiting: 20_000, assigned: 1_000, pulling: 4_000 },
    ],
    ['a clock that was set back', { waitingAt: at(101) }, { waiting: 0 }],
  ])('%s', (_what, phases, expected) => {
    expect(phaseDurations(attempt(phases))).toEqual(expected);
  });
});
