import type { AwsErrorKind } from '../../aws/aws-error.js';
import { backoffMs } from './plan-backoff.js';

// What to do with one open launch, and what EC2's answer means. `planned` = EC2 has done nothing for it, for certain;
// `unknown` = it was called and the outcome is not known. Only a settled launch makes room for another of its shape.

export type OpenLaunch = {
  readonly status: 'planned' | 'unknown';
  readonly tries: number;
  readonly count: number;
  /** Milliseconds since it was stored. */
  readonly ageMs: number;
  /** Milliseconds since the last call that may have taken effect; null = there was none. */
  readonly calledMsAgo: number | null;
  /** How EC2 refused its last call for certain, while one before it may have taken effect; null = it did not. */
  readonly refusedAs: AwsErrorKind | null;
  /** The reason in the last answer; null = there was none. */
  readonly reason: string | null;
  readonly message: string | null;
  /** Instances of its shape that attempts still wait for; counted up to `count`. */
  readonly wanted: number;
};

export type Refusal = { readonly kind: AwsErrorKind; readonly reason: string; readonly message: string };

export type Settlement = Done | Failed | StillOpen;
type Done = { readonly to: 'done' };
type Failed = {
  readonly to: 'failed';
  readonly failure: AwsErrorKind | null;
  readonly reason: string;
  readonly message: string;
};
type StillOpen = {
  readonly to: 'planned' | 'unknown';
  readonly againMs: number;
  /** Becomes the launch's `refusedAs`. */
  readonly failure: AwsErrorKind | null;
  readonly reason: string;
  readonly message: string;
  /** The call just made did nothing, for certain: the visibility window still counts from the one before. */
  readonly isVoid: boolean;
};

/**
 * EC2 is eventually consistent: a describe may miss what a call just made. With shorter, «not visible yet» could be
 * read as «does not exist», and a second set be paid for; longer holds up the shape after a lost answer that cannot be
 * repeated.
 */
export const VISIBILITY_MS = 120_000;
/**
 * Repeats end here, and only look-ups follow: each repeat may take effect itself, so a call that keeps failing (a zone
 * in trouble answers 500 for hours) could never be given up. Shorter gives up calls that one more minute would have
 * settled.
 */
export const REPEAT_MS = 300_000;
const LOOK_UP_PAUSE_MS = 5_000;
/** A launch too large for the rest of EC2's quota is replaced by a smaller one rather than wait longer than this. */
const LONGEST_QUOTA_WAIT_MS = 5_000;

export type NextStep = 'call' | 'look-up' | 'withdraw';

/**
 * A launch of more than is wanted by now is replaced by a smaller one. A repeat, with the ClientToken, is the quickest
 * way to the outcome; but it may launch, so it is not made once no attempt wants the instances.
 */
export function planNextStep({ status, wanted, count, refusedAs, ageMs }: OpenLaunch): NextStep {
  if (status === 'planned') return wanted < count ? 'withdraw' : 'call';
  return wanted > 0 && refusedAs === null && ageMs < REPEAT_MS ? 'call' : 'look-up';
}

/** Instances to take from EC2's quota for a call. A repeat is free: the first call has paid for it. */
export function instancesToCharge(launch: OpenLaunch): number {
  return launch.status === 'planned' ? launch.count : 0;
}

/** Whether a call that EC2's quota holds up is better replaced by one with as many instances as the quota allows. */
export function isTooLarge(launch: OpenLaunch, { waitMs, burst }: { waitMs: number; burst: number }): boolean {
  return waitMs > LONGEST_QUOTA_WAIT_MS && launch.count > 1 && burst < instancesToCharge(launch);
}

/** A launch that cannot be decrypted any more can only be looked up, and only if it was called. */
export function settleUnreadable(launch: OpenLaunch): Settlement {
  const refusal = {
    kind: 'token-mismatch',
    reason: 'launch-unreadable',
    message: 'the launch was written with another ENCRYPTION_KEY',
  } as const;
  const { kind, ...explanation } = refusal;
  return launch.status === 'planned'
    ? { to: 'failed', failure: kind, ...explanation }
    : settleRefusal(launch, refusal, 0);
}

/** Why a launch that was never called is closed. */
export function settleWithdrawal(because: 'not-needed' | 'too-large'): Settlement {
  return because === 'not-needed'
    ? { to: 'failed', failure: null, reason: 'not-needed', message: 'fewer wait than it would launch' }
    : { to: 'failed', failure: 'throttled', reason: 'ec2-throttled', message: 'more than EC2’s quota gives now' };
}

/**
 * What a refused call means.
 * @param launch as it was before the call
 * @param dice 0 … 1, for the jitter
 */
export function settleRefusal(launch: OpenLaunch, refusal: Refusal, dice: number): Settlement {
  const { kind, reason, message } = refusal;
  const lookUp: Settlement = { to: 'unknown', againMs: 0, failure: kind, reason, message, isVoid: true };
  switch (kind) {
    case 'unknown-outcome': {
      const againMs = backoffMs(launch.tries, dice);
      return { to: 'unknown', againMs, failure: null, reason, message, isVoid: false };
    }
    case 'throttled': {
      // The refusal of a repeat shows nothing about the call before.
      const againMs = backoffMs(launch.tries, dice);
      return { to: launch.status, againMs, failure: null, reason, message, isVoid: true };
    }
    case 'token-mismatch':
    case 'token-spent':
      return lookUp;
    case 'capacity':
    case 'quota':
    case 'address':
    case 'account':
    case 'permission':
    case 'invalid':
    case 'not-found':
      // EC2 checks a call before it reads the token: it can refuse a repeat although the first call took effect.
      return launch.status === 'unknown' ? lookUp : { to: 'failed', failure: kind, reason, message };
  }
}

/** What a look-up by client token means. Absence counts only once everything made must be visible. */
export function settleLookUp(launch: OpenLaunch, found: number | Refusal): Settlement {
  const failure = launch.refusedAs;
  const again = { to: 'unknown', againMs: LOOK_UP_PAUSE_MS, failure, isVoid: false } as const;
  if (typeof found !== 'number') {
    const { reason, message } = failure === null ? found : explain(launch);
    return { ...again, reason, message };
  }
  if (found >= launch.count) return { to: 'done' };
  const { reason, message } = explain(launch);
  if ((launch.calledMsAgo ?? 0) < VISIBILITY_MS) return { ...again, reason, message };
  if (found > 0) return { to: 'done' };
  return { to: 'failed', failure: failure ?? (launch.wanted > 0 ? 'unknown-outcome' : null), reason, message };
}

function explain({ refusedAs, reason, message, wanted }: OpenLaunch): { reason: string; message: string } {
  if (refusedAs === null && wanted === 0)
    return { reason: 'not-needed', message: 'it was called, and no attempt waits for it any more' };
  return { reason: reason ?? 'outcome-unknown', message: message ?? 'it was called, and the answer was lost' };
}
