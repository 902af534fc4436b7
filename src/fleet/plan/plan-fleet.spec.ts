import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ago, fleetInput as fleet, NOW } from '../../../test/support/fleet-input.js';
import type { RecentLaunch } from './plan-brake.js';
import type { LaunchView } from './plan-capacity.js';
import { type FleetInput, type FleetPlan, planFleet, type Supply, type WaitingAttempt } from './plan-fleet.js';

const hence = (seconds: number) => ago(-seconds);

const attempt = (id: string, overrides: Partial<WaitingAttempt> = {}): WaitingAttempt => ({
  id,
  jobId: `job-of-${id}`,
  priority: 2,
  createdAt: ago(10),
  ...overrides,
});
const waiting = (...first: WaitingAttempt[]) => ({ count: first.length, doomed: 0, newestAt: ago(10), first });
const many = (count: number) => ({ count, doomed: 0, newestAt: ago(10), first: [attempt('a')] });
const instance = (id: string, overrides: Partial<Supply> = {}): Supply => ({
  id,
  state: 'running',
  launchedAt: ago(30),
  registeredAt: null,
  lastSeenAt: null,
  attempt: 'none',
  ...overrides,
});
const registered = (id: string, overrides: Partial<Supply> = {}): Supply =>
  instance(id, { registeredAt: ago(5), lastSeenAt: ago(3), ...overrides });
