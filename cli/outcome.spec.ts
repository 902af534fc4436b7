import { describe, expect, it } from '@jest/globals';
import { DEPLOYMENT_STATUSES, isEnded } from '../src/deployments/deployment-status.js';
import { isReason, REASONS } from '../src/scheduler/plan/plan-reasons.js';
import { GOALS, isReached, OTHERS_FAULTS, outcomeOf } from './outcome.js';

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
    ['failed', 'settled', 'image-not-found', 'failed'],
    ['failed', 'settled', 'registry-unreachable', 'failed'],
    ['failed', 'settled', 'out-of-memory', 'failed'],
    ['failed', 'settled', 'launch-refused', 'failed'],
    ['failed', 'active', 'registry-busy', 'infrastructure'],
    ['failed', 'active', 'capacity-unavailable', 'infrastructure'],
    ['failed', 'active', 'attempts-exhausted', 'infrastructure'],
    ['failed', 'active', 'a-reason-of-tomorrow', 'failed'],
    ['cancelled', 'settled', null, 'cancelled'],
    ['deploying', 'settled', null, 'timed-out'],
  ] as const)('of %s, waited for until %s, by %s, is %s', (status, goal, reason, exit) => {
    expect(outcomeOf({ status, reason, failedPhase: 'pulling', activeAt: null }, goal)).toBe(exit);
  });

  it.each([
    [null, 'infrastructure'],
    ['waiting', 'infrastructure'],
    ['assigned', 'infrastructure'],
    ['pulling', 'failed'],
    ['starting', 'failed'],
    ['healthy', 'failed'],
  ] as const)('of a deadline that passed while it was %s is %s', (failedPhase, exit) => {
    const deployment = { status: 'failed', reason: 'deadline-exceeded', failedPhase, activeAt: null } as const;
    expect(outcomeOf(deployment, 'settled')).toBe(exit);
  });

  it('knows reasons by the names they have in the API', () => {
    expect(OTHERS_FAULTS.filter((reason) => !isReason(reason))).toEqual([]);
    // Whatever else is called infrastructure costs attempts, and ends a deployment as attempts-exhausted.
    expect(Object.keys(REASONS)).toEqual(expect.arrayContaining([...OTHERS_FAULTS]));
  });
});
