import { describe, expect, it } from '@jest/globals';
import { DEPLOYMENT_STATUSES, isEnded } from '../src/deployments/deployment-status.js';
import { GOALS, isReached, outcomeOf } from './outcome.js';

describe('isReached', () => {
  const at = (status: (typeof DEPLOYMENT_STATUSES)[number]) => ({ status, activeAt: null });

  it('knows which statuses are the last, as the API does', () => {
    for (const status of DEPLOYMENT_STATUSES) expect(isReached(at(status), 'ended')).toBe(isEnded(status));
  });

  it('holds for every goal once a deployment has ended, and for none while it is queued', () => {
    for (const goal of GOALS) expect(isReached(at('failed'), goal)).toBe(true);
    for (const goal of GOALS) expect(isReached(at('queued'), goal)).toBe(false);
  });

  it('is settled, but not ended, while it serves', () => {
    const active = { status: 'active', activeAt: '2026-01-01T00:00:00.000Z' } as const;
    expect(GOALS.map((goal) => isReached(active, goal))).toEqual([true, true, false]);
  });
});

describe('outcomeOf', () => {
  it.each([
    ['active', 'settled', null, 'ok'],
    ['active', 'ended', null, 'timed-out'],
    ['superseded', 'settled', null, 'ok'],
    ['succeeded', 'ended', null, 'ok'],
    ['failed', 'settled', false, 'failed'],
    ['failed', 'active', true, 'infrastructure'],
    ['cancelled', 'settled', null, 'cancelled'],
    ['deploying', 'settled', null, 'timed-out'],
  ] as const)('of %s, waited for until %s, retryable %s, is %s', (status, goal, retryable, exit) => {
    expect(outcomeOf({ status, retryable, activeAt: null }, goal)).toBe(exit);
  });
});
