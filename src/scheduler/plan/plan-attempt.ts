import {
  createRequest,
  imageInspectRequest,
  logsRequest,
  pullRequest,
  startRequest,
  waitRequest,
} from '../../docker/container-spec.js';
import { isImageId, LOG_LINES } from '../../docker/order-answer.js';
import { ATTEMPT_DEADLINE_SECONDS, ATTEMPT_PHASES, type AttemptPhase } from '../../deployments/attempt-status.js';
import type { Moment } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts, InstanceFacts, JobFacts, OrderFacts } from './plan-facts.js';
import { healthMessage } from './plan-health.js';
import { digestOf, goneMessage, imageToPull, imageToRun } from './plan-image.js';
import {
  after,
  agentDeadline,
  docker,
  DOCKER_CALL_SECONDS,
  dockerFailure,
  dockerUnavailable,
  type Failure,
  isOutOfMemory,
  later,
  latest,
  LOOK_SECONDS,
  lookAtExit,
  type OrderDraft,
  outOfMemoryMessage,
  spotNoticedAt,
} from './plan-order.js';
import { planPull } from './plan-pull.js';
import { REASONS, type Reason } from './plan-reasons.js';

/** The phase of one attempt that should run, and the next orders for its instance. */
export type AttemptStep = {
  readonly phase: AttemptPhase;
  readonly orders: readonly OrderDraft[];
  /** When to plan again, if nothing happens before. */
  readonly wakeAt: Date | null;
  /** What it waits for, to be shown; `until`: a deployment never active waits no longer, a healing one without end. */
  readonly waiting?: { readonly reason: Reason; readonly message: string; readonly until?: Date };
  /** Why it cannot go on. */
  readonly failure?: Failure;
  /** What the instance resolved the image to: `name@sha256:…`, or the id of one that no registry has by this name. */
  readonly imageDigest?: string;
};

export const RUNNING_WITHOUT_HEALTH_SECONDS = 5;
/** Keeps an instance alive while its deployment may still become active on it; then the switch is turned off. */
export const DEAD_MAN_SLACK_MINUTES = 15;
/** Verdicts of the fleet that are not about capacity. */
const BUSY_REASONS: ReadonlySet<string> = new Set([
  'ec2-throttled',
  'ec2-busy',
  'ec2-unavailable',
  'credentials-expired',
  'credentials-missing',
]);
const BUSY_PATIENCE_SECONDS = 120;
const VERDICT_CHECK_SECONDS = 30;
/** Without end. */
export const WAIT_SECONDS = 10 * 365 * 86_400;

/** Decides the next thing to do for an attempt that should become or stay healthy. */
export function planAttempt(attempt: AttemptFacts, deployment: DeploymentFacts, moment: Moment): AttemptStep {
  const { orders, ...rest } = planStep(attempt, deployment, moment);
  const step = { ...rest, orders: [...orders, ...followLogs(attempt)] };
  // Answers may arrive in another order than that of their orders: a phase reached stays reached.
  const isBehind = ATTEMPT_PHASES.indexOf(step.phase) < ATTEMPT_PHASES.indexOf(attempt.phase);
  return isBehind ? { ...step, phase: attempt.phase } : step;
}

/** Whether its container was ordered to start: then it gets a SIGTERM before its instance is terminated. */
export function mayHaveStarted(attempt: AttemptFacts): boolean {
  return attempt.orders.some(({ purpose, takenAt }) => purpose === 'start' && takenAt !== null);
}

/** Whether Docker started the container: then there may be lines that it printed. */
export function hasStarted(attempt: AttemptFacts): boolean {
  return attempt.orders.some(({ purpose, status }) => purpose === 'start' && (status === 204 || status === 304));
}

/** Ordered once, from the first line on: lines leave the instance as they are printed. */
export function followLogs(attempt: AttemptFacts): OrderDraft[] {
  if (!hasStarted(attempt) || latest(attempt, 'follow-logs')) return [];
  return [{ purpose: 'follow-logs', spec: { kind: 'logs', follow: true, timeoutSeconds: DOCKER_CALL_SECONDS } }];
}

/** Whether it was stable once and Docker keeps its container up since: exits and failed probes are then ailments. */
export function isInService(attempt: AttemptFacts): boolean {
  return latest(attempt, 'restart-policy') !== undefined;
}

