import { inServiceOrders, stableAtOf } from './plan-candidate.js';
import { isInService, lossOf, planAttempt } from './plan-attempt.js';
import { after, latest } from './plan-order.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';
import { ailmentOf, causeOfLoss, looksLikeATask, nextAttemptAt, planWatch, triesOf, type Try } from './plan-healing.js';
import { endFailed, failDeployment, isReleased, release } from './plan-leaving.js';
import { causeOf, REASONS } from './plan-reasons.js';
import { isHealingReady } from './plan-reach.js';
import { inTimeForSpot } from './plan-unrouting.js';

const HEALING_PRIORITY = 0;

/** Keeps the active deployment serving: replaces lost or ailing attempts, lets a draining predecessor take over. */
export function planActive(draft: Draft, deployment: DeploymentFacts): void {
  for (const attempt of inService(draft, deployment)) watchOver(draft, deployment, attempt);
  const waits = inProgress(draft, deployment).flatMap((attempt) => advance(draft, deployment, attempt) ?? []);

  const good = goodAttempt(draft, deployment);
  if (good) return settle(draft, deployment, good);
  const predecessor = draft.withStatus('draining').findLast((other) => isStillServing(draft, other));
  if (predecessor) return handBack(draft, deployment, predecessor);
  for (const other of draft.withStatus('draining')) wakeOnceWell(draft, other);
  heal(draft, deployment, waits.at(-1));
}

/** The attempt that users reach; null while none serves (well). */
export function goodAttempt(draft: Draft, deployment: DeploymentFacts): AttemptFacts | null {
  return inService(draft, deployment).findLast((attempt) => !ailmentOf(attempt, deployment, draft.now)) ?? null;
}

/** Those that were put in service and were not released since. */
export function inService(draft: Draft, deployment: DeploymentFacts): AttemptFacts[] {
  const inService = draft.inServiceIds();
  return draft
    .liveAttempts(deployment)
    .filter((attempt) => !isReleased(attempt) && (isInService(attempt) || inService.has(attempt.id)));
}

function inProgress(draft: Draft, deployment: DeploymentFacts): AttemptFacts[] {
  const serving = new Set(inService(draft, deployment).map(({ id }) => id));
  return draft.liveAttempts(deployment).filter((attempt) => !isReleased(attempt) && !serving.has(attempt.id));
}

function watchOver(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const loss = attempt.instance && lossOf(attempt.instance, attempt);
  if (loss) return draft.move(deployment, attempt, 'ended', loss);
  const watch = planWatch(attempt, draft.now);
  draft.order(attempt, watch.orders);
  draft.wakeAt(watch.wakeAt);
}

/** @returns what it waits for, to be shown */
function advance(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): string | undefined {
  const step = planAttempt(attempt, deployment, draft);
  // A launch that EC2 refuses is no reason to give up a healing attempt: it stays in line.
  if (step.failure && attempt.instance) {
    const { reason, exitCode } = step.failure;
    const hasEndedWell = reason === 'container-exited' && exitCode === 0;
    endFailed(draft, deployment, attempt, { ...step.failure, reason: hasEndedWell ? 'exits-at-once' : reason });
    return undefined;
  }
  draft.order(attempt, step.orders);
  draft.move(deployment, attempt, step.phase);
  draft.wakeAt(step.wakeAt);

  // Waiting for capacity does not use up the time a container has to get healthy.
  const overdueAt = after(attempt.assignedAt ?? attempt.createdAt, deployment.definition.rollout.deadlineSeconds);
  if (attempt.phase !== 'waiting' && draft.now >= overdueAt) {
    release(draft, deployment, attempt, 'deadline-exceeded');
    return undefined;
  }
  if (attempt.phase !== 'waiting') draft.wakeAt(overdueAt);

  const moved = draft.attempt(attempt);
  const stableAt = stableAtOf(deployment, moved);
  const isReady = stableAt !== null && isHealingReady(draft, deployment, moved);
  if (stableAt && draft.now < stableAt) draft.wakeAt(stableAt);
  else if (isReady) draft.putInService(draft.attempt(moved), inServiceOrders(deployment));
  return step.failure?.message ?? step.waiting?.message;
}

/** One attempt serves well: no other is needed. */
function settle(draft: Draft, deployment: DeploymentFacts, good: AttemptFacts): void {
  for (const attempt of draft.liveAttempts(deployment)) {
    if (attempt.id === good.id) continue;
    const ailment = isInService(attempt) ? ailmentOf(attempt, deployment, draft.now) : null;
    const moved = after(servingSince(draft, good), deployment.definition.rollout.drainSeconds);
    const drainedAt = inTimeForSpot(moved, attempt, deployment);
    // It serves well until EC2 ends it: like any predecessor it gets time for its callers to move on.
    if (ailment?.reason === 'spot-interrupted' && !isReleased(attempt) && draft.now < drainedAt) {
      draft.wakeAt(drainedAt);
      continue;
    }
    release(draft, deployment, attempt, ailment?.reason ?? 'not-needed', ailment?.message);
  }
  if (draft.current(deployment).reason !== 'successor-lost') draft.change(deployment, { reason: null, message: null });
}

