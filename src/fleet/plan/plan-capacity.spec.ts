import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { AwsErrorKind } from '../../aws/aws-error.js';
import {
  type CapacityState,
  learn,
  type LaunchView,
  nextOffer,
  type Offer,
  offersOf,
  type Wishes,
} from './plan-capacity.js';

const WISHES: Wishes = { types: ['t4g.small', 't3.small'], market: 'on-demand' };
const SUBNETS = ['subnet-a', 'subnet-b'];
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
    const offer = nextOffer(capacity, wishes, SUBNETS);
    if (!offer) return { tried, capacity, end: 'none-left' as const, message: '' };
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
    expect(nextOffer(aMinuteLater, wishes, SUBNETS)?.market).toBe('spot');
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
    expect(nextOffer(capacity, WISHES, SUBNETS)).not.toBeNull();
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