/** Since when an attempt that does not serve yet has been healthy without a break; null = it is not. */
export function healthySince(attempt: AttemptFacts): Date | null {
  const { phase, healthyAt } = attempt;
  // Its container may have exited, and only its last lines are waited for.
  if (phase !== 'healthy' || exitOf(attempt)) return null;
  const probe = latest(attempt, 'probe');
  if (!probe) return healthyAt;
  return healthyAt && probe.probeState === 'healthy' ? later(healthyAt, probe.answeredAt) : null;
}

/** The first rule that applies wins. */
function planStep(attempt: AttemptFacts, deployment: DeploymentFacts, moment: Moment): AttemptStep {
  const { now } = moment;
  const { instance } = attempt;
  if (!instance) return planWaiting(attempt, deployment, now);

  const loss = lossOf(instance, attempt);
  if (loss) return fail(attempt.phase, loss);

  if (latest(attempt, 'create')) return planRunning(attempt, deployment, now);
  const pulls = attempt.orders.filter(({ purpose }) => purpose === 'pull');
  const pull = pulls.at(-1);
  if (!pull) return { phase: 'assigned', orders: firstOrders(deployment, instance, now), wakeAt: after(now, 15) };
  if (!attempt.orders.some(({ takenAt }) => takenAt)) return planUntaken(attempt, instance, moment);

  if (!pull.answeredAt) return planPulling(pull, now);
  const pulled = planPull(attempt, deployment, pull, pulls.length);
  if (pulled.kind === 'failed') return fail('pulling', pulled);
  if (pulled.kind === 'again' && now < pulled.at) {
    const { at, reason, message } = pulled;
    return {
      ...stay('pulling', at),
      waiting: { reason, message: `${message}; the next pull is at ${at.toISOString()}` },
    };
  }
  if (pulled.kind === 'again') {
    const wakeAt = after(now, ATTEMPT_DEADLINE_SECONDS.pulling);
    return { phase: 'pulling', orders: [pullOrder(deployment)], wakeAt };
  }

  return planContainer(attempt, deployment, instance, moment);
}

function planWaiting(attempt: AttemptFacts, deployment: DeploymentFacts, now: Date): AttemptStep {
  const { verdict } = attempt;
  if (!verdict) {
    return {
      // A verdict made while this attempt was being committed does not wake its job.
      ...stay('waiting', after(now, VERDICT_CHECK_SECONDS)),
      waiting: { reason: 'waiting-for-instance', message: REASONS['waiting-for-instance'].text },
    };
  }
  const message = `${verdict.reason}: ${verdict.message}`;
  // An older verdict was about others: the fleet launches again for attempts that are newer than it.
  if (verdict.isFinal && verdict.at >= attempt.createdAt) {
    return fail('waiting', { reason: 'launch-refused', message });
  }
  const { onCapacity } = deployment.definition;
  // The policy is about capacity: that EC2 is busy or throttles calls is over in seconds.
  const impatience = BUSY_REASONS.has(verdict.reason) || verdict.at < attempt.createdAt ? BUSY_PATIENCE_SECONDS : 0;
  const patienceSeconds = Math.max(impatience, onCapacity === 'fail' ? 0 : onCapacity.waitSeconds);
  const givenUpAt = after(attempt.createdAt, patienceSeconds);
  if (now >= givenUpAt) return fail('waiting', { reason: 'capacity-unavailable', message });
  return { ...stay('waiting', givenUpAt), waiting: { reason: 'waiting-for-capacity', message, until: givenUpAt } };
}

/** Whether its instance can no longer be counted on. */
export function lossOf(instance: InstanceFacts, attempt: AttemptFacts): { reason: Reason; message: string } | null {
  const detail = instance.stateReason ? ` (${instance.stateReason})` : '';
  const lost = (reason: Reason) => ({ reason, message: `instance ${instance.id}: ${REASONS[reason].text}${detail}` });
  if (instance.state === 'gone') return lost('instance-gone');
  if (instance.state === 'shutting-down' || instance.state === 'terminated') return lost('instance-terminated');
  if (instance.state === 'stopping' || instance.state === 'stopped') return lost('instance-stopped');
  if (instance.unreachableAt) return lost('instance-unreachable');
  if (instance.retireReason) return lost('instance-terminated');
  // An attempt that serves goes on until EC2 ends it: its notice is an ailment (plan-healing.ts).
  if (spotNoticedAt(attempt) && !isInService(attempt)) return lost('spot-interrupted');
  return null;
}

