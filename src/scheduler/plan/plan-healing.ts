import { inspectRequest, startRequest, waitRequest } from '../../docker/container-spec.js';
import { followLogs, isInService, WAIT_SECONDS } from './plan-attempt.js';
import { healthMessage } from './plan-health.js';
import {
  after,
  docker,
  isOutOfMemory,
  later,
  latest,
  lookAtExit,
  type OrderDraft,
  outOfMemoryMessage,
  spotNoticedAt,
} from './plan-order.js';
import type { AttemptFacts, DeploymentFacts, EndedAttemptFacts, OrderFacts } from './plan-facts.js';
import { isReason, REASONS, type Reason } from './plan-reasons.js';

/** Instances lost before a deployment fails; each costs about a minute, so five are a pattern. */
export const MAX_ATTEMPTS_BEFORE_ACTIVE = 5;
/** With those that may have been our own fault, as when an agent could not reach the API: each costs money, too. */
export const MAX_INSTANCES_BEFORE_ACTIVE = 10;

/** Docker restarts with growing pauses of up to a minute; five exits without a calm time between are no accident. */
const CRASHES_TO_REPLACE = 5;
/** Longer than Docker's longest pause and ten seconds of running, after which Docker resets its pauses, too. */
const CALM_SECONDS = 90;
/**
 * Docker's pauses begin at a tenth of a second and double: with the time it takes to start, few honest containers exit
 * eight times within half a minute, and an agent that lies may report thirty exits a second, two rows each.
 */
export const EXITS_AT_ONCE = 8;
export const EXITS_AT_ONCE_SECONDS = 30;
const DOCKER_FAILURES_TO_REPLACE = 3;
const RETRY_WATCH_SECONDS = 10;
/** 128 + SIGKILL. */
const KILLED = 137;
const FIRST_BACKOFF_SECONDS = 10;
const LONGEST_BACKOFF_SECONDS = 300;
/** Healthy for so long, an attempt proves that those before it failed for another reason. */
const FORGIVEN_AFTER_SECONDS = 600;

/** The fault of an attempt that served. */
export type Ailment = {
  readonly reason: Reason;
  readonly message: string;
  /** Its container has ended, and Docker will not start it again. */
  readonly isDead?: boolean;
  /** When it will have passed, if nothing happens before. */
  readonly passesAt?: Date;
};

/** @returns null for an attempt that serves as it should */
export function ailmentOf(attempt: AttemptFacts, { definition }: DeploymentFacts, now: Date): Ailment | null {
  const exits = exitsOf(attempt);
  const crashes = crashesInARow(exits, now);
  const lastExit = exits.at(-1)?.answeredAt;
  if (crashes >= CRASHES_TO_REPLACE && lastExit) {
    const detail = `${crashes} exits in a row, the last one ${codeOf(exits.at(-1))}`;
    const looping = wasOutOfMemory(attempt, exits.slice(-crashes))
      ? ({ reason: 'out-of-memory', message: `${outOfMemoryMessage(definition.memoryMiB)}; ${detail}` } as const)
      : ailment(hasEndedWell(exits.slice(-crashes)) ? 'exits-at-once' : 'crash-looping', detail);
    return { ...looping, passesAt: after(lastExit, CALM_SECONDS) };
  }
  if (isDead(attempt, exits)) {
    const dead = wasOutOfMemory(attempt, exits.slice(-1))
      ? ({ reason: 'out-of-memory', message: outOfMemoryMessage(definition.memoryMiB) } as const)
      : ailment(hasEndedWell(exits.slice(-1)) ? 'exits-at-once' : 'container-exited', codeOf(exits.at(-1)));
    return { ...dead, isDead: true };
  }
  // After the exits: a container that is down fails its health check as well, and its exit code shows more.
  const probe = latest(attempt, 'probe');
  if (probe?.probeState === 'unhealthy')
    return ailment('health-check-failed', healthMessage(probe.answer.message ?? '', definition));
  if (isWithoutDocker(attempt)) return ailment('docker-unavailable');
  return spotNoticedAt(attempt) ? ailment('spot-interrupted') : null;
}

function ailment(reason: Reason, detail = ''): Ailment {
  return { reason, message: `${REASONS[reason].text}${detail === '' ? '' : `: ${detail}`}` };
}

function exitsOf(attempt: AttemptFacts): OrderFacts[] {
  return attempt.orders.filter(({ purpose, status, answeredAt }) => purpose === 'wait' && status === 200 && answeredAt);
}

function crashesInARow(exits: readonly OrderFacts[], now: Date): number {
  const times = [...exits.map(({ answeredAt }) => answeredAt?.getTime() ?? 0), now.getTime()];
  const calmBefore = times.findLastIndex(
    (time, index) => time - (times[index - 1] ?? -Infinity) >= CALM_SECONDS * 1000,
  );
  return times.length - 1 - calmBefore;
}

