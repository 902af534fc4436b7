import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { AwsErrorKind } from '../../aws/aws-error.js';
import {
  type CapacityState,
  type FailedOffer,
  learn,
  type LaunchView,
  nextOffer,
  type Offer,
  offersOf,
  type Wishes,
} from './plan-capacity.js';

const WISHES: Wishes = { types: ['t4g.small', 't3.small'], market: 'on-demand' };
const SUBNETS = ['subnet-a', 'subnet-b'];
const NO_LOSSES = () => 0;
const NOW = new Date('2026-11-30T12:00:00Z');
const later = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1_000);

type Refusal = { readonly failure: AwsErrorKind; readonly reason: string };
const NO_ROLE: Refusal = { failure: 'account', reason: 'spot-role-missing' };
const UNFIT: Refusal = { failure: 'invalid', reason: 'request-invalid' };

/** Launches one after another, each of the next offer, until there is none or waiting cannot help. */
function play(refusalOf: (offer: Offer) => Refusal | null, wishes = WISHES, start: CapacityState = {}, now = NOW) {
  const tried: Offer[] = [];
  let capacity = start;
  for (;;) {
    const offer = nextOffer(capacity, wishes, SUBNETS, NO_LOSSES);
    if (!offer) return { tried, capacity, end: 'none-left' as const, message: '' };
    if (tried.length > 50) throw new Error('it tries without end');
    tried.push(offer);
    const id = String(tried.length);
    const refusal = refusalOf(offer);
    const launch: LaunchView = {
      ...{ id, count: 1, offer, tries: 1, message: 'as EC2 said' },
      ...(refusal
        ? { ...refusal, status: 'failed', rows: 0 }
        : { failure: null, reason: null, status: 'done', rows: 1 }),
    };
    const lastLaunch = { id, at: now.toISOString(), isSettled: false };
    const planned = { ...capacity, lastLaunch, lastSubnetId: offer.subnetId };
    const learnt = learn(planned, [launch], offersOf(wishes, SUBNETS), now);
    capacity = learnt.capacity;
    const { kind } = learnt.outcome;
    if (kind === 'launched') return { tried, capacity, end: kind, message: '' };
    if (kind === 'refused-for-good') return { tried, capacity, end: kind, message: learnt.outcome.message };
  }
}