const launch = (overrides: Partial<LaunchView> = {}): LaunchView => ({
  id: 'launch-1',
  status: 'planned',
  count: 1,
  rows: 0,
  offer: { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' },
  tries: 0,
  failure: null,
  reason: null,
  message: null,
  ...overrides,
});
const bootingFor = (seconds: number, count: number) =>
  Array.from({ length: count }, (_, n) => instance(`i-${n}`, { launchedAt: ago(seconds) }));
const lost = (seconds: number, overrides: Partial<RecentLaunch> = {}): RecentLaunch => ({
  ...{ at: ago(seconds), offer: launch().offer, failure: null, reason: null, message: null },
  ...{ rows: 1, registered: 0, lost: 1, stateReason: null },
  ...overrides,
});
const settledBefore = { lastLaunch: { id: 'launch-1', at: ago(20).toISOString(), isSettled: false } };

const byText = <T>(all: readonly T[], textOf: (one: T) => string) =>
  all.toSorted((a, b) => (textOf(a) < textOf(b) ? -1 : 1));
const assigned = ({ assignments }: FleetPlan) =>
  assignments.map(({ attemptId, instanceId }) => [attemptId, instanceId]);
const retired = ({ retirements }: FleetPlan) => retirements.map(({ instanceId, reason }) => [instanceId, reason]);

describe('planFleet: nothing to do', () => {
  it('plans nothing for nobody, and never looks again by itself', () => {
    expect(planFleet(fleet())).toEqual({
      assignments: [],
      launch: null,
      retirements: [],
      quarantines: [],
      verdict: null,
      isVerdictNews: false,
      capacity: {},
      recheckAt: null,
    });
  });
});

describe('planFleet: late binding', () => {
  it('gives the first registered instance to the first in line', () => {
    const plan = planFleet(
      fleet({
        demand: waiting(attempt('late', { createdAt: ago(1) }), attempt('early', { createdAt: ago(60) })),
        supply: [registered('i-2', { registeredAt: ago(4) }), registered('i-1', { registeredAt: ago(9) })],
      }),
    );
    expect(assigned(plan)).toEqual([
      ['early', 'i-1'],
      ['late', 'i-2'],
    ]);
    expect(plan.launch).toBeNull();
  });

  it('serves healing before rollbacks, those before new deployments, and schedules last', () => {
    const plan = planFleet(
      fleet({
        demand: waiting(
          attempt('schedule', { priority: 3, createdAt: ago(90) }),
          attempt('api', { priority: 2, createdAt: ago(60) }),
          attempt('rollback', { priority: 1, createdAt: ago(30) }),
          attempt('healing', { priority: 0, createdAt: ago(1) }),
        ),
        supply: ['i-1', 'i-2', 'i-3', 'i-4'].map((id) => registered(id)),
      }),
    );
    expect(assigned(plan).map(([id]) => id)).toEqual(['healing', 'rollback', 'api', 'schedule']);
  });

  it.each<[string, string, Partial<WaitingAttempt>]>([
    ['a heal before deployments of the last ten minutes', 'late', { priority: 0, createdAt: ago(1) }],
    ['a schedule that waited five minutes before a new deployment', 'early', { priority: 2, createdAt: ago(1) }],
    ['a schedule that waited a quarter of an hour before a new heal', 'early', { priority: 0, createdAt: ago(1) }],
  ])('serves %s', (_, first, late) => {
    const early =
      first === 'late' ? { createdAt: ago(599) } : { priority: 3, createdAt: ago(late.priority === 0 ? 902 : 302) };
    const demand = waiting(attempt('late', late), attempt('early', early));
    expect(assigned(planFleet(fleet({ demand, supply: [registered('i-1')] })))).toEqual([[first, 'i-1']]);
  });

  it.each<[string, Partial<Supply>]>([
    ['has not registered', { registeredAt: null, lastSeenAt: null }],
    ['has not been seen lately', { lastSeenAt: ago(60) }],
    ['is shutting down', { state: 'shutting-down' }],
    ['was stopped', { state: 'stopped' }],
    ['has had an attempt', { attempt: 'ended' }],
  ])('never gives out an instance that %s', (_, overrides) => {
    const plan = planFleet(fleet({ demand: waiting(attempt('a')), supply: [registered('i-1', overrides)] }));
    expect(plan.assignments).toEqual([]);
  });

  it('serves attempts in line, with instances in the order of their registration, and equal ones by their ids', () => {
    const among = (most: number) => fc.integer({ min: 0, max: most });
    const attempts = fc.uniqueArray(fc.tuple(among(20), among(3), among(2)), { selector: ([n]) => n, maxLength: 6 });
    const instances = fc.uniqueArray(fc.tuple(among(20), among(2)), { selector: ([n]) => n, maxLength: 6 });
    fc.assert(
      fc.property(attempts, instances, (waits, spares) => {
        // One step of priority is five minutes of waiting.
        const line = waits
          .map(([n, priority, steps]) => ({ id: `a-${n}`, priority, createdAt: ago(700 - 300 * steps) }))
          .map((one) => ({
            one,
            place: `${700 + one.priority * 300 - (NOW.getTime() - one.createdAt.getTime()) / 1000}`,
          }))
          .map(({ one, place }) => ({ one, key: `${place.padStart(6, '0')} ${one.id}` }));
        const supply = spares.map(([n, seconds]) => registered(`i-${n}`, { registeredAt: ago(9 - seconds) }));
        const plan = planFleet(fleet({ demand: waiting(...line.map(({ one }) => attempt(one.id, one))), supply }));
        const inLine = line.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ one }) => one.id);
        const inTurn = byText(supply, ({ registeredAt, id }) => `${registeredAt?.toISOString()} ${id}`);
        const served = Math.min(inLine.length, inTurn.length);
        expect(assigned(plan)).toEqual(inLine.slice(0, served).map((id, n) => [id, inTurn[n]?.id]));
      }),
    );
  });

  it('uses an instance that registered before EC2 called it running', () => {
    const plan = planFleet(fleet({ demand: waiting(attempt('a')), supply: [registered('i-1', { state: 'pending' })] }));
    expect(assigned(plan)).toEqual([['a', 'i-1']]);
  });
});

