import { restartPolicyRequest } from '../../docker/container-spec.js';
import { healthySince, planAttempt, withLogs, mayHaveStarted } from './plan-attempt.js';
import { after, docker, later, type OrderDraft } from './plan-order.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';
import {
  causeOfLoss,
  MAX_ATTEMPTS_BEFORE_ACTIVE,
  MAX_INSTANCES_BEFORE_ACTIVE,
  nextAttemptAt,
  triesOf,
} from './plan-healing.js';
import { endFailed, failDeployment, isReleased } from './plan-leaving.js';
import { planReach } from './plan-reach.js';
import { servesUntil } from './plan-unrouting.js';
import { causeOf, REASONS } from './plan-reasons.js';

/** Moves a deployment that was never active, or was lost while its predecessor served, towards active. */
export function planCandidate(draft: Draft, queued: DeploymentFacts): void {
  const deployment =
    queued.status === 'queued' ? draft.change(queued, { status: 'deploying', startedAt: draft.now }) : queued;
  const attempt = draft.liveAttempts(deployment).findLast((other) => !isReleased(other));

  const { deadlineAt } = deployment;
  if (deadlineAt && draft.now >= deadlineAt) return planOverdue(draft, deployment, attempt);
  draft.wakeAt(deadlineAt);
  if (!attempt) return planFreshAttempt(draft, deployment);

  advance(draft, deployment, attempt);
  const stableAt = stableAtOf(deployment, draft.attempt(attempt));
  if (!stableAt) return;
  const reach = planReach(draft, deployment, draft.attempt(attempt));
  if (typeof reach === 'object') return failDeployment(draft, deployment, draft.attempt(attempt), reach);
  if (draft.now < stableAt) return draft.wakeAt(stableAt);
  if (reach === 'ready') activate(draft, deployment, draft.attempt(attempt));
}

/** When a healthy attempt has been healthy for long enough; null = it is not healthy. */
export function stableAtOf(deployment: DeploymentFacts, attempt: AttemptFacts): Date | null {
  const since = healthySince(attempt);
  return since && after(since, deployment.definition.rollout.stableSeconds);
}

/** From here on Docker keeps the container up, and the instance runs on without contact to the API. */
export function inServiceOrders(deployment: DeploymentFacts): OrderDraft[] {
  const { maxSilenceSeconds } = deployment.definition;
  const minutes = maxSilenceSeconds === undefined ? 0 : Math.ceil(maxSilenceSeconds / 60);
  return [
    docker('restart-policy', restartPolicyRequest('unless-stopped')),
    { purpose: 'dead-man', spec: { kind: 'dead-man', minutes, ...(minutes > 0 && { renews: true }) } },
  ];
}

function advance(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  const step = planAttempt(attempt, deployment, draft);
  draft.move(deployment, attempt, step.phase);
  if (step.failure) {
    const failed = draft.attempt(attempt);
    if (causeOf(step.failure.reason) !== 'infrastructure') {
      return failDeployment(draft, deployment, failed, step.failure);
    }
    endFailed(draft, deployment, failed, step.failure);
    return planFreshAttempt(draft, deployment);
  }
  draft.order(attempt, step.orders);
  draft.wakeAt(step.wakeAt);
  const { reason = null, message = null, until } = step.waiting ?? {};
  // One that was handed back says so until its next instance is there.
  const isTold = deployment.reason === 'predecessor-serves' && reason === 'waiting-for-instance';
  draft.change(deployment, {
    ...(!isTold && { reason, message: until ? `${message} (waiting until ${until.toISOString()})` : message }),
    ...(step.imageDigest !== undefined && { imageDigest: step.imageDigest }),
  });
}

/** Each attempt costs an instance: after the second lost one there is a pause, and their number is bounded. */
function planFreshAttempt(draft: Draft, deployment: DeploymentFacts): void {
  const { trigger, deadlineAt, reason } = draft.current(deployment);
  const tries = triesOf(draft.current(deployment));
  const isSpent =
    tries.length >= MAX_INSTANCES_BEFORE_ACTIVE ||
    tries.filter(({ counted }) => counted).length >= MAX_ATTEMPTS_BEFORE_ACTIVE;
  const beginsAt = nextAttemptAt(tries, draft.now);
  const isTooLate = deadlineAt !== null && deadlineAt <= beginsAt;
  const last = tries.at(-1);
  if (isSpent || isTooLate) {
    const lost = `${tries.length} attempts, the last one ended with ${last?.reason ?? 'unknown'}`;
    const late = isSpent ? '' : ', and the next would begin after the deadline';
    const message = `${REASONS['attempts-exhausted'].text}: ${lost}${late}`;
    return failDeployment(draft, deployment, undefined, { reason: 'attempts-exhausted', message });
  }
  if (draft.now < beginsAt) {
    const cause = causeOfLoss(last);
    const next = `attempt ${draft.nextNumber(deployment)} begins at ${beginsAt.toISOString()}`;
    draft.change(deployment, { reason: cause.reason, message: `${cause.message}; ${next}` });
    return draft.wakeAt(beginsAt);
  }
  draft.newAttempt(deployment, PRIORITIES[trigger], 'waiting-for-instance');
  if (reason !== 'predecessor-serves') {
    draft.change(deployment, { reason: 'waiting-for-instance', message: REASONS['waiting-for-instance'].text });
  }
}

function planOverdue(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts | undefined): void {
  const where = attempt ? ` (attempt ${attempt.number} was ${attempt.phase})` : '';
  const detail = deployment.message ? `: ${deployment.message}` : '';
  const failure = {
    reason: 'deadline-exceeded',
    message: `${REASONS['deadline-exceeded'].text}${where}${detail}`,
  } as const;
  if (!attempt || !mayHaveStarted(attempt)) return failDeployment(draft, deployment, attempt, failure);

  const step = withLogs(attempt, draft.now, failure);
  if (step.failure) return failDeployment(draft, deployment, attempt, step.failure);
  draft.order(attempt, step.orders);
  draft.wakeAt(step.wakeAt);
}

/** One transaction makes it active and its predecessor draining. */
function activate(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): void {
  for (const predecessor of draft.withStatus('active')) {
    const drains = [deployment, predecessor].map(({ definition }) => definition.rollout.drainSeconds);
    const callersUntil = predecessor.attempts.map((other) =>
      servesUntil(draft, other, predecessor, Math.max(...drains)),
    );
    draft.change(predecessor, {
      status: 'draining',
      reason: 'superseded-by-newer',
      message: `deployment ${deployment.number} is active`,
      deadlineAt: callersUntil.reduce(later, after(draft.now, deployment.definition.rollout.drainSeconds)),
    });
  }
  draft.change(deployment, {
    status: 'active',
    activeAt: draft.now,
    reason: null,
    message: null,
    deadlineAt: null,
    imageId: deployment.imageId ?? attempt.instance?.imageId ?? null,
  });
  draft.putInService(attempt, inServiceOrders(deployment));
  draft.activeDeploymentId = deployment.id;
}

/** Place in line for an instance, by what asked for it: lower comes first, and each step is LINE_SECONDS of waiting (plan-fleet.ts). Who heals comes first of all, with 0. */
const PRIORITIES = { rollback: 1, api: 2, restart: 2, start: 2, adopt: 2, schedule: 3 } as const;