function firstOrders(deployment: DeploymentFacts, { isAdopted }: InstanceFacts, now: Date): OrderDraft[] {
  const deadline = deployment.deadlineAt ?? after(now, deployment.definition.rollout.deadlineSeconds);
  const minutes = Math.ceil((deadline.getTime() - now.getTime()) / 60_000) + DEAD_MAN_SLACK_MINUTES;
  // An adopted container that already serves must not end because its adoption fails.
  const orders: OrderDraft[] = isAdopted ? [] : [{ purpose: 'dead-man', spec: { kind: 'dead-man', minutes } }];
  if (deployment.definition.instance.market === 'spot') {
    orders.push({ purpose: 'watch-spot', spec: { kind: 'watch-spot' } });
  }
  return [...orders, pullOrder(deployment)];
}

function planUntaken(attempt: AttemptFacts, instance: InstanceFacts, { now, listeningSince }: Moment): AttemptStep {
  // Counted from the first order: a late pass of ours is not the agent's fault.
  const orderedAt = later(instance.assignedAt, attempt.orders[0]?.createdAt ?? null);
  const deadline = agentDeadline(orderedAt, ATTEMPT_DEADLINE_SECONDS.assigned, listeningSince);
  if (now < deadline) return stay('assigned', deadline);
  const message = `instance ${instance.id}: ${REASONS['agent-unresponsive'].text}`;
  return fail(attempt.phase, { reason: 'agent-unresponsive', message });
}

function planPulling(pull: OrderFacts, now: Date): AttemptStep {
  const deadline = after(pull.createdAt, ATTEMPT_DEADLINE_SECONDS.pulling);
  if (now >= deadline) return fail('pulling', { reason: 'pull-timed-out', message: REASONS['pull-timed-out'].text });
  return stay('pulling', deadline);
}

function planContainer(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  instance: InstanceFacts,
  { job, now }: Moment,
): AttemptStep {
  const inspect = latest(attempt, 'inspect-image');
  if (!inspect) {
    return {
      phase: 'pulling',
      orders: [docker('inspect-image', imageInspectRequest(imageToRun(deployment)))],
      wakeAt: null,
    };
  }
  if (!inspect.answeredAt) return stay('pulling');
  if (inspect.status === 404 && isImageId(imageToRun(deployment))) {
    return fail('pulling', { reason: 'image-not-found', message: goneMessage(deployment) });
  }
  if (inspect.status !== 200) return fail('pulling', dockerUnavailable('inspect-image', inspect));

  const { addressFreeAt } = instance;
  if (addressFreeAt && now < addressFreeAt) {
    const waiting = { reason: 'address-draining', message: REASONS['address-draining'].text } as const;
    return { ...stay('pulling', addressFreeAt), waiting };
  }

  const digest = digestOf(deployment, inspect);
  const orders = containerOrders(attempt, deployment, instance, job);
  return { phase: 'starting', orders, wakeAt: null, ...(digest !== null && { imageDigest: digest }) };
}

/** Sent together: the agent carries out foreground orders in turn, and after a failed one the next ones fail fast. */
function containerOrders(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  instance: InstanceFacts,
  { name, cluster }: JobFacts,
): OrderDraft[] {
  const { id, definition, number, secretsVersion } = deployment;
  const owner = { cluster, job: name, deploymentId: id, deployment: number, attempt: attempt.number };
  const orders = [
    docker('create', createRequest(definition, imageToRun(deployment), owner), {
      ...(secretsVersion !== null && { fill: 'secrets' }),
    }),
    docker('start', startRequest()),
    docker('wait', waitRequest('not-running'), { mode: 'background', timeoutSeconds: WAIT_SECONDS }),
  ];
  const { health } = definition;
  if (!health) return orders;
  const url = `http://${instance.privateIp ?? '127.0.0.1'}:${health.port}${health.path}`;
  const { intervalSeconds, timeoutSeconds, retries, startPeriodSeconds } = health;
  return [
    ...orders,
    { purpose: 'probe', spec: { kind: 'probe', url, intervalSeconds, timeoutSeconds, retries, startPeriodSeconds } },
  ];
}