describe('what EC2 refuses for good', () => {
  it.each([
    UNFIT,
    { failure: 'invalid', reason: 'type-not-found' },
    { failure: 'permission', reason: 'permission-denied' },
  ] as const)('is the fault of the type: the next one is tried ($reason)', (refusal) => {
    const { tried, end } = play(({ type }) => (type === 't4g.small' ? refusal : null));
    expect(end).toBe('launched');
    expect(tried.map(({ type }) => type)).toEqual(['t4g.small', 't3.small']);
  });

  it('is the fault of the market where EC2 does not let us use spot', () => {
    const wishes: Wishes = { types: ['t3.small'], market: 'spot', fallbackMarket: 'on-demand' };
    const { tried, end } = play(
      ({ market }) => (market === 'spot' ? { failure: 'permission', reason: 'permission-denied' } : null),
      wishes,
    );
    expect(end).toBe('launched');
    expect(tried.map(({ market }) => market)).toEqual(['spot', 'on-demand']);
  });

  it('is the fault of the market spot, not of its types, where the account lacks the role', () => {
    const wishes: Wishes = { ...WISHES, market: 'spot', fallbackMarket: 'on-demand' };
    const lacking = ({ market }: Offer) => (market === 'spot' ? NO_ROLE : null);
    const { tried, end, capacity } = play(lacking, wishes);
    expect(end).toBe('launched');
    expect(tried.map(({ type, market }) => `${type} ${market}`)).toEqual(['t4g.small spot', 't4g.small on-demand']);
    // It is tried again: no notice says that the role exists.
    const aMinuteLater = learn(capacity, [], [], later(61)).capacity;
    expect(nextOffer(aMinuteLater, wishes, SUBNETS, NO_LOSSES)?.market).toBe('spot');
  });

  it('is waited for where an operator mends it in the account, and no other offer is tried meanwhile', () => {
    for (const refusal of [NO_ROLE, { failure: 'account', reason: 'account-not-verified' } as const]) {
      const wishes: Wishes = { ...WISHES, market: 'spot' };
      const { tried, end, capacity } = play(() => refusal, wishes);
      expect([tried.length, end]).toEqual([1, 'none-left']);
      expect(play(() => null, wishes, learn(capacity, [], [], later(61)).capacity, later(61)).end).toBe('launched');
    }
    const verified = { failure: 'account', reason: 'account-not-verified' } as const;
    const wishes: Wishes = { ...WISHES, market: 'spot', fallbackMarket: 'on-demand' };
    expect(play(() => verified, wishes).tried).toHaveLength(1);
  });

  it('is the fault of the subnet that does not exist', () => {
    const refusal: Refusal = { failure: 'invalid', reason: 'subnet-not-found' };
    const { tried, end } = play(({ subnetId }) => (subnetId === 'subnet-a' ? refusal : null));
    expect(end).toBe('launched');
    expect(tried).toEqual([
      { type: 't4g.small', subnetId: 'subnet-a', market: 'on-demand' },
      { type: 't4g.small', subnetId: 'subnet-b', market: 'on-demand' },
    ]);
  });

  it('ends the waiting once it is so of every offer, and is forgotten then: whoever comes later is tried for', () => {
    const { tried, end, message, capacity } = play(() => UNFIT);
    expect(end).toBe('refused-for-good');
    expect(tried).toHaveLength(2);
    expect(message).toBe('EC2 refuses every type and subnet, the last of them t3.small: as EC2 said');
    expect(nextOffer(capacity, WISHES, SUBNETS, NO_LOSSES)).not.toBeNull();
  });

  it('ends it at once where no other offer would change anything', () => {
    const { tried, end, message } = play(() => ({ failure: 'permission', reason: 'credentials-refused' }));
    expect([tried.length, end, message]).toEqual([1, 'refused-for-good', 'as EC2 said']);
  });

  it('does not end it while another offer is only short', () => {
    const { tried, end } = play(({ type }) => (type === 't4g.small' ? { failure: 'capacity', reason: 'none' } : UNFIT));
    expect(end).toBe('none-left');
    expect(tried.map(({ type }) => type)).toEqual(['t4g.small', 't4g.small', 't3.small']);
  });

  it('is played to an end with any refusals: no offer is asked for twice, and whatever EC2 would take is found', () => {
    const refusals: Refusal[] = [
      UNFIT,
      { failure: 'invalid', reason: 'subnet-not-found' },
      { failure: 'permission', reason: 'permission-denied' },
      { failure: 'capacity', reason: 'insufficient-capacity' },
      { failure: 'address', reason: 'no-free-addresses' },
    ];
    const wishes: Wishes = { types: ['a', 'b', 'c'], market: 'spot', fallbackMarket: 'on-demand' };
    const offers = [...offersOf(wishes, SUBNETS)];
    fc.assert(
      fc.property(fc.array(fc.option(fc.constantFrom(...refusals)), { minLength: 12, maxLength: 12 }), (answers) => {
        // A fault of a subnet or a type is one of each of its offers.
        const keyOf = (refusal: Refusal, { type, subnetId, market }: Offer): string => {
          if (refusal.reason === 'subnet-not-found' || refusal.failure === 'address') return subnetId;
          return refusal.failure === 'capacity' ? `${type} ${subnetId} ${market}` : `${type} ${market}`;
        };
        const at = (offer: Offer) =>
          answers[offers.findIndex((one) => JSON.stringify(one) === JSON.stringify(offer))] ?? null;
        const refusalOf = (offer: Offer): Refusal | null =>
          offers
            .map((one) => ({ one, refusal: at(one) }))
            .find(({ one, refusal }) => refusal && keyOf(refusal, one) === keyOf(refusal, offer))?.refusal ?? null;
        const { tried, end } = play(refusalOf, wishes);
        expect(new Set(tried.map((offer) => JSON.stringify(offer))).size).toBe(tried.length);
        expect(end === 'launched').toBe(offers.some((offer) => refusalOf(offer) === null));
      }),
    );
  });
});

describe('an exhausted quota', () => {
  it('of many types costs no more calls a minute than that of one', () => {
    const wishes: Wishes = { types: Array.from({ length: 10 }, (_, n) => `t${n}.small`), market: 'on-demand' };
    const calls: number[] = [];
    let capacity: CapacityState = {};
    for (let second = 0; second < 1_200; second += 1) {
      const played = play(() => ({ failure: 'quota', reason: 'vcpu-limit-exceeded' }), wishes, capacity, later(second));
      // Marks expire only where one is learnt or an offer is chosen: a pass does both.
      capacity = learn(played.capacity, [], [], later(second)).capacity;
      calls.push(played.tried.length);
    }
    const steady = calls.slice(600).reduce((sum, count) => sum + count, 0) / 10;
    expect(steady).toBeLessThanOrEqual(2);
    expect(steady).toBeGreaterThan(0);
  });
});

