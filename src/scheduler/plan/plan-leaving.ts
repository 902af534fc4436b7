import { stopRequest } from '../../docker/container-spec.js';
import { ATTEMPT_DEADLINE_SECONDS } from '../../deployments/attempt-status.js';
import { isEnded } from '../../deployments/deployment-status.js';
import { DEAD_MAN_SLACK_MINUTES, hasStarted, isInService, lossOf, mayHaveStarted } from './plan-attempt.js';
import { after, agentDeadline, docker, latest, type Failure, type OrderDraft } from './plan-order.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';
import { ailmentOf } from './plan-healing.js';
import { causeOf, type Reason } from './plan-reasons.js';
import { inTimeForSpot, servesUntil } from './plan-unrouting.js';

/** Ends an attempt that is not needed: with SIGTERM and grace where its container runs, else at once. */
export function release(
  draft: Draft,
  deployment: DeploymentFacts,
  attempt: AttemptFacts,
  reason: Reason,
  message: string | null = null,
): void {
  if (isReleased(attempt) || attempt.phase === 'ended') return;
  const isRunning =
    attempt.instance &&
    !lossOf(attempt.instance, attempt) &&
    mayHaveStarted(attempt) &&
    // A failed adoption leaves the container running: the instance returns to quarantine.
    (attempt.healthyAt !== null || !attempt.instance.isAdopted);
  if (!isRunning) return draft.move(deployment, attempt, 'ended', { reason, message });

  const callersUntil = servesUntil(draft, attempt, deployment);
  if (!callersUntil || draft.now >= callersUntil || ailmentOf(attempt, deployment, draft.now)?.isDead) {
    draft.move(deployment, attempt, attempt.phase, { reason, message });
    return stop(draft, deployment, draft.attempt(attempt));
  }
  draft.move(deployment, attempt, 'unrouting', { reason, message });
  draft.wakeAt(callersUntil);
}

/** Whether it was told to end: it has no part in what the job serves any more. */
export function isReleased({ phase }: AttemptFacts): boolean {
  return phase === 'unrouting' || phase === 'stopping';
}

/** Ends an attempt once nobody can come to it any more, or nobody is served by it. */
export function planUnrouting(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  if (!attempt.instance || lossOf(attempt.instance, attempt)) return draft.move(deployment, attempt, 'ended');
  const callersUntil = servesUntil(draft, attempt, deployment);
  const isOver = !callersUntil || draft.now >= callersUntil;
  if (isOver || ailmentOf(attempt, deployment, draft.now)?.isDead) return stop(draft, deployment, attempt);
  draft.wakeAt(callersUntil);
}

function stop(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const grace = deployment.definition.rollout.stopGraceSeconds;
  draft.order(attempt, [
    ...(isInService(attempt) ? [rearm(grace)] : []),
    docker('stop', stopRequest(grace), { mode: 'background', timeoutSeconds: grace + STOP_SLACK_SECONDS }),
  ]);
  draft.move(deployment, attempt, 'stopping');
  draft.wakeAt(after(draft.now, grace + STOP_SLACK_SECONDS));
}

/** While it served the dead-man switch was off: without it only the API would end the instance from here on. */
function rearm(graceSeconds: number): OrderDraft {
  const minutes = Math.ceil((graceSeconds + STOP_SLACK_SECONDS) / 60) + DEAD_MAN_SLACK_MINUTES;
  return { purpose: 'dead-man', spec: { kind: 'dead-man', minutes } };
}

/** Ends an attempt that cannot go on; its failure stays on its row. */
export function endFailed(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts, failure: Failure): void {
  const { reason, message } = failure;
  // It may be alive, unhealthy or still starting: it gets its SIGTERM like any other, and its lines are stored.
  if (hasStarted(attempt) || reason === 'deadline-exceeded') release(draft, deployment, attempt, reason, message);
  else draft.move(deployment, attempt, 'ended', { reason, message, counted: reason !== 'agent-unresponsive' });
}

