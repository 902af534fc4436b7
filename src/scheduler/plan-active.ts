import { acknowledgeOrders, stableAtOf } from './plan-candidate.js';
import { after, isAcknowledged, lossOf, planAttempt } from './plan-attempt.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';
import { ailmentOf, nextHealAt, planWatch } from './plan-healing.js';
import { endFailed, failDeployment, release } from './plan-leaving.js';
import { REASONS, type Reason } from './plan-reasons.js';

const HEALING_PRIORITY = 0;

/** Keeps the active deployment served: replaces what is lost or ails, and lets a draining predecessor take over. */
export function planActive(draft: Draft, deployment: DeploymentFacts): void {
  for (const attempt of inService(draft, deployment)) watchOver(draft, deployment, attempt);
  for (const attempt of inProgress(draft, deployment)) advance(draft, deployment, attempt);

  const good = goodAttempt(draft, deployment);
  if (good) {
    const others = draft.liveAttempts(deployment).filter(({ id }) => id !== good.id);
    for (const attempt of others) release(draft, deployment, attempt, 'not-needed');
    return;
  }
  const predecessor = draft.withStatus('draining').findLast((other) => isStillServing(draft, other));
  if (predecessor) return handBack(draft, deployment, predecessor);
  heal(draft, deployment);
}

/** The attempt users reach; null while nothing (well) serves. */
export function goodAttempt(draft: Draft, deployment: DeploymentFacts): AttemptFacts | null {
  return inService(draft, deployment).findLast((attempt) => !ailmentOf(attempt, draft.now)) ?? null;
}

function inService(draft: Draft, deployment: DeploymentFacts): AttemptFacts[] {
  const acknowledged = draft.acknowledgedIds();
  return draft
    .liveAttempts(deployment)
    .filter((attempt) => attempt.phase !== 'stopping' && (isAcknowledged(attempt) || acknowledged.has(attempt.id)));
}

function inProgress(draft: Draft, deployment: DeploymentFacts): AttemptFacts[] {
  const serving = new Set(inService(draft, deployment).map(({ id }) => id));
  return draft.liveAttempts(deployment).filter(({ id, phase }) => phase !== 'stopping' && !serving.has(id));
}

function watchOver(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const loss = attempt.instance && lossOf(attempt.instance, attempt);
  if (loss) return draft.move(deployment, attempt, 'ended', loss);
  const watch = planWatch(attempt, draft.now);
  draft.order(attempt, watch.orders);
  draft.wakeAt(watch.wakeAt);
}

function advance(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const step = planAttempt(attempt, deployment, draft.job.cluster, draft.now);
  // EC2 refusing a launch is no reason to give up what should run: the attempt stays in line.
  if (step.failure && attempt.instance) return endFailed(draft, deployment, attempt, step.failure);
  draft.order(attempt, step.orders);
  draft.move(deployment, attempt, step.phase);
  draft.wakeAt(step.wakeAt);

  // Waiting for capacity does not use up the time a container has to get healthy.
  const overdueAt = after(attempt.assignedAt ?? attempt.createdAt, deployment.definition.rollout.deadlineSeconds);
  if (attempt.phase !== 'waiting' && draft.now >= overdueAt) {
    return release(draft, deployment, attempt, 'deadline-exceeded');
  }
  if (attempt.phase !== 'waiting') draft.wakeAt(overdueAt);

  const moved = draft.attempt(attempt);
  const stableAt = stableAtOf(deployment, moved);
  if (stableAt && draft.now >= stableAt) draft.acknowledge(moved, acknowledgeOrders(deployment));
  else draft.wakeAt(stableAt);
}

/** A draining predecessor whose container was not told to stop yet. */
function isStillServing(draft: Draft, deployment: DeploymentFacts): boolean {
  if (deployment.reason !== 'superseded-by-newer') return false;
  return inService(draft, deployment).some(
    (attempt) => attempt.instance && !lossOf(attempt.instance, attempt) && !ailmentOf(attempt, draft.now),
  );
}

/** The predecessor is active again; the successor fails by its own fault, or tries again when it lost its instance. */
function handBack(draft: Draft, deployment: DeploymentFacts, predecessor: DeploymentFacts): void {
  const ailing = inService(draft, deployment).at(-1);
  const ailment = ailing && ailmentOf(ailing, draft.now);
  if (ailing && ailment && ailment !== 'docker-unavailable') {
    failDeployment(draft, deployment, ailing, {
      reason: ailment,
      message: `${REASONS[ailment].text} while its predecessor drained`,
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

function heal(draft: Draft, deployment: DeploymentFacts): void {
  if (inProgress(draft, deployment).length > 0) return;
  const current = draft.current(deployment);
  const healAt = nextHealAt(current, draft.now);
  if (draft.now < healAt) return draft.wakeAt(healAt);
  const reason: Reason = 'healing';
  draft.newAttempt(deployment, HEALING_PRIORITY, reason);
}
