import type { AwsErrorKind } from '../../aws/aws-error.js';
import { type LaunchView, type Offer, REFUSALS } from './plan-capacity.js';

// Failed launches cost money, or at least calls, and EC2 would go on accepting them. The pauses are computed from the
// rows of the launches themselves: a restart or another owner begins no new series, a restored older database at most
// one.

/** A settled launch of the last hour, and the state of its instances now. */
export type RecentLaunch = Pick<LaunchView, 'offer' | 'failure' | 'reason' | 'message' | 'rows'> & {
  /** Of its last call. */
  readonly at: Date;
  /** Of the instances it made those that registered, and those that ended or were given up before they did. */
  readonly registered: number;
  readonly lost: number;
  /** EC2's code for why the last of them ended; null = EC2 gave none, or the fleet gave it up. */
  readonly stateReason: string | null;
};

export type BrakeInput = {
  /** Newest first. */
  readonly recent: readonly RecentLaunch[];
  /** Attempts that wait, and spares to keep. */
  readonly wanted: number;
  /** Within this time after its launch an instance is expected to register. */
  readonly bootSeconds: number;
  readonly now: Date;
};

export type Brake = {
  /** Instances that may be launched now. */
  readonly most: number;
  /** If none may: when the next may follow; null = once what boots has registered or timed out. */
  readonly until: Date | null;
  /** The reason that waiting attempts get; null = nothing was lost or refused. */
  readonly trouble: { readonly reason: string; readonly message: string } | null;
  /** Launches in a row of that offer whose instances were lost: the one with the fewest is tried next. */
  readonly lossesOf: (offer: Offer) => number;
};

/** A single loss is an accident, and replaced at once; from the second on there is a pause between launches. */
const FIRST_PAUSE_SECONDS = 10;
/** Several types may have quotas of their own; from this refusal in a row on there is a pause before any launch. */
const QUOTAS_AT_ONCE = 4;
const QUOTA_PAUSE_SECONDS = 15;
/** Longer would keep jobs down after EC2 has recovered; shorter would pay for more failed launches. */
export const LONGEST_PAUSE_SECONDS = 300;
/** An instance that does not register within ten minutes never does, so it is in doubt no longer than this. */
export const CEILING_SECONDS = 600;
/** Launches older than this are not read: a series at its longest pause has a dozen in an hour. */
export const RECENT_SECONDS = 3_600;

/** Attempts of a caller that deploys and cancels in a loop, each time another shape, never wait this long. */
const WAITED_SECONDS = 5;
const KEPT_SHARE = 4;
/** As the job planner numbers it. */
const HEALING_PRIORITY = 0;

/**
 * A quarter of the launches of a minute is kept for attempts that heal or have waited for a while: else one deployer
 * could use up all of them, and all others would wait for the next minute.
 * @param first the attempts of a shape that are first in line
 * @returns how many of `most` are kept from them
 */
export function keptLaunches(
  most: number,
  first: readonly { readonly priority: number; readonly createdAt: Date }[],
  now: Date,
): number {
  const isTheirs = first.some(
    ({ priority, createdAt }) => priority === HEALING_PRIORITY || now >= after(createdAt, WAITED_SECONDS),
  );
  return isTheirs ? 0 : Math.floor(most / KEPT_SHARE);
}

/** How far earlier losses and refusals hold up the launches of a shape. */
export function planBrake(input: BrakeInput): Brake {
  const { recent, now } = input;
  const lost = lossesInARow(recent);
  const refused = refusalsInARow(recent, [...REFUSALS, 'account']);
  const short = refusalsInARow(recent, ['quota']);
  const held = later(holdOf(input, lost), later(pauseAfter(refused), pauseAfterQuotas(short)));
  const isTried = isOneAtATime(lost) && isAnotherBooting(input, lost);
  const until = !isTried && held !== null && now < held ? held : null;
  return {
    most: isTried || until !== null ? 0 : mostOf(input, lost),
    until,
    trouble: lost.length > 0 ? describeLosses(lost, until) : describeRefusals([...refused, ...short], until),
    lossesOf: (offer) => lost.filter((launch) => isSameOffer(launch.offer, offer)).length,
  };
}

/** The most unregistered launches of ten minutes, for this many attempts that waited in them. */
export function ceilingOf(wanted: number): number {
  return 2 * wanted + 2;
}

/** Back to a launch of which an instance registered; those of which none has ended yet do not count. */
function lossesInARow(recent: readonly RecentLaunch[]): readonly RecentLaunch[] {
  const good = recent.findIndex(({ registered }) => registered > 0);
  return recent.slice(0, good === -1 ? undefined : good).filter((launch) => launch.lost > 0);
}

/** Back to a launch that EC2 accepted. */
function refusalsInARow(recent: readonly RecentLaunch[], kinds: readonly AwsErrorKind[]): readonly RecentLaunch[] {
  const taken = recent.findIndex(({ rows }) => rows > 0);
  return recent
    .slice(0, taken === -1 ? undefined : taken)
    .filter(({ failure }) => failure !== null && kinds.includes(failure));
}

/** A whole launch was lost, or the second in a row: a single launch shows whether the next would be lost, too. */
function isOneAtATime([last, ...others]: readonly RecentLaunch[]): boolean {
  return last !== undefined && (others.length > 0 || last.lost === last.rows);
}

