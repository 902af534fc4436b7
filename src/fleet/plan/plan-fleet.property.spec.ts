import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import type { RecentLaunch } from './plan-brake.js';
import type { CapacityState, LaunchView } from './plan-capacity.js';
import { type FleetInput, planFleet, SEEN_LATELY_SECONDS, SOFT_BOOT_SECONDS, type Supply } from './plan-fleet.js';

// The number of inputs is a share of the environment's HISTORIES, so that they take as long as its histories do.
fc.configureGlobal({
  numRuns: Math.ceil(Number(process.env['HISTORIES'] ?? 2_000) / 20),
  ...(process.env['SEED'] !== undefined && { seed: Number(process.env['SEED']) }),
});
jest.setTimeout(600_000);

const NOW = new Date('2026-03-01T12:00:00.000Z');
const at = fc.integer({ min: -2000, max: 2000 }).map((seconds) => new Date(NOW.getTime() - seconds * 1000));
const maybeAt = fc.option(at, { nil: null });
const subnet = fc.constantFrom('subnet-a', 'subnet-b');
const type = fc.constantFrom('t3.small', 't3.medium');
const text = fc.option(fc.constantFrom('insufficient-capacity', 'nope'), { nil: null });

const supply: fc.Arbitrary<Supply> = fc.record({
  id: fc.integer({ min: 0, max: 99 }).map((n) => `i-${n}`),
  state: fc.constantFrom('pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated', 'gone'),
  launchedAt: at,
  registeredAt: maybeAt,
  lastSeenAt: maybeAt,
  attempt: fc.constantFrom('none', 'none', 'ended'),
});

const launch: fc.Arbitrary<LaunchView> = fc.record({
  id: fc.constantFrom('launch-1', 'launch-2', 'launch-3'),
  status: fc.constantFrom('planned', 'unknown', 'done', 'failed'),
  count: fc.integer({ min: 1, max: 200 }),
  rows: fc.integer({ min: 0, max: 200 }),
  offer: fc.record({ type, subnetId: subnet, market: fc.constant('on-demand') }),
  tries: fc.integer({ min: 0, max: 9 }),
  failure: fc.constantFrom(
    null,
    'throttled',
    'capacity',
    'quota',
    'address',
    'not-found',
    'token-mismatch',
    'token-spent',
    'account',
    'permission',
    'invalid',
    'unknown-outcome',
  ),
  reason: text,
  message: text,
});

const recent: fc.Arbitrary<RecentLaunch> = fc
  .record({
    at: fc.integer({ min: 0, max: 2000 }).map((seconds) => new Date(NOW.getTime() - seconds * 1000)),
    offer: fc.record({ type, subnetId: subnet, market: fc.constant('on-demand') }),
    failure: fc.constantFrom(null, null, null, 'account', 'permission', 'quota'),
    reason: text,
    message: text,
    rows: fc.integer({ min: 0, max: 20 }),
    registered: fc.nat(20),
    lost: fc.nat(20),
    stateReason: text,
  })
  .map(({ failure, rows, ...launch }) => ({
    ...launch,
    failure,
    rows: failure === null ? rows : 0,
    registered: failure === null ? Math.min(rows, launch.registered) : 0,
    lost: failure === null ? Math.min(Math.max(0, rows - launch.registered), launch.lost) : 0,
  }));

const capacity: fc.Arbitrary<CapacityState> = fc.record(
  {
    lastLaunch: fc.record({
      id: fc.constantFrom('launch-1', 'x'),
      at: at.map((t) => t.toISOString()),
      isSettled: fc.boolean(),
    }),
    lastSubnetId: subnet,
    countLimit: fc.integer({ min: 1, max: 200 }),
    failedOffers: fc.array(
      fc.record({
        type: fc.option(type, { nil: null }),
        subnetId: fc.option(subnet, { nil: null }),
        reason: fc.constant('r'),
        message: fc.constant('m'),
        until: at.map((t) => t.toISOString()),
      }),
      { maxLength: 4 },
    ),
  },
  { requiredKeys: [] },
);

const demand = fc
  .record({
    first: fc.uniqueArray(
      fc.record({
        id: fc.integer({ min: 0, max: 99 }).map((n) => `attempt-${n}`),
        jobId: fc.constantFrom('job-1', 'job-2'),
        priority: fc.integer({ min: 0, max: 3 }),
        createdAt: at,
      }),
      { selector: ({ id }) => id, maxLength: 12 },
    ),
    more: fc.integer({ min: 0, max: 500 }),
    doomed: fc.integer({ min: 0, max: 3 }),
    newestAt: maybeAt,
  })
  .map(({ first, more, ...rest }) => ({ ...rest, first, count: first.length + (first.length === 0 ? 0 : more) }));

// Half of them have nothing that forbids a launch: else hardly any would be planned, and its rules never tested.
const input: fc.Arbitrary<FleetInput> = fc.record({
  spec: fc.record({ types: fc.uniqueArray(type), market: fc.constant('on-demand' as const) }),
  subnetIds: fc.uniqueArray(subnet),
  obstacle: fc.option(fc.record({ reason: fc.constant('o'), message: fc.constant(''), isFinal: fc.boolean() }), {
    nil: null,
    freq: 1,
  }),
  demand,
  supply: fc.uniqueArray(supply, { selector: ({ id }) => id, maxLength: 20 }),
  launches: fc.uniqueArray(launch, { selector: ({ id }) => id, maxLength: 2 }),
  recent: fc.oneof(
    fc.constant([]),
    fc.array(recent, { maxLength: 8 }).map((launches) => launches.toSorted((a, b) => b.at.getTime() - a.at.getTime())),
  ),
  warm: fc.integer({ min: 0, max: 5 }),
  capacity,
  verdict: fc.option(fc.record({ reason: fc.constant('v'), message: fc.constant(''), isFinal: fc.boolean(), at }), {
    nil: null,
  }),
  room: fc.oneof(fc.constant(Infinity), fc.integer({ min: -5, max: 50 })),
  burst: fc.oneof(fc.constant(1000), fc.integer({ min: 0, max: 20 })),
  launchesSpentUntil: fc.option(at, { nil: null, freq: 1 }),
  listeningSince: at,
  nextLaunchId: fc.constant('next'),
  now: fc.constant(NOW),
});