function planRunning(attempt: AttemptFacts, deployment: DeploymentFacts, now: Date): AttemptStep {
  const create = latest(attempt, 'create');
  // 409: the agent was restarted between Docker's answer and its own report, and repeated the call.
  if (create?.answeredAt && create.status !== 201 && create.status !== 409) {
    return fail('starting', dockerFailure('container-create-failed', create));
  }
  const start = latest(attempt, 'start');
  if (start?.answeredAt && start.status !== 204 && start.status !== 304) {
    return fail('starting', dockerFailure('container-start-failed', start));
  }
  if (!start?.answeredAt) return stay('starting');

  const exit = exitOf(attempt);
  if (exit) return planExit(attempt, deployment, now, exit);

  const probe = latest(attempt, 'probe');
  if (!probe) {
    const healthyAt = after(start.answeredAt, RUNNING_WITHOUT_HEALTH_SECONDS);
    return now >= healthyAt ? stay('healthy') : stay('starting', healthyAt);
  }
  if (probe.probeState === 'healthy') return stay('healthy');
  if (probe.probeState === 'unhealthy') {
    const detail = healthMessage(probe.answer.message ?? 'no answer', deployment.definition);
    return withLogs(attempt, now, {
      reason: 'health-check-failed',
      message: `${REASONS['health-check-failed'].text}: ${detail}`,
    });
  }
  return stay('starting');
}

function exitOf(attempt: AttemptFacts): Failure | undefined {
  const wait = latest(attempt, 'wait');
  if (!wait?.answeredAt || wait.status !== 200) return undefined;
  const { exitCode } = wait.answer;
  if (exitCode === undefined) return { reason: 'container-exited', message: REASONS['container-exited'].text };
  return { reason: 'container-exited', message: `the container exited with code ${exitCode}`, exitCode };
}

/** Only Docker knows why it exited, until the container is started again: an exit code has no single meaning. */
function planExit(attempt: AttemptFacts, deployment: DeploymentFacts, now: Date, exit: Failure): AttemptStep {
  const step = withLogs(attempt, now, exit);
  if (exit.exitCode === 0) return step;
  const look = latest(attempt, 'inspect-exit');
  if (!look) {
    return { ...stay(attempt.phase, after(now, LOOK_SECONDS)), orders: [...step.orders, lookAtExit()] };
  }
  const deadline = after(look.createdAt, LOOK_SECONDS);
  if (!look.answeredAt && now < deadline) return { ...stay(attempt.phase, deadline), orders: step.orders };
  if (!step.failure || !isOutOfMemory(look)) return step;
  const { memoryMiB } = deployment.definition;
  return { ...step, failure: { ...step.failure, reason: 'out-of-memory', message: outOfMemoryMessage(memoryMiB) } };
}

/** Waits for a moment for the last lines of the container before its instance is terminated. */
export function withLogs(attempt: AttemptFacts, now: Date, failure: Failure): AttemptStep {
  const phase = attempt.phase;
  const logs = latest(attempt, 'logs');
  const deadline = after(logs?.createdAt ?? now, LOOK_SECONDS);
  if (!logs) {
    const order = docker('logs', logsRequest(LOG_LINES), { timeoutSeconds: LOOK_SECONDS });
    return { phase, orders: [order], wakeAt: deadline };
  }
  if (!logs.answeredAt && now < deadline) return stay(phase, deadline);
  const lines = logs.status === 200 ? logs.answer.lines : undefined;
  return { ...stay(phase), failure: { ...failure, ...(lines && { lastLogLines: lines }) } };
}

function pullOrder(deployment: DeploymentFacts): OrderDraft {
  const timeoutSeconds = ATTEMPT_DEADLINE_SECONDS.pulling;
  return docker('pull', pullRequest(imageToPull(deployment)), {
    mode: 'background',
    timeoutSeconds,
    fill: 'registry',
  });
}

function fail(phase: AttemptPhase, failure: Failure): AttemptStep {
  return { ...stay(phase), failure };
}

function stay(phase: AttemptPhase, wakeAt: Date | null = null): AttemptStep {
  return { phase, orders: [], wakeAt };
}