function isAnotherBooting({ recent, bootSeconds, now }: BrakeInput, lost: readonly RecentLaunch[]): boolean {
  const later = recent.slice(
    0,
    recent.findIndex((launch) => launch === lost[0]),
  );
  // None of these has registered or ended.
  return later.some((one) => one.rows > 0 && now < after(one.at, bootSeconds));
}

function holdOf(input: BrakeInput, lost: readonly RecentLaunch[]): Date | null {
  const { recent, now } = input;
  const newest = recent.find(({ rows }) => rows > 0);
  if (!newest) return null;
  const left = leftOf(input);
  // While nothing registers the last one the ceiling allows is kept for the longest pause, so that there is always a
  // next try.
  const needed = lost.length >= 2 ? 2 : 1;
  if (left >= needed) return pauseAfter(lost);
  const free = earlier(whenFree(recent, needed - left, now), after(newest.at, LONGEST_PAUSE_SECONDS));
  return later(free, pauseAfter(lost));
}

/**
 * Attempts that got an instance in these ten minutes count as waiting in them, too: so those that wait with them follow
 * at once.
 */
function leftOf({ recent, wanted, now }: BrakeInput): number {
  const latest = recent.filter(({ at }) => now < after(at, CEILING_SECONDS));
  const registered = latest.reduce((sum, launch) => sum + launch.registered, 0);
  const launched = latest.reduce((sum, launch) => sum + launch.rows, 0);
  return ceilingOf(wanted + registered) - (launched - registered);
}

/** When this many of the unregistered were launched longer ago than the ceiling counts. */
function whenFree(recent: readonly RecentLaunch[], count: number, now: Date): Date {
  const oldestFirst = recent.filter(({ at }) => now < after(at, CEILING_SECONDS)).toReversed();
  let left = count;
  for (const { at, rows, registered } of oldestFirst) {
    left -= rows - registered;
    if (left <= 0) return after(at, CEILING_SECONDS);
  }
  return after(now, CEILING_SECONDS);
}

/** From launch to launch, not from loss to loss: a slow loss has been a pause already. */
function pauseAfter(inARow: readonly RecentLaunch[]): Date | null {
  const [last] = inARow;
  if (!last || inARow.length < 2) return null;
  const seconds = FIRST_PAUSE_SECONDS * 2 ** (inARow.length - 2);
  return after(last.at, Math.min(seconds, LONGEST_PAUSE_SECONDS));
}

function pauseAfterQuotas(short: readonly RecentLaunch[]): Date | null {
  const [last] = short;
  return last && short.length >= QUOTAS_AT_ONCE ? after(last.at, QUOTA_PAUSE_SECONDS) : null;
}

function mostOf(input: BrakeInput, lost: readonly RecentLaunch[]): number {
  return isOneAtATime(lost) ? 1 : Math.max(1, leftOf(input));
}

function describeLosses(lost: readonly RecentLaunch[], until: Date | null): Brake['trouble'] {
  const count = lost.reduce((sum, launch) => sum + launch.lost, 0);
  const these = count === 1 ? 'an instance' : `${count} instances`;
  const stateReason = lost[0]?.stateReason ?? null;
  if (stateReason === null) {
    const message = `${these} did not register in time; can they reach PUBLIC_URL? ${next(until)}`;
    return { reason: 'instances-do-not-register', message };
  }
  const hint = HINTS[stateReason];
  const why = `${count === 1 ? '' : 'the last one '}with ${stateReason}${hint === undefined ? '' : ` (${hint})`}`;
  const message = `EC2 ended ${these} before ${count === 1 ? 'it' : 'they'} registered, ${why}; ${next(until)}`;
  return { reason: 'instances-end-at-launch', message };
}

/** What an operator should check first. */
const HINTS: Readonly<Record<string, string>> = {
  'Client.InternalError': 'often a KMS key of the disk or the AMI that may not be used',
  'Client.InvalidSnapshot.NotFound': 'the AMI’s snapshot is gone',
  'Client.VolumeLimitExceeded': 'the account’s quota of EBS storage',
  'Client.UserInitiatedShutdown': 'it was terminated from outside',
  'Client.InstanceInitiatedShutdown': 'it shut itself down',
  'Server.InsufficientInstanceCapacity': 'EC2 had no capacity after all',
  'Server.SpotInstanceTermination': 'EC2 took the spot instance back',
};

function describeRefusals(refused: readonly RecentLaunch[], until: Date | null): Brake['trouble'] {
  const [last] = refused;
  if (!last || until === null) return null;
  return { reason: last.reason ?? 'request-refused', message: `${last.message ?? 'EC2 refused'}; ${next(until)}` };
}

function next(until: Date | null): string {
  return until === null ? 'another one is on its way' : `the next try is at ${until.toISOString()}`;
}

function isSameOffer(a: Offer, b: Offer): boolean {
  return a.type === b.type && a.subnetId === b.subnetId && a.market === b.market;
}

function after(at: Date, seconds: number): Date {
  return new Date(at.getTime() + seconds * 1000);
}

function earlier(a: Date, b: Date): Date {
  return a < b ? a : b;
}

function later(a: Date | null, b: Date | null): Date | null {
  if (!a || !b) return a ?? b;
  return a > b ? a : b;
}