function servingSince(draft: Draft, attempt: AttemptFacts): Date {
  return latest(attempt, 'restart-policy')?.createdAt ?? draft.now;
}

/** A draining predecessor whose container was not ordered to stop yet, as a request to stop does at once. */
function isStillServing(draft: Draft, deployment: DeploymentFacts): boolean {
  return inService(draft, deployment).some(
    (attempt) => attempt.instance && !lossOf(attempt.instance, attempt) && !ailmentOf(attempt, deployment, draft.now),
  );
}

/** One that ails takes over when that has passed. */
function wakeOnceWell(draft: Draft, deployment: DeploymentFacts): void {
  for (const attempt of inService(draft, deployment))
    draft.wakeAt(ailmentOf(attempt, deployment, draft.now)?.passesAt ?? null);
}

/**
 * The predecessor is active again; the successor fails if the fault is its own, or gets a new attempt if its instance
 * was lost.
 */
function handBack(draft: Draft, deployment: DeploymentFacts, predecessor: DeploymentFacts): void {
  const ailing = inService(draft, deployment).at(-1);
  const ailment = ailing && ailmentOf(ailing, deployment, draft.now);
  if (ailment && causeOf(ailment.reason) === 'user') {
    failDeployment(draft, deployment, ailing, {
      reason: ailment.reason,
      message: `${ailment.message} (while its predecessor drained)`,
    });
  } else {
    for (const attempt of inService(draft, deployment)) release(draft, deployment, attempt, 'predecessor-serves');
    draft.change(deployment, {
      status: 'deploying',
      reason: 'predecessor-serves',
      message: REASONS['predecessor-serves'].text,
      deadlineAt: after(draft.now, deployment.definition.rollout.deadlineSeconds),
    });
  }
  draft.wakeAt(draft.now);
  draft.change(predecessor, {
    status: 'active',
    reason: 'successor-lost',
    message: REASONS['successor-lost'].text,
    deadlineAt: null,
  });
  draft.activeDeploymentId = predecessor.id;
}

/** No attempt serves well: a fresh instance takes over, at once or after a pause, and the row has the reason. */
function heal(draft: Draft, deployment: DeploymentFacts, waitsFor: string | undefined): void {
  const ailing = inService(draft, deployment).flatMap((attempt) => {
    const ailment = ailmentOf(attempt, deployment, draft.now);
    return ailment ? [{ attempt, ailment }] : [];
  });
  for (const { attempt, ailment } of ailing) {
    if (ailment.isDead) release(draft, deployment, attempt, ailment.reason, ailment.message);
    draft.wakeAt(ailment.passesAt ?? null);
  }
  const tries = triesOf(draft.current(deployment));
  // One whose container was told to stop is lost already, and has the reason.
  const stopping = draft.liveAttempts(deployment).findLast(isReleased);
  const lost = stopping ?? tries.findLast(({ endedAt }) => endedAt);
  const isTask = looksLikeATask(tries, draft.now);
  const alive = ailing.findLast(({ ailment }) => !ailment.isDead);
  const cause = isTask ? TASK : (alive?.ailment ?? causeOfLoss(lost));
  draft.change(deployment, {
    reason: cause.reason,
    message: `${cause.message}; ${planNext(draft, deployment, tries, waitsFor)}`,
  });
}

const TASK = {
  reason: 'exits-at-once',
  message: `${REASONS['exits-at-once'].text}, on one fresh instance after the other: it looks like a task, which ends when its work is done, and not like a service, which keeps running`,
} as const;

/** Begins the next attempt when it is due. @returns the next step, as text */
function planNext(
  draft: Draft,
  deployment: DeploymentFacts,
  tries: readonly Try[],
  waitsFor: string | undefined,
): string {
  const going = inProgress(draft, deployment).at(-1);
  if (going) return `attempt ${going.number} is ${going.phase}${waitsFor === undefined ? '' : `: ${waitsFor}`}`;
  const number = draft.nextNumber(deployment);
  const beginsAt = nextAttemptAt(tries, draft.now);
  if (draft.now < beginsAt) {
    draft.wakeAt(beginsAt);
    return `attempt ${number} begins at ${beginsAt.toISOString()}`;
  }
  draft.newAttempt(deployment, HEALING_PRIORITY, 'healing');
  return `attempt ${number} is waiting: ${REASONS['waiting-for-instance'].text}`;
}
