import type { AwsErrorKind } from '../aws/aws-error.js';

// What to do with one open launch, and what an answer means. `planned` = EC2 has done nothing for it, for certain;
// `unknown` = it was called and the outcome is not known. Only a settled launch makes room for another of its shape.

export type OpenLaunch = {
  readonly status: 'planned' | 'unknown';
  readonly tries: number;
  readonly count: number;
  /** Milliseconds since the first call; null = never called. */
  readonly calledMsAgo: number | null;
  /** Somebody still waits for what it brings. */
  readonly isWanted: boolean;
};

export type Refusal = { readonly kind: AwsErrorKind; readonly reason: string; readonly message: string };

export type Settlement =
  | { readonly to: 'done' }
  | { readonly to: 'failed'; readonly failure: AwsErrorKind | null; readonly reason: string; readonly message: string }
  | { readonly to: 'planned' | 'unknown'; readonly againMs: number; readonly reason: string; readonly message: string };

/**
 * EC2 is eventually consistent: a describe may miss what a call just made. Shorter could take «not visible yet» for
 * «does not exist» and pay for a second set; longer holds up the shape after a lost answer nobody can repeat.
 */
export const VISIBILITY_MS = 120_000;
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 30_000;
const LOOK_UP_PAUSE_MS = 5_000;

/** Repeating is the quickest way to know, by the ClientToken; but it may launch, so not for what nobody wants. */
export function planNextStep(launch: OpenLaunch): 'call' | 'look-up' | 'withdraw' {
  if (launch.isWanted) return 'call';
  return launch.status === 'planned' ? 'withdraw' : 'look-up';
}

/**
 * What a refused call means. 'look-up': only a look at EC2 can tell.
 * @param launch as it was before the call
 * @param dice 0 … 1, for the jitter
 */
export function settleRefusal(launch: OpenLaunch, refusal: Refusal, dice: number): Settlement | 'look-up' {
  const { kind, reason, message } = refusal;
  switch (kind) {
    case 'unknown-outcome':
      return { to: 'unknown', againMs: backoff(launch.tries, dice), reason, message };
    case 'throttled':
      // Of a repeat it says nothing about the call before.
      return { to: launch.status, againMs: backoff(launch.tries, dice), reason, message };
    case 'token-mismatch':
    case 'token-spent':
      return 'look-up';
    case 'capacity':
    case 'quota':
    case 'address':
    case 'permission':
    case 'invalid':
    case 'not-found':
      // Checks run before the token is looked at: a repeat can be refused although the first call went through.
      return launch.status === 'unknown' ? 'look-up' : { to: 'failed', failure: kind, reason, message };
  }
}

/** What a look-up by client token means. Absence counts only once everything made must be visible. */
export function settleLookUp(launch: OpenLaunch, found: number | Refusal, because: Refusal | null): Settlement {
  if (typeof found !== 'number') {
    return { to: 'unknown', againMs: LOOK_UP_PAUSE_MS, reason: found.reason, message: found.message };
  }
  if (found >= launch.count) return { to: 'done' };
  const reason = because?.reason ?? 'not-needed';
  const message = because?.message ?? 'nobody waits for it any more';
  if ((launch.calledMsAgo ?? 0) < VISIBILITY_MS) return { to: 'unknown', againMs: LOOK_UP_PAUSE_MS, reason, message };
  return found > 0 ? { to: 'done' } : { to: 'failed', failure: because?.kind ?? null, reason, message };
}

/** Full jitter. */
function backoff(tries: number, dice: number): number {
  return Math.ceil(
    FIRST_BACKOFF_MS / 2 + dice * Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(tries, 10)),
  );
}