/** Fails a deployment for good; its instance is retired, the active deployment is not touched. */
export function failDeployment(
  draft: Draft,
  deployment: DeploymentFacts,
  attempt: AttemptFacts | undefined,
  failure: Failure,
): void {
  const { reason, message, exitCode, lastLogLines } = failure;
  draft.change(deployment, {
    status: 'failed',
    reason,
    message,
    failedPhase: attempt?.phase ?? null,
    retryable: causeOf(reason) === 'infrastructure' || RETRYABLE.has(reason),
    exitCode: exitCode ?? null,
    lastLogLines: lastLogLines ?? null,
  });
  // Its other attempts go in the same pass, as those of every deployment that has ended.
  if (attempt) endFailed(draft, deployment, attempt, failure);
}

/** Draining deployments keep serving until their time, then stop; attempts of ended ones go at once. */
export function planLeaving(draft: Draft, deployment: DeploymentFacts): void {
  const { status, reason, deadlineAt } = deployment;
  const isStopping = status === 'draining' && reason !== 'superseded-by-newer';
  const isDue = isEnded(status) || isStopping || !deadlineAt || draft.now >= deadlineAt;
  if (!isDue) draft.wakeAt(deadlineAt);

  for (const attempt of draft.liveAttempts(deployment)) {
    const dueAt = deadlineAt && inTimeForSpot(deadlineAt, attempt, deployment);
    if (isDue || !isInService(attempt) || !dueAt || draft.now >= dueAt) {
      release(draft, deployment, attempt, (reason ?? 'not-needed') as Reason);
      continue;
    }
    draft.wakeAt(dueAt);
    endIfLost(draft, deployment, attempt);
  }
  if (status === 'draining' && draft.liveAttempts(deployment).length === 0) {
    draft.change(deployment, { status: isStopping ? 'stopped' : 'superseded' });
  }
}

/** Ends an attempt once its container has stopped and its last lines are stored, or both had their time. */
export function planStopping(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const grace = deployment.definition.rollout.stopGraceSeconds;
  const { listeningSince } = draft;
  const deadline = agentDeadline(attempt.stoppingAt ?? draft.now, grace + STOP_SLACK_SECONDS, listeningSince);
  const isLost = !attempt.instance || lossOf(attempt.instance, attempt) !== null;
  const flush = latest(attempt, 'flush-logs');
  const flushedBy = flush && agentDeadline(flush.createdAt, FLUSH_SECONDS, listeningSince);
  const waitsUntil = flushedBy ? earlier(deadline, flushedBy) : deadline;
  if (isLost || flush?.answeredAt || draft.now >= waitsUntil) {
    return draft.move(deployment, attempt, 'ended', { ...(flush?.status === 200 && { logsCompleteAt: draft.now }) });
  }
  if (!flush && latest(attempt, 'stop')?.answeredAt) {
    draft.order(attempt, [FLUSH_LOGS]);
    draft.wakeAt(earlier(deadline, after(draft.now, FLUSH_SECONDS)));
  }
  draft.wakeAt(waitsUntil);
}

function endIfLost(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const loss = attempt.instance && lossOf(attempt.instance, attempt);
  if (loss) draft.move(deployment, attempt, 'ended', loss);
}

function earlier(a: Date, b: Date): Date {
  return a < b ? a : b;
}

/** The agent has sent all but the last second of lines. A silent agent holds nothing up for longer than this. */
const FLUSH_SECONDS = 10;
const FLUSH_LOGS: OrderDraft = {
  purpose: 'flush-logs',
  spec: { kind: 'logs', follow: false, timeoutSeconds: FLUSH_SECONDS },
};

const STOP_SLACK_SECONDS = ATTEMPT_DEADLINE_SECONDS.stopping;

const RETRYABLE: ReadonlySet<Reason> = new Set([
  'capacity-unavailable',
  'image-pull-failed',
  'registry-busy',
  'registry-unreachable',
  'pull-timed-out',
  'deadline-exceeded',
]);