describe('planFleet: adoption', () => {
  const adoption = { attemptId: 'a', jobId: 'job-of-a', instanceId: 'i-lost' };

  it('gives an attempt the instance its deployment adopts, and no spare', () => {
    const plan = planFleet(fleet({ adoptions: [adoption], supply: [registered('i-1')] }));
    expect(plan.assignments).toEqual([{ ...adoption, reason: 'adopted' }]);
    expect(plan.launch).toBeNull();
  });

  it('gives back only the one that failed', () => {
    const supply = [registered('i-1'), registered('i-lost', { attempt: 'adoption-failed' })];
    expect(planFleet(fleet({ supply })).quarantines).toEqual(['i-lost']);
  });

  it.each(['running', 'stopped'] as const)(
    'gives a %s instance back to quarantine when it failed, and never out',
    (state) => {
      const supply = [registered('i-lost', { attempt: 'adoption-failed', state })];
      const plan = planFleet(fleet({ demand: waiting(attempt('b')), supply }));
      expect(plan).toMatchObject({ assignments: [], retirements: [], quarantines: ['i-lost'], launch: { count: 1 } });
    },
  );
});

describe('planFleet: launches', () => {
  it.each([
    [many(1), 'attempts-waiting'],
    [many(0), 'spares-wanted'],
  ] as const)('says for whom it launches', (demand, reason) => {
    expect(planFleet(fleet({ demand, warm: 1 })).launch?.reason).toBe(reason);
  });

  it('launches for those waiting at once, and remembers it', () => {
    const plan = planFleet(fleet({ demand: many(3) }));
    expect(plan.launch).toEqual({
      id: 'next-launch',
      count: 3,
      offer: { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' },
      reason: 'attempts-waiting',
    });
    expect(plan.capacity).toEqual({
      lastLaunch: { id: 'next-launch', at: NOW.toISOString(), isSettled: false },
      lastSubnetId: 'subnet-a',
    });
  });

  it.each<[string, Partial<FleetInput>, number | null]>([
    ['counts what boots', { supply: [instance('i-1'), instance('i-2')] }, 3],
    ['counts once what boots, though it is most of what is wanted', { supply: bootingFor(30, 3) }, 2],
    ['counts spares on hand', { supply: [registered('i-1', { lastSeenAt: ago(60) })], listeningSince: ago(5) }, 4],
    ['does not count what boots too slowly', { supply: [instance('i-1', { launchedAt: ago(91) })] }, 5],
    [
      'counts a second slow wave: a third would not fare better',
      { supply: Array.from({ length: 8 }, (_, n) => instance(`i-${n}`, { launchedAt: ago(100) })) },
      2,
    ],
    ['takes at most 200 a call', { demand: many(1000) }, 200],
    ['takes no more than EC2’s own quota has left', { burst: 2 }, 2],
    ['takes one even when the quota has nothing left: it will wait', { burst: 0 }, 1],
    ['takes no more than MAX_INSTANCES leaves', { room: 4 }, 4],
    ['takes the last one that MAX_INSTANCES leaves', { room: 1 }, 1],
    ['takes one after a whole launch was lost', { recent: [lost(5)] }, 1],
    ['launches nothing right after two losses', { recent: [lost(5), lost(20)] }, null],
    ['takes half after a quota error', { capacity: { countLimit: 2 } }, 2],
    ['adds the spares that are wanted', { warm: 2 }, 7],
    ['launches nothing while a launch is planned', { launches: [launch()] }, null],
    ['launches nothing while an outcome is unknown', { launches: [launch({ status: 'unknown' })] }, null],
    ['launches nothing without an image', { obstacle: { reason: 'x', message: '', isFinal: false } }, null],
    [
      'launches at most once a second',
      { capacity: { lastLaunch: { id: 'l', at: ago(0.4).toISOString(), isSettled: true } } },
      null,
    ],
    [
      'launches again after a second',
      { capacity: { lastLaunch: { id: 'l', at: ago(1).toISOString(), isSettled: true } } },
      5,
    ],
    ['launches nothing when there is no room', { room: 0 }, null],
  ])('%s', (_, overrides, count) => {
    expect(planFleet(fleet({ demand: many(5), ...overrides })).launch?.count ?? null).toBe(count);
  });

  it('launches spares nobody waits for', () => {
    expect(planFleet(fleet({ warm: 2 })).launch).toMatchObject({ count: 2, reason: 'spares-wanted' });
  });

  it('looks again when the second is over', () => {
    const capacity = { lastLaunch: { id: 'l', at: ago(0.4).toISOString(), isSettled: true } };
    expect(planFleet(fleet({ demand: many(1), capacity })).recheckAt).toEqual(hence(0.6));
  });

  it('looks again when the pause after losses is over', () => {
    const plan = planFleet(fleet({ demand: many(1), recent: [lost(5), lost(20)] }));
    expect(plan).toMatchObject({ recheckAt: hence(5), verdict: { reason: 'instances-do-not-register' } });
  });

  it.each([
    [89, 1],
    [90, 510],
    [100, 500],
    [599, 1],
  ])('looks at what boots for %d seconds again after %d', (seconds, next) => {
    expect(planFleet(fleet({ supply: bootingFor(seconds, 1) })).recheckAt).toEqual(hence(next));
  });

  it('looks again while attempts that a final verdict covers are about to end', () => {
    const demand = { count: 0, doomed: 1, newestAt: null, first: [] };
    expect(planFleet(fleet({ demand })).recheckAt).toEqual(hence(10));
  });

  it('looks again when what boots stops counting', () => {
    const plan = planFleet(fleet({ demand: many(1), supply: [instance('i-1', { launchedAt: ago(85) })] }));
    expect(plan.launch).toBeNull();
    expect(plan.recheckAt).toEqual(hence(5));
  });
});

describe('planFleet: offers', () => {
  const failed = (overrides: object) => ({
    type: null,
    subnetId: null,
    reason: 'r',
    message: 'm',
    until: hence(60).toISOString(),
    ...overrides,
  });

  it.each<[string, FleetInput['capacity'], [string, string] | null]>([
    ['takes the next subnet', { lastSubnetId: 'subnet-a' }, ['t3.small', 'subnet-b']],
    ['begins again after the last subnet', { lastSubnetId: 'subnet-b' }, ['t3.small', 'subnet-a']],
    [
      'passes by a failed offer',
      { failedOffers: [failed({ type: 't3.small', subnetId: 'subnet-a' })] },
      ['t3.small', 'subnet-b'],
    ],
    ['passes by a full subnet', { failedOffers: [failed({ subnetId: 'subnet-a' })] }, ['t3.small', 'subnet-b']],
    [
      'takes the next type when a quota is used up',
      { failedOffers: [failed({ type: 't3.small' })] },
      ['t3.medium', 'subnet-a'],
    ],
    ['has none when all failed', { failedOffers: [failed({})] }, null],
    ['forgets after a while', { failedOffers: [failed({ until: ago(1).toISOString() })] }, ['t3.small', 'subnet-a']],
  ])('%s', (_, capacity, offer) => {
    const plan = planFleet(fleet({ demand: many(1), capacity }));
    expect(plan.launch && [plan.launch.offer.type, plan.launch.offer.subnetId]).toEqual(offer);
  });

  describe('with another market to fall back to', () => {
    const spec = { types: ['t3.small', 't3.medium'], market: 'spot', fallbackMarket: 'on-demand' } as const;
    const spotFailed = (type: string | null, subnetId: string | null) => failed({ type, subnetId, market: 'spot' });

    it.each<[string, FleetInput['capacity'], [string, string, string] | null]>([
      ['asks the first market first', {}, ['spot', 't3.small', 'subnet-a']],
      [
        'tries all its subnets and types before',
        { failedOffers: [spotFailed('t3.small', null), spotFailed('t3.medium', 'subnet-a')] },
        ['spot', 't3.medium', 'subnet-b'],
      ],
      [
        'falls back when there is none of it',
        { failedOffers: [spotFailed(null, null)] },
        ['on-demand', 't3.small', 'subnet-a'],
      ],
      [
        'does not hold a full subnet against one market only',
        { failedOffers: [spotFailed(null, null), failed({ subnetId: 'subnet-a', market: null })] },
        ['on-demand', 't3.small', 'subnet-b'],
      ],
      [
        'has none when both have failed',
        { failedOffers: [spotFailed(null, null), failed({ market: 'on-demand' })] },
        null,
      ],
    ])('%s', (_, capacity, offer) => {
      const { launch: planned } = planFleet(fleet({ spec, demand: many(1), capacity }));
      expect(planned && [planned.offer.market, planned.offer.type, planned.offer.subnetId]).toEqual(offer);
    });

    it.each(['planned', 'unknown'] as const)('waits while the outcome of a launch is %s', (status) => {
      const open = launch({ status, offer: { type: 't3.small', subnetId: 'subnet-a', market: 'spot' }, tries: 1 });
      const capacity = { failedOffers: [spotFailed(null, null)] };
      expect(planFleet(fleet({ spec, demand: many(2), launches: [open], capacity })).launch).toBeNull();
    });

    it('remembers the market that failed', () => {
      const offer = { type: 't3.small', subnetId: 'subnet-a', market: 'spot' } as const;
      const settled = launch({ status: 'failed', failure: 'quota', offer });
      const plan = planFleet(fleet({ spec, demand: many(1), launches: [settled], capacity: settledBefore }));
      expect(plan.capacity.failedOffers).toMatchObject([{ type: 't3.small', subnetId: null, market: 'spot' }]);
    });
  });

  it('tells those waiting why there is none, and looks again when one may be asked for', () => {
    const plan = planFleet(fleet({ demand: many(1), capacity: { failedOffers: [failed({})] } }));
    expect(plan.verdict).toEqual({
      reason: 'r',
      message: `m; the next try is at ${hence(60).toISOString()}`,
      isFinal: false,
      at: NOW,
    });
    expect(plan.isVerdictNews).toBe(true);
    expect(plan.recheckAt).toEqual(hence(10));
  });

  it('says it once, and again to those who came later', () => {
    const capacity = { failedOffers: [failed({})] };
    const { verdict } = planFleet(fleet({ demand: many(1), capacity }));
    const earlier = verdict && { ...verdict, at: ago(5) };
    expect(planFleet(fleet({ demand: many(1), capacity, verdict: earlier })).isVerdictNews).toBe(false);
    const newcomer = { ...many(2), newestAt: ago(1) };
    const later = planFleet(fleet({ demand: newcomer, capacity, verdict: earlier }));
    expect(later).toMatchObject({ isVerdictNews: true, verdict: { at: NOW } });
  });

  it('says it to those who came at the very moment', () => {
    const capacity = { failedOffers: [failed({})] };
    const verdict = planFleet(fleet({ demand: many(1), capacity })).verdict;
    const at = ago(10);
    const again = (newestAt: Date) =>
      planFleet(fleet({ demand: { ...many(1), newestAt }, capacity, verdict: verdict && { ...verdict, at } }));
    expect([again(ago(10.001)), again(at)].map(({ isVerdictNews }) => isVerdictNews)).toEqual([false, true]);
  });

  it.each<[told: string, offers: [reason: string, isRefused: boolean][]]>([
    [
      'full',
      [
        ['full', false],
        ['refused', true],
      ],
    ],
    [
      'full',
      [
        ['refused', true],
        ['full', false],
      ],
    ],
    [
      'short',
      [
        ['full', false],
        ['short', false],
        ['refused', true],
      ],
    ],
    [
      'not-permitted',
      [
        ['refused', true],
        ['not-permitted', true],
      ],
    ],
  ])('tells those waiting what they wait for, %s, not what is refused for good: %j', (reason, offers) => {
    const failedOffers = offers.map(([why, isRefused]) => failed({ reason: why, ...(isRefused && { isFinal: true }) }));
    expect(planFleet(fleet({ demand: many(1), capacity: { failedOffers } })).verdict).toMatchObject({
      reason,
      isFinal: false,
    });
  });

  it('takes it back when nothing stands in the way any more', () => {
    const verdict = { reason: 'r', message: 'm', isFinal: false, at: ago(5) };
    expect(planFleet(fleet({ demand: many(1), verdict }))).toMatchObject({ verdict: null, isVerdictNews: true });
  });
});

describe('planFleet: what a settled launch teaches', () => {
  const after = (overrides: Partial<LaunchView>, rest: Partial<FleetInput> = {}) =>
    planFleet(
      fleet({
        demand: many(8),
        launches: [launch({ status: 'failed', ...overrides })],
        capacity: settledBefore,
        ...rest,
      }),
    );

  it('remembers an offer without capacity for three minutes', () => {
    const plan = after({ failure: 'capacity', reason: 'insufficient-capacity', message: 'none here' });
    expect(plan.capacity.failedOffers).toEqual([
      {
        type: 't3.small',
        subnetId: 'subnet-a',
        market: 'on-demand',
        reason: 'insufficient-capacity',
        message: 'none here',
        until: hence(180).toISOString(),
      },
    ]);
    expect(plan.launch?.offer.subnetId).toBe('subnet-b');
    expect(plan.verdict).toBeNull();
  });

  it.each(['quota', 'address'] as const)('asks for half as many after a %s error', (failure) => {
    const plan = after({ failure, count: 8 });
    expect(plan.launch?.count).toBe(4);
    expect(plan.capacity.failedOffers).toBeUndefined();
  });

  it('takes a quota error on one instance for the type’s, a full subnet for the subnet’s', () => {
    expect(after({ failure: 'quota' }).launch?.offer).toMatchObject({ type: 't3.medium' });
    expect(after({ failure: 'address' }).launch?.offer).toMatchObject({ type: 't3.small', subnetId: 'subnet-b' });
  });

  it('asks for twice as many after each success', () => {
    const capacity = { ...settledBefore, countLimit: 2 };
    expect(after({ status: 'done', count: 2, rows: 2 }, { capacity }).launch?.count).toBe(4);
  });

  it('goes elsewhere when EC2 gave fewer than asked for', () => {
    const plan = after({ status: 'done', count: 5, rows: 2 });
    expect(plan.launch?.offer.subnetId).toBe('subnet-b');
  });

  it.each(['permission', 'invalid'] as const)('gives up for good after a %s error', (failure) => {
    const reason = 'credentials-refused';
    const plan = after({ failure, reason, message: 'no' });
    expect(plan.launch).toBeNull();
    expect(plan.verdict).toEqual({ reason, message: 'no', isFinal: true, at: NOW });
    expect(plan.isVerdictNews).toBe(true);
  });

  it('keeps a final verdict while those it covers are there, and tries again for others', () => {
    const verdict = { reason: 'nope', message: 'no', isFinal: true, at: ago(5) };
    const alone = planFleet(fleet({ verdict, demand: { count: 0, doomed: 2, newestAt: null, first: [] } }));
    expect(alone).toMatchObject({ launch: null, verdict, isVerdictNews: false });
    const newcomer = planFleet(fleet({ verdict, demand: { ...many(1), doomed: 2 } }));
    expect(newcomer.launch?.count).toBe(1);
    expect(planFleet(fleet({ verdict }))).toMatchObject({ verdict: null, isVerdictNews: true });
  });

  it('keeps a final verdict also of a single attempt, while EC2 goes on refusing', () => {
    const verdict = { reason: 'nope', message: 'no', isFinal: true, at: ago(5) };
    const refused = { rows: 0, lost: 0, failure: 'permission', reason: 'nope' } as const;
    const recent = [lost(1, refused), lost(3, refused)];
    const facts = { verdict, demand: { ...many(1), doomed: 1 }, recent };
    expect(planFleet(fleet(facts))).toMatchObject({ launch: null, verdict, isVerdictNews: false });
    // What stands in the way of the next launch is news.
    expect(planFleet(fleet({ ...facts, recent: [], room: 0 }))).toMatchObject({
      verdict: { reason: 'instance-limit-reached', isFinal: false },
      isVerdictNews: true,
    });
  });

  it('learns from a launch once', () => {
    const { capacity } = after({ failure: 'quota', count: 8 });
    const again = planFleet(
      fleet({
        demand: many(8),
        launches: [launch({ status: 'failed', failure: 'quota', count: 8 })],
        capacity: { ...capacity, lastLaunch: { id: 'launch-1', at: ago(20).toISOString(), isSettled: true } },
      }),
    );
    expect(again.launch?.count).toBe(4);
  });

  it.each(['token-mismatch', 'token-spent'] as const)('asks again as before after %s', (failure) => {
    expect(after({ failure, reason: failure })).toMatchObject({ launch: { count: 8 }, verdict: null });
  });
});

describe('planFleet: what those waiting are told', () => {
  it.each<[string, Partial<FleetInput>, string | null]>([
    [
      'nothing at the first tries',
      { launches: [launch({ status: 'unknown', tries: 2, reason: 'ec2-unavailable' })] },
      null,
    ],
    [
      'that EC2 does not answer',
      { launches: [launch({ status: 'unknown', tries: 3, reason: 'ec2-unavailable' })] },
      'ec2-unavailable',
    ],
    ['that instances end before they register', { recent: [lost(5, { stateReason: 'X' })] }, 'instances-end-at-launch'],
    ['that launches of this minute are used up', { launchesSpentUntil: hence(9) }, 'launches-per-minute-reached'],
    ['that the fleet is full', { room: 0 }, 'instance-limit-reached'],
    [
      'what keeps the launch from being written',
      { obstacle: { reason: 'image-not-found', message: '', isFinal: true } },
      'image-not-found',
    ],
    ['nothing while instances boot', { supply: bootingFor(30, 4) }, null],
    ['nothing while the replacements boot', { demand: many(2), supply: bootingFor(100, 3) }, null],
    [
      'that replacements do not find the way back either',
      { demand: many(2), supply: bootingFor(100, 4) },
      'instances-do-not-register',
    ],
    [
      'that instances do not find the way back',
      { supply: ['1', '2'].map((id) => instance(id, { launchedAt: ago(100) })) },
      'instances-do-not-register',
    ],
  ])('%s', (_, overrides, reason) => {
    const { verdict } = planFleet(fleet({ demand: many(1), ...overrides }));
    const isFinal = reason === 'image-not-found';
    expect(verdict && { reason: verdict.reason, isFinal: verdict.isFinal }).toEqual(reason && { reason, isFinal });
  });
});

describe('planFleet: what EC2 said', () => {
  it.each(['EC2 does not answer', null])('is told to those who wait for it: %s', (message) => {
    const open = launch({ status: 'unknown', tries: 3, reason: 'ec2-unavailable', message });
    const { verdict } = planFleet(fleet({ demand: many(1), launches: [open] }));
    expect(verdict).toEqual({ reason: 'ec2-unavailable', message: message ?? '', isFinal: false, at: NOW });
  });
});

describe('planFleet: retirements', () => {
  it('retires of the surplus the longest silent, of equal ones the first that registered, and then by their ids', () => {
    const among = (most: number) => fc.integer({ min: 0, max: most });
    const spares = fc.uniqueArray(fc.tuple(among(30), among(2), among(2)), { selector: ([n]) => n, maxLength: 8 });
    fc.assert(
      fc.property(spares, among(8), (all, warm) => {
        const supply = all.map(([n, seen, seconds]) =>
          // Never seen since it registered: the longest silent.
          registered(`i-${n}`, { registeredAt: ago(20 + seconds), lastSeenAt: seen === 0 ? null : ago(10 + seen) }),
        );
        const inTurn = byText(
          supply,
          ({ id, registeredAt, lastSeenAt }) =>
            `${lastSeenAt?.toISOString() ?? ''} ${registeredAt?.toISOString()} ${id}`,
        );
        const surplus = inTurn.slice(0, Math.max(0, supply.length - warm)).map(({ id }) => [id, 'idle-surplus']);
        expect(retired(planFleet(fleet({ supply, warm })))).toEqual(surplus);
      }),
    );
  });

  it.each<[string, Supply[], Partial<FleetInput>, [string, string][]]>([
    ['the attempt ended', [registered('i-1', { attempt: 'ended' })], {}, [['i-1', 'attempt-ended']]],
    ['it was stopped', [registered('i-1', { state: 'stopped' })], {}, [['i-1', 'stopped-outside']]],
    ['it is being stopped', [instance('i-1', { state: 'stopping' })], {}, [['i-1', 'stopped-outside']]],
    ['it never registered', [instance('i-1', { launchedAt: ago(600) })], {}, [['i-1', 'never-registered']]],
    ['not yet: it may still register', [instance('i-1', { launchedAt: ago(599) })], {}, []],
    ['nobody needs it', [registered('i-1', { registeredAt: ago(15) })], {}, [['i-1', 'idle-surplus']]],
    ['not yet: somebody may come', [registered('i-1', { registeredAt: ago(14) })], {}, []],
    ['not: it is a wanted spare', [registered('i-1', { registeredAt: ago(60) })], { warm: 1 }, []],
    [
      'a spare has been silent',
      [registered('i-1', { registeredAt: ago(900), lastSeenAt: ago(600) })],
      { warm: 1 },
      [['i-1', 'idle-silent']],
    ],
    [
      'not: it is we who were away',
      [registered('i-1', { registeredAt: ago(900), lastSeenAt: ago(600) })],
      { warm: 1, listeningSince: ago(5) },
      [],
    ],
    [
      'it never registered, and EC2 never called it running',
      bootingFor(600, 1).map((one) => ({ ...one, state: 'pending' })),
      {},
      [['i-0', 'never-registered']],
    ],
    [
      'not: it ends without having registered',
      bootingFor(700, 1).map((one) => ({ ...one, state: 'shutting-down' })),
      {},
      [],
    ],
    [
      'not: it may be heard again, and no more are on hand than wanted',
      [
        registered('i-1', { registeredAt: ago(60) }),
        registered('i-2', { registeredAt: ago(120), lastSeenAt: ago(60) }),
      ],
      { warm: 1 },
      [],
    ],
    ['not again: it is ending', [registered('i-1', { state: 'shutting-down' })], {}, []],
  ])('retires when %s', (_, supply, overrides, expected) => {
    expect(retired(planFleet(fleet({ supply, ...overrides })))).toEqual(expected);
  });

  it('retires only the surplus, and never what it just assigned', () => {
    const supply = ['i-1', 'i-2', 'i-3'].map((id, n) => registered(id, { registeredAt: ago(60 - n) }));
    const plan = planFleet(fleet({ supply, demand: waiting(attempt('a')), warm: 1 }));
    expect(assigned(plan)).toEqual([['a', 'i-1']]);
    expect(plan.retirements).toHaveLength(1);
    expect(plan.retirements[0]?.instanceId).not.toBe('i-1');
  });

  it('retires with the surplus all that nobody counts on, so that the next pass has nothing more to retire', () => {
    const silent = registered('i-1', { registeredAt: ago(120), lastSeenAt: ago(60) });
    const supply = [silent, ...['i-2', 'i-3'].map((id) => registered(id, { registeredAt: ago(60) }))];
    const plan = planFleet(fleet({ supply, warm: 1 }));
    expect(retired(plan).map(([id]) => id)).toEqual(['i-1', 'i-2']);
    const left = supply.filter(({ id }) => id === 'i-3');
    expect(planFleet(fleet({ supply: left, warm: 1 })).retirements).toEqual([]);
  });

  it('looks again when a spare is ripe', () => {
    expect(planFleet(fleet({ supply: [registered('i-1', { registeredAt: ago(5) })] })).recheckAt).toEqual(hence(10));
  });
});
