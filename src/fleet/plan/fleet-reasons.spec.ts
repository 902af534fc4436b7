import { describe, expect, it } from '@jest/globals';
import { ago, fleetInput, NOW } from '../../../test/support/fleet-input.js';
import type { AwsErrorKind } from '../../aws/aws-error.js';
import type { Ec2Instance } from '../../aws/ec2-types.js';
import type { RecentLaunch } from './plan-brake.js';
import { learn, type LaunchView } from './plan-capacity.js';
import {
  type FleetInput,
  type FleetPlan,
  LIMIT_REACHED,
  planFleet,
  RETIRE_REASONS,
  type Supply,
} from './plan-fleet.js';
import { type NextStep, type OpenLaunch, planNextStep, type Settlement, settleRefusal } from './plan-launch.js';
import { planSilence, type SilencePlan } from './plan-silence.js';
import { type InstanceUpdate, type KnownInstance, planSweep, type SweepInput } from './plan-sweep.js';

// A row for every reason of every fleet planner. The tables are records over the unions: a reason without a row does
// not compile, and a row whose planner gives another reason fails. The other plan-*.spec.ts files have the cases around
// each.

const spare: Supply = {
  id: 'i-1',
  state: 'running',
  launchedAt: ago(900),
  registeredAt: ago(800),
  lastSeenAt: ago(1),
  attempt: 'none',
};
const waiting = {
  count: 1,
  doomed: 0,
  newestAt: ago(9),
  first: [{ id: 'a', jobId: 'j', priority: 2, createdAt: ago(9) }],
};
const offer = { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' } as const;
const launch: LaunchView = {
  id: 'launch-1',
  status: 'failed',
  count: 1,
  rows: 0,
  offer,
  tries: 1,
  failure: null,
  reason: 'why',
  message: 'because',
};
const lostLaunch: RecentLaunch = {
  at: ago(20),
  offer,
  failure: null,
  reason: null,
  message: null,
  rows: 1,
  registered: 0,
  lost: 1,
  stateReason: 'Client.InternalError',
};
const lastLaunch = { id: 'launch-1', at: ago(9).toISOString(), isSettled: false };
const fleet = (overrides: Partial<FleetInput>): FleetPlan =>
  planFleet(fleetInput({ spec: { types: ['t3.small'], market: 'on-demand' }, subnetIds: ['subnet-a'], ...overrides }));

describe('planFleet', () => {
  const retirements: Record<FleetPlan['retirements'][number]['reason'], Partial<Supply>> = {
    'attempt-ended': { attempt: 'ended' },
    'stopped-outside': { state: 'stopped' },
    'never-registered': { registeredAt: null, lastSeenAt: null },
    'idle-surplus': {},
    'idle-silent': { lastSeenAt: ago(700) },
  };
  it.each(Object.entries(retirements))('retires by %s', (reason, overrides) => {
    expect(fleet({ supply: [{ ...spare, ...overrides }] }).retirements).toEqual([{ instanceId: 'i-1', reason }]);
  });
  it('has no other reason to retire', () => {
    expect(Object.keys(retirements).sort()).toEqual([...RETIRE_REASONS].sort());
  });

  const launches: Record<NonNullable<FleetPlan['launch']>['reason'], Partial<FleetInput>> = {
    'attempts-waiting': { demand: waiting },
    'spares-wanted': { warm: 1 },
  };
  it.each(Object.entries(launches))('launches by %s', (reason, overrides) => {
    expect(fleet(overrides).launch?.reason).toBe(reason);
  });

  const assignments: Record<FleetPlan['assignments'][number]['reason'], Partial<FleetInput>> = {
    'first-in-line': { demand: waiting, supply: [spare] },
    adopted: { adoptions: [{ attemptId: 'a', jobId: 'job', instanceId: 'i-lost' }] },
  };
  it.each(Object.entries(assignments))('assigns by %s', (reason, overrides) => {
    expect(fleet(overrides).assignments.map((assignment) => assignment.reason)).toEqual([reason]);
  });

  const slow = { ...spare, registeredAt: null, lastSeenAt: null, launchedAt: ago(100) };
  const failedOffer = { type: null, subnetId: null, reason: 'none-left', message: 'm', until: ago(-60).toISOString() };
  it.each<[reason: string, isFinal: boolean, overrides: Partial<FleetInput>]>([
    [LIMIT_REACHED, false, { room: 0 }],
    ['no-subnet', true, { subnetIds: [] }],
    ['instances-do-not-register', false, { supply: [slow, { ...slow, id: 'i-2' }] }],
    ['instances-end-at-launch', false, { recent: [lostLaunch] }],
    ['instances-do-not-register', false, { recent: [{ ...lostLaunch, stateReason: null }] }],
    ['launches-per-minute-reached', false, { launchesSpentUntil: ago(-30) }],
    ['why', false, { launches: [{ ...launch, status: 'unknown', tries: 3 }] }],
    ['image-not-found', true, { obstacle: { reason: 'image-not-found', message: '', isFinal: true } }],
    ['none-left', false, { capacity: { failedOffers: [failedOffer] } }],
    ['why', true, { launches: [{ ...launch, failure: 'invalid' }], capacity: { lastLaunch } }],
  ])('tells those who wait: %s (final: %s)', (reason, isFinal, overrides) => {
    expect(fleet({ demand: waiting, ...overrides }).verdict).toMatchObject({ reason, isFinal });
  });
});

describe('what each kind of refusal', () => {
  type Lesson = 'offer-failed' | 'half-as-many' | 'refused-for-good' | 'nothing';
  const lessons: Record<AwsErrorKind, Lesson> = {
    capacity: 'offer-failed',
    quota: 'half-as-many',
    address: 'half-as-many',
    account: 'offer-failed',
    permission: 'refused-for-good',
    invalid: 'refused-for-good',
    'not-found': 'refused-for-good',
    throttled: 'nothing',
    'token-mismatch': 'nothing',
    'token-spent': 'nothing',
    'unknown-outcome': 'nothing',
  };
  it.each(Object.entries(lessons) as [AwsErrorKind, Lesson][])('teaches of the shape: %s → %s', (failure, lesson) => {
    const { capacity, outcome } = learn({ lastLaunch }, [{ ...launch, count: 8, failure }], [launch.offer], NOW);
    const learnt: Lesson =
      outcome.kind === 'refused-for-good'
        ? 'refused-for-good'
        : capacity.failedOffers
          ? 'offer-failed'
          : capacity.countLimit === 4
            ? 'half-as-many'
            : 'nothing';
    expect(learnt).toBe(lesson);
    expect(capacity.lastLaunch?.isSettled).toBe(true);
  });

  const open: OpenLaunch = {
    status: 'planned',
    tries: 0,
    count: 1,
    ageMs: 1_000,
    calledMsAgo: null,
    refusedAs: null,
    reason: null,
    message: null,
    wanted: 1,
  };
  /** After a first call, and after a repeat whose call before may have taken effect. */
  const settlements: Record<AwsErrorKind, [first: Settlement['to'], repeat: Settlement['to']]> = {
    capacity: ['failed', 'unknown'],
    quota: ['failed', 'unknown'],
    address: ['failed', 'unknown'],
    account: ['failed', 'unknown'],
    permission: ['failed', 'unknown'],
    invalid: ['failed', 'unknown'],
    'not-found': ['failed', 'unknown'],
    throttled: ['planned', 'unknown'],
    'token-mismatch': ['unknown', 'unknown'],
    'token-spent': ['unknown', 'unknown'],
    'unknown-outcome': ['unknown', 'unknown'],
  };
  it.each(Object.entries(settlements) as [AwsErrorKind, [string, string]][])('settles: %s → %j', (kind, expected) => {
    const refusal = { kind, reason: 'why', message: '' };
    const repeated = { ...open, status: 'unknown', tries: 1, calledMsAgo: 500 } as const;
    expect([open, repeated].map((one) => settleRefusal(one, refusal, 0.5).to)).toEqual(expected);
  });

  const steps: Record<NextStep, Partial<OpenLaunch>> = {
    call: {},
    withdraw: { wanted: 0 },
    'look-up': { status: 'unknown', wanted: 0 },
  };
  it.each(Object.entries(steps))('is followed by: %s', (step, overrides) => {
    expect(planNextStep({ ...open, ...overrides })).toBe(step);
  });
});

describe('planSweep', () => {
  const row: KnownInstance = {
    id: 'i-1',
    state: 'running',
    stateReason: null,
    availabilityZone: null,
    instanceType: null,
    imageId: null,
    privateIp: null,
    publicIp: null,
    launchedAt: ago(3600),
    observedAt: ago(1),
    missingSince: null,
    terminatedAt: null,
    retireReason: null,
    quarantined: false,
  };
  const seen: Ec2Instance = {
    id: 'i-1',
    state: 'running',
    stateReason: null,
    launchedAt: ago(3600),
    availabilityZone: null,
    type: null,
    imageId: null,
    privateIp: null,
    publicIp: null,
    tags: { cluster: 'ours', launch: 'launch-1' },
  };
  const sweep = (overrides: Partial<SweepInput>) =>
    planSweep({
      observed: [],
      known: [],
      launches: new Set(['launch-1']),
      absent: new Set(),
      tagKeys: { cluster: 'cluster', launch: 'launch' },
      cluster: 'ours',
      startedAt: NOW,
      now: NOW,
      ...overrides,
    });

  const retirements: Record<NonNullable<InstanceUpdate['retireReason']>, Partial<SweepInput>> = {
    'stopped-outside': { observed: [{ ...seen, state: 'stopped' }], known: [row] },
    reappeared: { observed: [seen], known: [{ ...row, state: 'gone', terminatedAt: ago(60) }] },
  };
  it.each(Object.entries(retirements))('retires by %s', (reason, overrides) => {
    expect(sweep(overrides).updates.map(({ retireReason }) => retireReason)).toEqual([reason]);
  });

  it.each<
    [what: string, overrides: Partial<SweepInput>, counts: [inserts: number, quarantines: number, updates: number]]
  >([
    ['a lost row', { observed: [seen] }, [1, 0, 0]],
    ['a launch we do not know', { observed: [seen], launches: new Set() }, [0, 1, 0]],
    ['a change', { observed: [{ ...seen, state: 'terminated' }], known: [row] }, [0, 0, 1]],
    ['what is missing', { known: [row], absent: new Set(['i-1']) }, [0, 0, 1]],
    ['nothing new', { observed: [seen], known: [row] }, [0, 0, 0]],
  ])('finds %s', (_, overrides, counts) => {
    const { inserts, quarantines, updates } = sweep(overrides);
    expect([inserts.length, quarantines.length, updates.length]).toEqual(counts);
  });
});

describe('planSilence', () => {
  const unreachable: Record<SilencePlan['unreachable'][number]['reason'], Parameters<typeof planSilence>[0]> = {
    'checks-impaired': {
      silent: [{ id: 'i-1', lastSeenAt: ago(100) }],
      total: 10,
      listeningSince: ago(3600),
      health: new Map([['i-1', 'impaired']]),
      now: NOW,
    },
    'silent-too-long': {
      silent: [{ id: 'i-1', lastSeenAt: ago(2000) }],
      total: 10,
      listeningSince: ago(3600),
      health: new Map([['i-1', 'ok']]),
      now: NOW,
    },
  };
  it.each(Object.entries(unreachable))('calls unreachable by %s', (reason, input) => {
    expect(planSilence(input)).toEqual({ isCutOff: false, unreachable: [{ instanceId: 'i-1', reason }] });
  });
});