const secondsAgo = (time: Date) => (NOW.getTime() - time.getTime()) / 1000;
const isAlive = ({ state }: Supply) => state === 'pending' || state === 'running';

describe('planFleet, for every input', () => {
  it('has a plan, and changes nothing of what it was given', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const before = structuredClone(facts);
        const plan = planFleet(facts);
        expect(facts).toEqual(before);
        expect(planFleet(facts)).toEqual(plan);
      }),
    );
  });

  it('uses each instance and each attempt once, and nothing that is leaving', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const { assignments, retirements } = planFleet(facts);
        const instances = assignments.map(({ instanceId }) => instanceId);
        const attempts = assignments.map(({ attemptId }) => attemptId);
        const leaving = retirements.map(({ instanceId }) => instanceId);
        expect(new Set(instances).size).toBe(instances.length);
        expect(new Set(attempts).size).toBe(attempts.length);
        expect(new Set(leaving).size).toBe(leaving.length);
        expect(instances.filter((id) => leaving.includes(id))).toEqual([]);
        for (const id of instances) {
          const used = facts.supply.find((one) => one.id === id);
          expect(used && isAlive(used) && used.attempt === 'none' && used.registeredAt !== null).toBe(true);
          expect(used?.lastSeenAt && secondsAgo(used.lastSeenAt) < SEEN_LATELY_SECONDS).toBe(true);
        }
      }),
    );
  });

  it('never launches more than is missing, nor beside an open launch, nor beyond its limits', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const { launch: launched, assignments } = planFleet(facts);
        if (!launched) return;
        const young = facts.supply.filter(
          (one) =>
            isAlive(one) &&
            one.attempt === 'none' &&
            one.registeredAt === null &&
            secondsAgo(one.launchedAt) < SOFT_BOOT_SECONDS,
        );
        const ready = facts.supply.filter(
          (one) =>
            isAlive(one) &&
            one.attempt === 'none' &&
            one.registeredAt !== null &&
            one.lastSeenAt !== null &&
            secondsAgo(one.lastSeenAt) < SEEN_LATELY_SECONDS,
        );
        const missing =
          facts.demand.count - assignments.length + facts.warm - (ready.length - assignments.length) - young.length;
        expect(launched.count).toBeGreaterThanOrEqual(1);
        expect(Number.isInteger(launched.count)).toBe(true);
        expect(launched.count).toBeLessThanOrEqual(Math.min(missing, 200, facts.room, Math.max(1, facts.burst)));
        expect(facts.launches.some(({ status }) => status === 'planned' || status === 'unknown')).toBe(false);
        expect(facts.obstacle).toBeNull();
        expect(facts.launchesSpentUntil).toBeNull();
        expect(facts.spec.types).toContain(launched.offer.type);
        expect(facts.subnetIds).toContain(launched.offer.subnetId);
      }),
    );
  });

  it('never retires a spare somebody could use now', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const { retirements, assignments } = planFleet(facts);
        const surplus = retirements.filter(({ reason }) => reason === 'idle-surplus').length;
        if (surplus === 0) return;
        expect(facts.demand.first.length).toBeLessThanOrEqual(assignments.length);
        for (const { instanceId, reason } of retirements) {
          const used = facts.supply.find(({ id }) => id === instanceId);
          if (reason === 'attempt-ended') expect(used?.attempt).toBe('ended');
          else expect(used?.attempt).toBe('none');
        }
      }),
    );
  });

  it('looks again by itself as long as somebody waits', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const { recheckAt, assignments } = planFleet(facts);
        if (facts.demand.count <= assignments.length) return;
        expect(recheckAt).not.toBeNull();
        expect((recheckAt ?? NOW).getTime() - NOW.getTime()).toBeLessThanOrEqual(10_000);
      }),
    );
  });

  it('rests once its plan is carried out: no launch follows a launch, no retirement a retirement', () => {
    fc.assert(
      fc.property(input, (facts) => {
        const plan = planFleet(facts);
        const gone = new Set([
          ...plan.assignments.map(({ instanceId }) => instanceId),
          ...plan.retirements.map(({ instanceId }) => instanceId),
        ]);
        const served = new Set(plan.assignments.map(({ attemptId }) => attemptId));
        const next = planFleet({
          ...facts,
          supply: facts.supply.filter(({ id }) => !gone.has(id)),
          demand: {
            ...facts.demand,
            count: facts.demand.count - served.size,
            first: facts.demand.first.filter(({ id }) => !served.has(id)),
          },
          launches: plan.launch
            ? [
                ...facts.launches,
                { ...EMPTY_LAUNCH, id: plan.launch.id, count: plan.launch.count, offer: plan.launch.offer },
              ]
            : facts.launches,
          capacity: plan.capacity,
          verdict: plan.verdict,
        });
        expect(next.assignments).toEqual([]);
        expect(next.retirements).toEqual([]);
        if (plan.launch) expect(next.launch).toBeNull();
      }),
    );
  });
});

const EMPTY_LAUNCH = { status: 'planned', rows: 0, tries: 0, failure: null, reason: null, message: null } as const;
