import type { AwsErrorKind } from '../../aws/aws-error.js';

/** One combination that RunInstances can be called with. */
export type Offer = { readonly type: string; readonly subnetId: string; readonly market: Market };
export type Market = 'on-demand' | 'spot';

/** What may be launched for a shape: types in order, each in all subnets, and all of it once more in the other market. */
export type Wishes = {
  readonly types: readonly string[];
  readonly market: Market;
  readonly fallbackMarket?: Market;
};

/** An offer without capacity, or refused by EC2; null matches every type, subnet or market. */
export type FailedOffer = {
  readonly type: string | null;
  readonly subnetId: string | null;
  /** Absent in rows of an older version, which had one market per shape. */
  readonly market?: Market | null;
  readonly reason: string;
  readonly message: string;
  /** ISO 8601: not tried again before. */
  readonly until: string;
  /** Refused for good: once all offers are refused, waiting cannot help. */
  readonly isFinal?: true;
};

/** What the fleet stores of a shape between passes; empty at first. Stored as JSON. */
export type CapacityState = {
  readonly lastLaunch?: { readonly id: string; readonly at: string; readonly isSettled: boolean };
  readonly lastSubnetId?: string;
  /** Halved by quota and address errors, doubled by success; absent = no limit but our own. */
  readonly countLimit?: number;
  readonly failedOffers?: readonly FailedOffer[];
};