/**
 * It exited before Docker was set to keep it up, or was stopped by hand, and Docker starts neither again; or our own
 * start failed.
 */
function isDead(attempt: AttemptFacts, exits: readonly OrderFacts[]): boolean {
  const policy = latest(attempt, 'restart-policy');
  const again = latest(attempt, 'start');
  if (policy && again && again.number > policy.number && again.answeredAt && !isStarted(again)) return true;
  const last = exits.at(-1);
  if (isFoundDown(attempt)) return true;
  if (!policy || !last?.answeredAt || last !== lastAnswerOf(attempt)) return false;
  const isKeptUp = policy.status === 200 && policy.answeredAt !== null && policy.answeredAt <= last.answeredAt;
  return !isKeptUp;
}

/** Docker gave up starting it again, or it was stopped on the instance: the exit was its last. */
function isFoundDown(attempt: AttemptFacts): boolean {
  const look = latest(attempt, 'inspect-container');
  if (!look?.answeredAt || !isLookAfter(look, lastAnswerOf(attempt))) return false;
  return look.status === 404 || (look.status === 200 && look.answer.container?.isRunning === false);
}

/** The last exit, or the loss of the watch: then there may have been an exit without a report. */
function lastAnswerOf(attempt: AttemptFacts): OrderFacts | undefined {
  return attempt.orders.findLast(({ purpose, answeredAt }) => purpose === 'wait' && answeredAt);
}

function isLookAfter(look: OrderFacts, answer: OrderFacts | undefined): boolean {
  return answer?.answeredAt != null && look.createdAt > answer.answeredAt;
}

function isWithoutDocker(attempt: AttemptFacts): boolean {
  const policy = latest(attempt, 'restart-policy');
  if (policy?.answeredAt && policy.status !== 200) return true;
  const answers = attempt.orders.filter(({ purpose, answeredAt }) => purpose === 'wait' && answeredAt);
  const latestAnswers = answers.slice(-DOCKER_FAILURES_TO_REPLACE);
  return latestAnswers.length === DOCKER_FAILURES_TO_REPLACE && latestAnswers.every(({ status }) => status !== 200);
}

function codeOf(exit: OrderFacts | undefined): string {
  const code = exit?.answer.exitCode;
  return code === undefined ? '' : `code ${code}`;
}

function hasEndedWell(exits: readonly OrderFacts[]): boolean {
  return exits.length > 0 && exits.every(({ answer }) => answer.exitCode === 0);
}

/** By a look at one of these exits. If Docker started the container again before the look, the cause is unknown. */
function wasOutOfMemory(attempt: AttemptFacts, [first]: readonly OrderFacts[]): boolean {
  return attempt.orders.some(
    (look) =>
      look.purpose === 'inspect-exit' && first?.answeredAt && look.createdAt >= first.answeredAt && isOutOfMemory(look),
  );
}

type Watch = { readonly orders: readonly OrderDraft[]; readonly wakeAt: Date | null };

const NOTHING: Watch = { orders: [], wakeAt: null };

/** Watches an attempt that serves: for the next exit, and after the last one whether it runs again. */
export function planWatch(attempt: AttemptFacts, now: Date): Watch {
  if (!isInService(attempt)) return NOTHING;
  const [wait, look] = [planWait(attempt, now), planLook(attempt, now)];
  const kill = lookAtKill(attempt);
  const wakes = [wait.wakeAt, look.wakeAt].filter((at) => at !== null);
  return {
    // The look at how it ended is first: the later orders may start the container again.
    orders: [...kill, ...wait.orders, ...look.orders, ...followLogs(attempt)],
    wakeAt: wakes.length === 0 ? null : new Date(Math.min(...wakes.map((at) => at.getTime()))),
  };
}

/** One look for each exit by SIGKILL, which the kernel sends, too. */
function lookAtKill(attempt: AttemptFacts): OrderDraft[] {
  const exit = exitsOf(attempt).at(-1);
  if (exit?.answer.exitCode !== KILLED || !exit.answeredAt) return [];
  const look = latest(attempt, 'inspect-exit');
  return look && look.createdAt >= exit.answeredAt ? [] : [lookAtExit()];
}

/** One look that Docker answers, after the longest pause that Docker makes. */
function planLook(attempt: AttemptFacts, now: Date): Watch {
  const answer = lastAnswerOf(attempt);
  if (!answer?.answeredAt) return NOTHING;
  const look = latest(attempt, 'inspect-container');
  const looked = look && isLookAfter(look, answer) ? look : undefined;
  if (looked && (!looked.answeredAt || looked.status === 200 || looked.status === 404)) return NOTHING;
  const dueAt = after(looked?.answeredAt ?? answer.answeredAt, CALM_SECONDS);
  return now < dueAt
    ? { orders: [], wakeAt: dueAt }
    : { orders: [docker('inspect-container', inspectRequest())], wakeAt: null };
}

