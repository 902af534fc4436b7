import type { AwsErrorKind } from '../aws/aws-error.js';

/** One thing RunInstances can be asked for. */
export type Offer = { readonly type: string; readonly subnetId: string; readonly market: Market };
export type Market = 'on-demand' | 'spot';

/** What may be launched for a shape: types in order, each in all subnets, and all of it once more in the other market. */
export type Wishes = {
  readonly types: readonly string[];
  readonly market: Market;
  readonly fallbackMarket?: Market;
};

/** An offer EC2 had nothing for; null matches every type, subnet or market. */
export type FailedOffer = {
  readonly type: string | null;
  readonly subnetId: string | null;
  /** Absent in what an older version wrote, which knew one market per shape. */
  readonly market?: Market | null;
  readonly reason: string;
  readonly message: string;
  /** ISO 8601: not asked for again before. */
  readonly until: string;
};

/** What the fleet remembers of a shape between passes; empty at first. Stored as JSON. */
export type CapacityState = {
  readonly lastLaunch?: { readonly id: string; readonly at: string; readonly isSettled: boolean };
  readonly lastSubnetId?: string;
  /** Halved by quota and address errors, doubled by success; absent = no limit but our own. */
  readonly countLimit?: number;
  readonly failedOffers?: readonly FailedOffer[];
};

/** A launch as far as the planners look at it. */
export type LaunchView = {
  readonly id: string;
  readonly status: 'planned' | 'unknown' | 'done' | 'failed';
  readonly count: number;
  /** Instance rows that name it. */
  readonly rows: number;
  readonly offer: Offer;
  readonly tries: number;
  readonly failure: AwsErrorKind | null;
  readonly reason: string | null;
  readonly message: string | null;
};

export type Outcome =
  | { readonly kind: 'none' }
  | { readonly kind: 'launched' }
  | { readonly kind: 'refused-for-good'; readonly reason: string; readonly message: string }
  | { readonly kind: 'tried' };

/** As karpenter remembers it: shorter asks in vain, longer misses capacity that came back. */
const FAILED_OFFER_SECONDS = 180;
/** Quotas free up as soon as something else of ours is terminated, so one call in 30 s asks again. */
const QUOTA_SECONDS = 30;
/** More in one call makes EC2 slower (its own advice is several of 100), fewer waste calls: 2 a second for all shapes. */
export const MOST_PER_LAUNCH = 200;

/** Learns once from the last launch, as soon as it is settled. */
export function learn(
  capacity: CapacityState,
  launches: readonly LaunchView[],
  now: Date,
): { capacity: CapacityState; outcome: Outcome } {
  const fresh = withoutExpired(capacity, now);
  const last = fresh.lastLaunch;
  const launch = launches.find(({ id }) => id === last?.id);
  if (!last || last.isSettled || !launch || launch.status === 'planned' || launch.status === 'unknown') {
    return { capacity: fresh, outcome: { kind: 'none' } };
  }
  const settled = { ...fresh, lastLaunch: { ...last, isSettled: true } };
  return launch.status === 'done' ? learnFromSuccess(settled, launch, now) : learnFromFailure(settled, launch, now);
}

/** The next offer to ask for: types in the job's order, subnets in turn, the dearer market last; null = all failed lately. */
export function nextOffer(capacity: CapacityState, wishes: Wishes, subnetIds: readonly string[]): Offer | null {
  const after = subnetIds.indexOf(capacity.lastSubnetId ?? '') + 1;
  const inTurn = [...subnetIds.slice(after), ...subnetIds.slice(0, after)];
  for (const market of marketsOf(wishes)) {
    for (const type of wishes.types) {
      const subnetId = inTurn.find((id) => !failureOf(capacity, { type, subnetId: id, market }));
      if (subnetId !== undefined) return { type, subnetId, market };
    }
  }
  return null;
}

function marketsOf({ market, fallbackMarket }: Wishes): readonly Market[] {
  return fallbackMarket === undefined || fallbackMarket === market ? [market] : [market, fallbackMarket];
}

function learnFromSuccess(capacity: CapacityState, launch: LaunchView, now: Date) {
  const { countLimit, ...rest } = capacity;
  const doubled = (countLimit ?? MOST_PER_LAUNCH) * 2;
  const grown: CapacityState = doubled < MOST_PER_LAUNCH ? { ...rest, countLimit: doubled } : rest;
  const outcome: Outcome = { kind: 'launched' };
  if (launch.rows >= launch.count) return { capacity: grown, outcome };
  // EC2 gave what it had in that zone (MinCount 1).
  const partly = { ...launch, reason: 'insufficient-capacity', message: `EC2 had ${launch.rows} of ${launch.count}` };
  return { capacity: withFailed(grown, partly, FAILED_OFFER_SECONDS, now), outcome };
}

function learnFromFailure(
  capacity: CapacityState,
  launch: LaunchView,
  now: Date,
): { capacity: CapacityState; outcome: Outcome } {
  const tried: Outcome = { kind: 'tried' };
  switch (launch.failure) {
    case 'capacity':
      return { capacity: withFailed(capacity, launch, FAILED_OFFER_SECONDS, now), outcome: tried };
    case 'quota':
    case 'address':
      if (launch.count > 1) {
        const countLimit = Math.max(1, Math.floor(launch.count / 2));
        return { capacity: { ...capacity, countLimit }, outcome: tried };
      }
      return {
        capacity: withFailed(capacity, launch, launch.failure === 'quota' ? QUOTA_SECONDS : FAILED_OFFER_SECONDS, now),
        outcome: tried,
      };
    case 'permission':
    case 'invalid':
    case 'not-found': {
      const { reason, message } = launch;
      return {
        capacity,
        outcome: { kind: 'refused-for-good', reason: reason ?? 'request-refused', message: message ?? '' },
      };
    }
    case 'throttled':
    case 'token-mismatch':
    case 'token-spent':
    case 'unknown-outcome':
    case null:
      // It left nothing behind and says nothing about the offer: the next launch, with a token of its own, may ask again.
      return { capacity, outcome: tried };
  }
}

function withFailed(capacity: CapacityState, launch: LaunchView, seconds: number, now: Date): CapacityState {
  const { offer, failure } = launch;
  const failed: FailedOffer = {
    // A subnet without addresses has none for any type; a quota counts in all subnets.
    type: failure === 'address' ? null : offer.type,
    subnetId: failure === 'quota' ? null : offer.subnetId,
    // Spot has quotas and pools of its own; addresses are the same ones.
    market: failure === 'address' ? null : offer.market,
    reason: launch.reason ?? 'insufficient-capacity',
    message: launch.message ?? '',
    until: new Date(now.getTime() + seconds * 1000).toISOString(),
  };
  return { ...capacity, failedOffers: [...(capacity.failedOffers ?? []), failed] };
}

function withoutExpired(capacity: CapacityState, now: Date): CapacityState {
  const { failedOffers = [], ...rest } = capacity;
  const current = failedOffers.filter(({ until }) => new Date(until) > now);
  return current.length > 0 ? { ...rest, failedOffers: current } : rest;
}

function failureOf({ failedOffers = [] }: CapacityState, offer: Offer): FailedOffer | undefined {
  return failedOffers.find(
    ({ type, subnetId, market }) =>
      (type ?? offer.type) === offer.type &&
      (subnetId ?? offer.subnetId) === offer.subnetId &&
      (market ?? offer.market) === offer.market,
  );
}
