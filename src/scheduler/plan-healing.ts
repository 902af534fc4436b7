import { after, docker, isAcknowledged, latest, type OrderDraft } from './plan-attempt.js';
import { waitRequest } from '../agent/container-spec.js';
import type { AttemptFacts, DeploymentFacts, EndedAttemptFacts, OrderFacts } from './plan-facts.js';
import type { Reason } from './plan-reasons.js';

/** Instances lost before a deployment fails; each costs about a minute, so five are a pattern. */
export const MAX_ATTEMPTS_BEFORE_ACTIVE = 5;

const CRASH_WINDOW_SECONDS = 300;
/** Docker restarts with growing pauses; five exits in five minutes are no accident. */
const CRASHES_TO_REPLACE = 5;
const DOCKER_FAILURES_TO_REPLACE = 3;
const RETRY_WATCH_SECONDS = 10;
const FIRST_BACKOFF_SECONDS = 10;
const LONGEST_BACKOFF_SECONDS = 300;
/** Healthy for so long, an attempt proves that those before it failed for another reason. */
const FORGIVEN_AFTER_SECONDS = 600;

/** What is wrong with an attempt that served; null = nothing. */
export function ailmentOf(attempt: AttemptFacts, now: Date): Reason | null {
  if (latest(attempt, 'probe')?.probeState === 'unhealthy') return 'health-check-failed';
  const waits = attempt.orders.filter(({ purpose, answeredAt }) => purpose === 'wait' && answeredAt);
  const windowStart = after(now, -CRASH_WINDOW_SECONDS);
  const crashes = waits.filter(({ status, answeredAt }) => status === 200 && answeredAt && answeredAt > windowStart);
  if (crashes.length >= CRASHES_TO_REPLACE) return 'crash-looping';
  if (isDead(attempt, waits)) return 'container-exited';
  const policy = latest(attempt, 'restart-policy');
  if (policy?.answeredAt && policy.status !== 200) return 'docker-unavailable';
  const latestWaits = waits.slice(-DOCKER_FAILURES_TO_REPLACE);
  if (latestWaits.length === DOCKER_FAILURES_TO_REPLACE && latestWaits.every(({ status }) => status !== 200)) {
    return 'docker-unavailable';
  }
  return null;
}

/** It exited before Docker was told to keep it up: Docker does not start what has exited already. */
function isDead(attempt: AttemptFacts, waits: readonly OrderFacts[]): boolean {
  const policy = latest(attempt, 'restart-policy');
  const last = waits.at(-1);
  if (!policy || last?.status !== 200 || !last.answeredAt) return false;
  const isKeptUp = policy.status === 200 && policy.answeredAt !== null && policy.answeredAt <= last.answeredAt;
  return !isKeptUp;
}

/** Keeps an exit watch on an attempt that serves: each answer is one exit, and Docker starts the container again. */
export function planWatch(attempt: AttemptFacts, now: Date): { orders: OrderDraft[]; wakeAt: Date | null } {
  const wait = latest(attempt, 'wait');
  if (!isAcknowledged(attempt) || !wait?.answeredAt) return { orders: [], wakeAt: null };
  const dueAt = wait.status === 200 ? wait.answeredAt : after(wait.answeredAt, RETRY_WATCH_SECONDS);
  if (now < dueAt) return { orders: [], wakeAt: dueAt };
  const order = docker('wait', waitRequest('next-exit'), { mode: 'background', timeoutSeconds: 10 * 365 * 86_400 });
  return { orders: [order], wakeAt: null };
}

/** When the next attempt of an active deployment may begin. */
export function nextHealAt(deployment: DeploymentFacts, now: Date): Date {
  const failed = failuresInARow(deployment.endedAttempts);
  const last = failed.at(-1);
  if (failed.length <= 1 || !last) return now;
  const backoff = FIRST_BACKOFF_SECONDS * 2 ** (failed.length - 2);
  return after(last.endedAt, Math.min(backoff, LONGEST_BACKOFF_SECONDS));
}

function failuresInARow(ended: readonly EndedAttemptFacts[]): EndedAttemptFacts[] {
  const counted = ended.filter(({ counted }) => counted);
  const lastGood = counted.findLastIndex(
    ({ healthyAt, endedAt }) => healthyAt && endedAt >= after(healthyAt, FORGIVEN_AFTER_SECONDS),
  );
  return counted.slice(Math.max(0, lastGood));
}