/** Each answer is one exit, and Docker starts the container again. */
function planWait(attempt: AttemptFacts, now: Date): Watch {
  const wait = latest(attempt, 'wait');
  if (!wait?.answeredAt) return NOTHING;
  const dueAt =
    wait.status === 200 ? later(wait.answeredAt, paceOf(attempt)) : after(wait.answeredAt, RETRY_WATCH_SECONDS);
  if (now < dueAt) return { orders: [], wakeAt: dueAt };
  const order = docker('wait', waitRequest('next-exit'), { mode: 'background', timeoutSeconds: WAIT_SECONDS });
  return { orders: [...(mayBeDown(attempt, wait) ? [docker('start', startRequest())] : []), order], wakeAt: null };
}

/** When the watch for the next exit may be ordered; null = at once. After a missed one comes another, or a look. */
function paceOf(attempt: AttemptFacts): Date | null {
  const first = exitsOf(attempt).at(-EXITS_AT_ONCE)?.answeredAt;
  return first ? after(first, EXITS_AT_ONCE_SECONDS) : null;
}

/**
 * An exit reported by the watch that began before Docker was to keep the container up: it may have happened before
 * that, with its answer later. Docker does not start the container again then; for a running one a start does nothing.
 */
function mayBeDown(attempt: AttemptFacts, wait: OrderFacts): boolean {
  const policy = latest(attempt, 'restart-policy');
  return wait.status === 200 && policy !== undefined && wait.number < policy.number;
}

function isStarted({ status }: OrderFacts): boolean {
  return status === 204 || status === 304;
}

/** The fields of an attempt that decide when the next may begin; `endedAt` is null while it still runs. */
export type Try = Pick<EndedAttemptFacts, 'number' | 'reason' | 'message' | 'counted' | 'healthyAt'> & {
  readonly endedAt: Date | null;
};

/**
 * By number. One that EC2 takes back counts as ended from the notice, although it serves on: else each new attempt with
 * a notice could begin another before the first has ended.
 */
export function triesOf({ endedAttempts, attempts }: DeploymentFacts): Try[] {
  const ended = endedAttempts.map((one) => ({ ...one, endedAt: one.noticedAt ?? one.endedAt }));
  const live = attempts.filter(({ phase }) => phase !== 'ended');
  const tries = live.map((attempt) => ({ ...attempt, endedAt: spotNoticedAt(attempt) ?? attempt.stoppingAt }));
  return [...ended, ...tries].toSorted((a, b) => a.number - b.number);
}

/** Why an attempt was lost, as text. */
export function causeOfLoss(lost: Pick<Try, 'reason' | 'message'> | undefined): { reason: string; message: string } {
  const reason = lost?.reason ?? 'healing';
  // A newer version of this program may have written a reason that is not in the table.
  return { reason, message: lost?.message ?? (isReason(reason) ? REASONS[reason].text : reason) };
}

/** After this many fresh instances on which the container ended with code 0 it is no service. */
const ENDED_WELL_TO_PAUSE = 5;

/** Whether on each of the latest fresh instances the container ended by itself, with code 0. */
export function looksLikeATask(tries: readonly Try[], now: Date): boolean {
  const ended = tries.filter(({ endedAt }) => endedAt !== null);
  const latest = ended.slice(-Math.min(ENDED_WELL_TO_PAUSE, countInARow(tries, now)));
  return latest.length === ENDED_WELL_TO_PAUSE && latest.every(({ reason }) => reason === 'exits-at-once');
}

/** When the next attempt of a deployment may begin: the first after a loss at once, those after it with growing pauses. */
export function nextAttemptAt(tries: readonly Try[], now: Date): Date {
  const inARow = countInARow(tries, now);
  const ends = tries.flatMap(({ endedAt }) => (endedAt ? [endedAt.getTime()] : []));
  if (inARow <= 1 || ends.length === 0) return now;
  const backoff = looksLikeATask(tries, now) ? LONGEST_BACKOFF_SECONDS : FIRST_BACKOFF_SECONDS * 2 ** (inARow - 2);
  return after(new Date(Math.max(...ends)), Math.min(backoff, LONGEST_BACKOFF_SECONDS));
}

/** Counts back to one that was healthy for a while, or to a pause in which no attempt was needed. */
function countInARow(tries: readonly Try[], now: Date): number {
  const secondsBetween = (from: Date, to: Date): number => (to.getTime() - from.getTime()) / 1000;
  const end = ({ endedAt }: Try): Date => endedAt ?? now;
  const wasGood = (one: Try): boolean =>
    one.healthyAt !== null && secondsBetween(one.healthyAt, end(one)) >= FORGIVEN_AFTER_SECONDS;
  const first = tries.findLastIndex((one, index) => {
    const before = tries[index - 1];
    return (
      wasGood(one) ||
      (before && secondsBetween(end(before), end(one)) > FORGIVEN_AFTER_SECONDS + LONGEST_BACKOFF_SECONDS)
    );
  });
  return tries.length - Math.max(0, first);
}