/** The fields of a launch that the planners use. */
export type LaunchView = {
  readonly id: string;
  readonly status: 'planned' | 'unknown' | 'done' | 'failed';
  readonly count: number;
  /** Instance rows that refer to it. */
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

/** As in karpenter: shorter repeats failing calls, longer misses capacity that came back. */
const FAILED_OFFER_SECONDS = 180;
/** An operator may repair the account any minute; each further refusal makes the pause longer (plan-brake.ts). */
const ACCOUNT_SECONDS = 60;
/** Quotas free up as soon as something else of ours is terminated, so one call in 30 s tries again. */
const QUOTA_SECONDS = 30;
/** Kinds that waiting does not cure. */
export const REFUSALS: readonly AwsErrorKind[] = ['permission', 'invalid', 'not-found'];
/** Refusals that do not depend on the offer: no other type, subnet or market changes them. */
const EVERY_OFFER: ReadonlySet<string> = new Set([
  'credentials-refused',
  'no-subnet',
  'security-group-not-found',
  'user-data-invalid',
]);
/** What the account lacks for one market. */
const MARKETS: ReadonlySet<string> = new Set(['spot-role-missing']);
/** More in one call makes EC2 slower (its own advice is several of 100), fewer waste calls: 2 a second for all shapes. */
export const MOST_PER_LAUNCH = 200;

/** Learns once from the last launch, as soon as it is settled. @param offers all of them, read only after a refusal */
export function learn(
  capacity: CapacityState,
  launches: readonly LaunchView[],
  offers: Iterable<Offer>,
  now: Date,
): { capacity: CapacityState; outcome: Outcome } {
  const fresh = withoutExpired(capacity, now);
  const last = fresh.lastLaunch;
  const launch = launches.find(({ id }) => id === last?.id);
  if (!last || last.isSettled || !launch || launch.status === 'planned' || launch.status === 'unknown') {
    return { capacity: fresh, outcome: { kind: 'none' } };
  }
  const settled = { ...fresh, lastLaunch: { ...last, isSettled: true } };
  return launch.status === 'done'
    ? learnFromSuccess(settled, launch, now)
    : learnFromFailure(settled, launch, offers, now);
}

/** Types in the job's order, each in the subnets in turn, the dearer market last. */
export function* offersOf(wishes: Wishes, subnetIds: readonly string[]): Generator<Offer> {
  const { types, fallbackMarket = wishes.market } = wishes;
  for (const market of new Set([wishes.market, fallbackMarket])) {
    for (const type of types) for (const subnetId of subnetIds) yield { type, subnetId, market };
  }
}

/**
 * The next offer to try; null = all failed lately.
 * @param lossesOf launches of an offer that failed though EC2 accepted them: one with fewer comes first
 */
export function nextOffer(
  capacity: CapacityState,
  wishes: Wishes,
  subnetIds: readonly string[],
  lossesOf: (offer: Offer) => number,
): Offer | null {
  const after = subnetIds.indexOf(capacity.lastSubnetId ?? '') + 1;
  const inTurn = [...subnetIds.slice(after), ...subnetIds.slice(0, after)];
  let best: { readonly offer: Offer; readonly losses: number } | null = null;
  for (const offer of offersOf(wishes, inTurn)) {
    const losses = failuresOf(capacity, offer).length > 0 ? Infinity : lossesOf(offer);
    if (losses < (best?.losses ?? Infinity)) best = { offer, losses };
  }
  return best?.offer ?? null;
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
  offers: Iterable<Offer>,
  now: Date,
): { capacity: CapacityState; outcome: Outcome } {
  const tried: Outcome = { kind: 'tried' };
  switch (launch.failure) {
    case 'capacity':
      return { capacity: withFailed(capacity, launch, FAILED_OFFER_SECONDS, now), outcome: tried };
    case 'quota':
    case 'address':
      if (launch.count > 1) {
        const countLimit = Math.floor(launch.count / 2);
        return { capacity: { ...capacity, countLimit }, outcome: tried };
      }
      return { capacity: withFailed(capacity, launch, secondsOf(capacity, launch), now), outcome: tried };
    case 'account':
      return { capacity: withFailed(capacity, launch, ACCOUNT_SECONDS, now), outcome: tried };
    case 'permission':
    case 'invalid':
    case 'not-found':
      return learnFromRefusal(capacity, launch, offers, now);
    case 'throttled':
    case 'token-mismatch':
    case 'token-spent':
    case 'unknown-outcome':
    case null:
      // It made nothing and shows nothing about the offer: the next launch, with its own token, may try again.
      return { capacity, outcome: tried };
  }
}

/** A refused offer leaves the others. Once all are refused, the marks are dropped: a later attempt tries them again. */
function learnFromRefusal(
  capacity: CapacityState,
  launch: LaunchView,
  offers: Iterable<Offer>,
  now: Date,
): { capacity: CapacityState; outcome: Outcome } {
  const { reason, message, offer } = launch;
  const failed = withFailed(capacity, launch, FAILED_OFFER_SECONDS, now);
  const isEveryOffers = EVERY_OFFER.has(reason ?? '');
  // Without any offer, the AMI or the subnets are not known now.
  const all = [...offers];
  const isAnyLeft = all.length === 0 || all.some((one) => !failuresOf(failed, one).some(isRefusal));
  if (!isEveryOffers && isAnyLeft) return { capacity: failed, outcome: { kind: 'tried' } };
  const { failedOffers = [], ...rest } = capacity;
  const others = failedOffers.filter((one) => !isRefusal(one));
  const isFirst = isEveryOffers || others.length === failedOffers.length;
  return {
    capacity: others.length > 0 ? { ...rest, failedOffers: others } : rest,
    outcome: {
      kind: 'refused-for-good',
      reason: reason ?? 'request-refused',
      message: `${isFirst ? '' : `EC2 refuses every type and subnet, the last of them ${offer.type}: `}${message ?? ''}`,
    },
  };
}

/** The fewer offers are left, the longer: exhausted quotas of many types cost no more calls than that of one. */
function secondsOf({ failedOffers = [] }: CapacityState, { failure, offer }: LaunchView): number {
  if (failure !== 'quota') return FAILED_OFFER_SECONDS;
  const others = failedOffers.filter(({ subnetId, type }) => subnetId === null && type !== offer.type).length;
  return QUOTA_SECONDS * (1 + others);
}

function withFailed(capacity: CapacityState, launch: LaunchView, seconds: number, now: Date): CapacityState {
  const { offer, failure } = launch;
  const isRefused = failure !== null && REFUSALS.includes(failure);
  const isSubnets = failure === 'address' || launch.reason === 'subnet-not-found';
  const isAccounts = failure === 'account';
  const failed: FailedOffer = {
    // A subnet without addresses has none for any type; a quota and a refused type count in all subnets.
    type: isSubnets || isAccounts ? null : offer.type,
    subnetId: failure === 'quota' || isAccounts || (isRefused && !isSubnets) ? null : offer.subnetId,
    // Spot has its own quotas, permissions, pools and role; addresses and the account are shared.
    market: isSubnets || (isAccounts && !MARKETS.has(launch.reason ?? '')) ? null : offer.market,
    reason: launch.reason ?? 'insufficient-capacity',
    message: launch.message ?? '',
    until: new Date(now.getTime() + seconds * 1000).toISOString(),
    ...(isRefused && { isFinal: true as const }),
  };
  return { ...capacity, failedOffers: [...(capacity.failedOffers ?? []), failed] };
}

function withoutExpired(capacity: CapacityState, now: Date): CapacityState {
  const { failedOffers = [], ...rest } = capacity;
  const current = failedOffers.filter(({ until }) => new Date(until) > now);
  return current.length > 0 ? { ...rest, failedOffers: current } : rest;
}

function failuresOf({ failedOffers = [] }: CapacityState, offer: Offer): readonly FailedOffer[] {
  return failedOffers.filter(
    ({ type, subnetId, market }) =>
      (type ?? offer.type) === offer.type &&
      (subnetId ?? offer.subnetId) === offer.subnetId &&
      (market ?? offer.market) === offer.market,
  );
}

/** Of a failed offer. */
export function isRefusal({ isFinal }: FailedOffer): boolean {
  return isFinal === true;
}