const OFFER: Offer = { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' };
const mark = (overrides: Partial<FailedOffer> = {}): FailedOffer => ({
  ...OFFER,
  reason: 'r',
  message: 'm',
  until: later(60).toISOString(),
  ...overrides,
});
const lastLaunch = { id: 'launch-1', at: NOW.toISOString(), isSettled: false };
/** What a launch teaches, but that it was the last. */
function taught(overrides: Partial<LaunchView>, before: CapacityState = {}, offers: readonly Offer[] = [OFFER]) {
  const launch: LaunchView = {
    ...{ id: 'launch-1', status: 'failed', count: 1, rows: 0, offer: OFFER, tries: 1 },
    ...{ failure: null, reason: null, message: null },
    ...overrides,
  };
  const { capacity, outcome } = learn({ ...before, lastLaunch }, [launch], offers, NOW);
  const { lastLaunch: last, ...rest } = capacity;
  expect(last).toEqual({ ...lastLaunch, isSettled: true });
  return { capacity: rest, outcome };
}

describe('the next offer', () => {
  const subnetIds = ['subnet-a', 'subnet-b', 'subnet-c'];
  const wishes: Wishes = { types: ['t3.small'], market: 'on-demand' };

  it.each<[last: string | undefined, next: string]>([
    [undefined, 'subnet-a'],
    ['subnet-a', 'subnet-b'],
    ['subnet-b', 'subnet-c'],
    ['subnet-c', 'subnet-a'],
    ['subnet-of-before', 'subnet-a'],
  ])('is in the subnet after the last: %s, %s', (last, next) => {
    const capacity = last === undefined ? {} : { lastSubnetId: last };
    expect(nextOffer(capacity, wishes, subnetIds, NO_LOSSES)?.subnetId).toBe(next);
  });

  it.each<[losses: number[], failed: string[], next: string | null]>([
    [[2, 1, 1], [], 'subnet-b'],
    [[1, 1, 0], [], 'subnet-c'],
    [[1, 0, 0], [], 'subnet-b'],
    [[2, 1, 3], ['subnet-b'], 'subnet-a'],
    [[0, 0, 7], ['subnet-a', 'subnet-b'], 'subnet-c'],
    [[0, 0, 0], subnetIds, null],
  ])('is one of those that lost the fewest launches, and none that failed: %j, %j', (losses, failed, next) => {
    const capacity = { failedOffers: failed.map((subnetId) => mark({ subnetId })) };
    const lossesOf = ({ subnetId }: Offer) => losses[subnetIds.indexOf(subnetId)] ?? 0;
    expect(nextOffer(capacity, wishes, subnetIds, lossesOf)?.subnetId ?? null).toBe(next);
  });
});

describe('what a settled launch teaches', () => {
  it.each<[before: number | undefined, after: number | undefined]>([
    [undefined, undefined],
    [1, 2],
    [50, 100],
    [99, 198],
    [100, undefined],
  ])('by its success: twice as many may be asked for, up to our own limit: %s, %s', (before, after) => {
    const capacity = before === undefined ? {} : { countLimit: before };
    expect(taught({ status: 'done', count: 3, rows: 3 }, capacity)).toEqual({
      capacity: after === undefined ? {} : { countLimit: after },
      outcome: { kind: 'launched' },
    });
  });

  it('where EC2 gave fewer than were asked for: that it has no more there, for three minutes', () => {
    expect(taught({ status: 'done', count: 5, rows: 4 })).toEqual({
      capacity: {
        failedOffers: [
          mark({ reason: 'insufficient-capacity', message: 'EC2 had 4 of 5', until: later(180).toISOString() }),
        ],
      },
      outcome: { kind: 'launched' },
    });
  });

  it.each([
    [200, 100],
    [3, 1],
    [2, 1],
  ])('by a quota or a subnet too small for %d: that %d may be asked for', (count, countLimit) => {
    for (const failure of ['quota', 'address'] as const)
      expect(taught({ failure, count })).toEqual({ capacity: { countLimit }, outcome: { kind: 'tried' } });
  });

  it.each<[string, AwsErrorKind, Partial<FailedOffer>, seconds: number]>([
    ['a type whose quota is spent, in all subnets', 'quota', { subnetId: null }, 30],
    ['a subnet without addresses, for all types and markets', 'address', { type: null, market: null }, 180],
    ['an offer without capacity', 'capacity', {}, 180],
    ['the account, for all offers', 'account', { type: null, subnetId: null, market: null }, 60],
  ])('of a single instance: %s is passed by for a while', (_, failure, marked, seconds) => {
    const said = { reason: 'why', message: 'because' };
    const until = later(seconds).toISOString();
    expect(taught({ failure, ...said }).capacity).toEqual({ failedOffers: [mark({ ...marked, ...said, until })] });
    const unsaid = { reason: 'insufficient-capacity', message: '' };
    expect(taught({ failure }).capacity).toEqual({ failedOffers: [mark({ ...marked, ...unsaid, until })] });
  });

  it('by the quota of one type more: that all of them wait longer, whatever else has failed', () => {
    const failedOffers = [
      mark({ type: 't4g.small', subnetId: null }),
      mark({ type: null }),
      mark({ subnetId: null, market: 'spot' }),
      mark({ type: 'm7g.large' }),
    ];
    const { capacity } = taught({ failure: 'quota' }, { failedOffers });
    expect(capacity.failedOffers?.at(-1)?.until).toBe(later(60).toISOString());
  });

  it('for as long as it is said to, to the moment', () => {
    const capacity = { failedOffers: [mark({ until: later(60).toISOString() })] };
    expect(learn(capacity, [], [], later(59.999)).capacity).toEqual(capacity);
    expect(learn(capacity, [], [], later(60)).capacity).toEqual({});
    const both = { failedOffers: [...capacity.failedOffers, mark({ until: later(61).toISOString() })] };
    expect(learn(both, [], [], later(60)).capacity).toEqual({ failedOffers: both.failedOffers.slice(1) });
  });

  it.each<[string, CapacityState, Partial<LaunchView>]>([
    ['before there was one', {}, {}],
    ['where it is not the last one', { lastLaunch: { ...lastLaunch, id: 'launch-0' } }, {}],
    ['once only', { lastLaunch: { ...lastLaunch, isSettled: true } }, {}],
    ['not before it is settled', { lastLaunch }, { status: 'planned' }],
    ['not before its outcome is known', { lastLaunch }, { status: 'unknown' }],
  ])('%s', (_, capacity, overrides) => {
    const launch: LaunchView = {
      ...{ id: 'launch-1', status: 'failed', count: 8, rows: 0, offer: OFFER, tries: 1 },
      ...{ failure: 'quota', reason: null, message: null },
      ...overrides,
    };
    expect(learn(capacity, [launch], [OFFER], NOW)).toEqual({ capacity, outcome: { kind: 'none' } });
  });

  it.each<[string, offers: Offer[], CapacityState, reason: string | null, message: string]>([
    ['the only offer', [OFFER], {}, 'why', 'because'],
    ['the only offer, and EC2 does not say why', [OFFER], {}, null, ''],
    ['all of them, the credentials', [OFFER, { ...OFFER, type: 't4g.small' }], {}, 'credentials-refused', 'because'],
    [
      'all of them after one was refused for itself',
      [OFFER, { ...OFFER, type: 't4g.small' }],
      { failedOffers: [mark({ type: 't4g.small', subnetId: null, isFinal: true })] },
      'credentials-refused',
      'because',
    ],
    [
      'the only offer, once an other is passed by',
      [OFFER],
      { failedOffers: [mark({ type: 't4g.small' })] },
      'why',
      'because',
    ],
  ])('by a refusal of %s: that waiting cannot help, and nothing that later attempts would not try', (...row) => {
    const [, offers, before, reason, message] = row;
    const told = { reason, message: message === '' ? null : message };
    const { capacity, outcome } = taught({ failure: 'permission', ...told }, before, offers);
    expect(outcome).toEqual({ kind: 'refused-for-good', reason: reason ?? 'request-refused', message });
    const left = (before.failedOffers ?? []).filter(({ isFinal }) => !isFinal);
    expect(capacity).toEqual(left.length > 0 ? { failedOffers: left } : {});
  });

  it('nothing final where no offer is known: image or subnets may be known again', () => {
    expect(taught({ failure: 'invalid', reason: 'request-invalid' }, {}, []).outcome).toEqual({ kind: 'tried' });
  });
});
