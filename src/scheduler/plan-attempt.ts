import {
  createRequest,
  imageInspectRequest,
  logsRequest,
  pullRequest,
  startRequest,
  waitRequest,
  type DockerRequest,
} from '../agent/container-spec.js';
import { demultiplexLogs } from '../agent/container-logs.js';
import { parseError, parseImageInspect, parsePull, parseWait } from '../agent/container-spec.js';
import type { OrderSpec } from '../agent/order.js';
import { ATTEMPT_DEADLINE_SECONDS, ATTEMPT_PHASES, type AttemptPhase } from '../deployments/attempt-status.js';
import type { LogLine } from '../deployments/log-line.js';
import { formatImageReference, parseImageReference } from '../jobs/image-reference.js';
import type { AttemptFacts, DeploymentFacts, InstanceFacts, OrderFacts, OrderPurpose } from './plan-facts.js';
import { REASONS, type Reason } from './plan-reasons.js';

/** Where one attempt that should run stands now, and what its instance is to be told next. */
export type AttemptStep = {
  readonly phase: AttemptPhase;
  readonly orders: readonly OrderDraft[];
  /** Look again then, if nothing happens before. */
  readonly wakeAt: Date | null;
  /** What it waits for, worth showing. */
  readonly waiting?: { readonly reason: Reason; readonly message: string };
  /** It cannot go on. */
  readonly failure?: Failure;
  /** What the instance resolved the image to: `name@sha256:…`. */
  readonly imageDigest?: string;
};

export type Failure = {
  readonly reason: Reason;
  readonly message: string;
  readonly exitCode?: number;
  readonly lastLogLines?: readonly LogLine[];
};

export type OrderDraft = { readonly purpose: OrderPurpose; readonly spec: OrderSpec };

export const RUNNING_WITHOUT_HEALTH_SECONDS = 5;
/** A registry that fails now may answer in a moment; each pull takes Docker's own retries on top. */
export const PULL_TRIES = 3;
/** Docker answers for logs in milliseconds; a dying instance must not hold back the verdict. */
const LOGS_WAIT_SECONDS = 10;
const LOG_LINES = 50;
/** Keeps an instance alive that its deployment may still become active on; then it is turned off. */
export const DEAD_MAN_SLACK_MINUTES = 15;
/** Verdicts of the fleet that say nothing about capacity. */
const BUSY_REASONS: ReadonlySet<string> = new Set([
  'ec2-throttled',
  'ec2-busy',
  'ec2-unavailable',
  'credentials-expired',
  'credentials-missing',
]);
const BUSY_PATIENCE_SECONDS = 120;
const VERDICT_CHECK_SECONDS = 30;
const DOCKER_CALL_SECONDS = 60;
const WAIT_SECONDS = 10 * 365 * 86_400;

/** Decides the next thing to do for an attempt that should become or stay healthy. */
export function planAttempt(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  cluster: string,
  now: Date,
): AttemptStep {
  const { orders, ...rest } = planStep(attempt, deployment, cluster, now);
  const step = { ...rest, orders: [...orders, ...followLogs(attempt)] };
  // Answers may come in another order than their orders were given: what was reached stays reached.
  const isBehind = ATTEMPT_PHASES.indexOf(step.phase) < ATTEMPT_PHASES.indexOf(attempt.phase);
  return isBehind ? { ...step, phase: attempt.phase } : step;
}

/** Whether the container has been told to start: then it gets a SIGTERM before its instance goes. */
export function mayHaveStarted(attempt: AttemptFacts): boolean {
  return attempt.orders.some(({ purpose, takenAt }) => purpose === 'start' && takenAt !== null);
}

/** Whether Docker started the container: then there may be lines that it printed. */
export function hasStarted(attempt: AttemptFacts): boolean {
  return attempt.orders.some(({ purpose, status }) => purpose === 'start' && (status === 204 || status === 304));
}

/** Once, from the first line on: what is printed leaves the instance as it comes. */
export function followLogs(attempt: AttemptFacts): OrderDraft[] {
  if (!hasStarted(attempt) || latest(attempt, 'follow-logs')) return [];
  return [{ purpose: 'follow-logs', spec: { kind: 'logs', follow: true, timeoutSeconds: DOCKER_CALL_SECONDS } }];
}

/** Whether it was stable once and its container is kept up by Docker since: exits and failed probes are then ailments. */
export function isAcknowledged(attempt: AttemptFacts): boolean {
  return latest(attempt, 'restart-policy') !== undefined;
}

/** EC2 gave notice: it takes the instance back within two minutes. */
export function isSpotNoticed(attempt: AttemptFacts): boolean {
  const watch = latest(attempt, 'watch-spot');
  return Boolean(watch?.answeredAt) && watch?.status === 200;
}

/** Since when the attempt has been healthy without a break; null = it is not. */
export function healthySince(attempt: AttemptFacts): Date | null {
  if (attempt.phase !== 'healthy' || !attempt.healthyAt) return null;
  const probe = latest(attempt, 'probe');
  if (!probe) return attempt.healthyAt;
  return probe.probeState === 'healthy' ? later(attempt.healthyAt, probe.answeredAt) : null;
}

/** The first rule that applies wins. */
function planStep(attempt: AttemptFacts, deployment: DeploymentFacts, cluster: string, now: Date): AttemptStep {
  const { instance } = attempt;
  if (!instance) return planWaiting(attempt, deployment, now);

  const loss = lossOf(instance, attempt);
  if (loss) return fail(attempt, loss.reason, loss.message);

  if (latest(attempt, 'create')) return planRunning(attempt, deployment, now);
  const pulls = attempt.orders.filter(({ purpose }) => purpose === 'pull');
  const pull = pulls.at(-1);
  if (!pull) return { phase: 'assigned', orders: firstOrders(deployment, instance, now), wakeAt: after(now, 15) };
  if (!attempt.orders.some(({ takenAt }) => takenAt)) return planUntaken(attempt, instance, now);

  if (!pull.answeredAt) return planPulling(attempt, pull, now);
  const pullFailure = pullFailureOf(pull, pulls.length, deployment);
  if (pullFailure === 'again') return { phase: 'pulling', orders: [pullOrder(deployment)], wakeAt: null };
  if (pullFailure) return { ...stay('pulling'), failure: pullFailure };

  return planContainer(attempt, deployment, instance, cluster);
}

function planWaiting(attempt: AttemptFacts, deployment: DeploymentFacts, now: Date): AttemptStep {
  const { verdict } = attempt;
  if (!verdict) {
    return {
      // A verdict that fell while this attempt was being committed wakes nobody for it.
      ...stay('waiting', after(now, VERDICT_CHECK_SECONDS)),
      waiting: { reason: 'waiting-for-instance', message: REASONS['waiting-for-instance'].text },
    };
  }
  // An older verdict was about others: the fleet asks EC2 again for attempts that came after it.
  if (verdict.isFinal && verdict.at >= attempt.createdAt) {
    return {
      ...stay('waiting'),
      failure: { reason: 'launch-refused', message: `${verdict.reason}: ${verdict.message}` },
    };
  }
  const { onCapacity } = deployment.definition;
  // The policy is about capacity: that EC2 is busy or throttles us is over in seconds.
  const impatience = BUSY_REASONS.has(verdict.reason) || verdict.at < attempt.createdAt ? BUSY_PATIENCE_SECONDS : 0;
  const patienceSeconds = Math.max(impatience, onCapacity === 'fail' ? 0 : onCapacity.waitSeconds);
  const givenUpAt = after(attempt.createdAt, patienceSeconds);
  if (now >= givenUpAt) {
    return {
      ...stay('waiting'),
      failure: { reason: 'capacity-unavailable', message: `${verdict.reason}: ${verdict.message}` },
    };
  }
  const message = `${verdict.reason}: ${verdict.message} (waiting until ${givenUpAt.toISOString()})`;
  return { ...stay('waiting', givenUpAt), waiting: { reason: 'waiting-for-capacity', message } };
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
  // One that serves goes on serving until EC2 ends it: its notice is an ailment (plan-healing.ts).
  if (isSpotNoticed(attempt) && !isAcknowledged(attempt)) return lost('spot-interrupted');
  return null;
}

function firstOrders(deployment: DeploymentFacts, { isAdopted }: InstanceFacts, now: Date): OrderDraft[] {
  const deadline = deployment.deadlineAt ?? after(now, deployment.definition.rollout.deadlineSeconds);
  const untilDeadlineMs = Math.max(0, deadline.getTime() - now.getTime());
  const minutes = Math.ceil(untilDeadlineMs / 60_000) + DEAD_MAN_SLACK_MINUTES;
  // What serves already must not end because its adoption fails.
  const orders: OrderDraft[] = isAdopted ? [] : [{ purpose: 'dead-man', spec: { kind: 'dead-man', minutes } }];
  if (deployment.definition.instance.market === 'spot') {
    orders.push({ purpose: 'watch-spot', spec: { kind: 'watch-spot' } });
  }
  return [...orders, pullOrder(deployment)];
}

function planUntaken(attempt: AttemptFacts, instance: InstanceFacts, now: Date): AttemptStep {
  // From when there was something to take: a pass of ours that comes late is not the agent's fault.
  const orderedAt = later(instance.assignedAt, attempt.orders[0]?.createdAt ?? null);
  const deadline = after(orderedAt, ATTEMPT_DEADLINE_SECONDS.assigned ?? 0);
  if (now < deadline) return stay('assigned', deadline);
  return fail(attempt, 'agent-unresponsive', `instance ${instance.id}: ${REASONS['agent-unresponsive'].text}`);
}

function planPulling(attempt: AttemptFacts, pull: OrderFacts, now: Date): AttemptStep {
  const deadline = after(pull.createdAt, ATTEMPT_DEADLINE_SECONDS.pulling ?? 0);
  if (now >= deadline)
    return { ...stay('pulling'), failure: { reason: 'pull-timed-out', message: REASONS['pull-timed-out'].text } };
  return stay(attempt.phase === 'assigned' ? 'pulling' : attempt.phase, deadline);
}

function pullFailureOf(pull: OrderFacts, tries: number, deployment: DeploymentFacts): Failure | 'again' | null {
  if (pull.status === 0) return tries < PULL_TRIES ? 'again' : dockerUnavailable('pull', pull);
  const answer = parsePull(pull.body ?? new Uint8Array());
  if (answer.ok && pull.status === 200) return null;
  // Docker answers 500 when the registry refuses before there is any progress to tell.
  const kind = answer.ok ? 'other' : answer.kind;
  const message = `${imageToPull(deployment)}: ${answer.ok ? messageOf(pull) : answer.message}`;
  if (kind === 'not-found' || pull.status === 404) return { reason: 'image-not-found', message };
  if (kind === 'unauthorized') return { reason: 'image-unauthorized', message };
  return tries < PULL_TRIES ? 'again' : { reason: 'image-pull-failed', message };
}

function planContainer(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  instance: InstanceFacts,
  cluster: string,
): AttemptStep {
  const inspect = latest(attempt, 'inspect-image');
  if (!inspect) {
    return {
      phase: 'pulling',
      orders: [docker('inspect-image', imageInspectRequest(imageToPull(deployment)))],
      wakeAt: null,
    };
  }
  if (!inspect.answeredAt) return stay('pulling');
  if (inspect.status !== 200) return { ...stay('pulling'), failure: dockerUnavailable('inspect-image', inspect) };

  const digest = digestOf(deployment, inspect);
  const orders = containerOrders(attempt, deployment, instance, cluster);
  return { phase: 'starting', orders, wakeAt: null, ...(digest !== null && { imageDigest: digest }) };
}

/** Sent together: the agent carries foreground orders out in turn, and a failed one makes the next ones fail fast. */
function containerOrders(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  instance: InstanceFacts,
  cluster: string,
): OrderDraft[] {
  const { definition, number, secretsVersion } = deployment;
  const owner = { cluster, job: deployment.id, deployment: number, attempt: attempt.number };
  const orders = [
    docker('create', createRequest(definition, imageToPull(deployment), owner), {
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
  // 409: the agent was restarted between Docker's answer and ours, and asked again.
  if (create?.answeredAt && create.status !== 201 && create.status !== 409) {
    return { ...stay('starting'), failure: dockerFailure('container-create-failed', create) };
  }
  const start = latest(attempt, 'start');
  if (start?.answeredAt && start.status !== 204 && start.status !== 304) {
    return { ...stay('starting'), failure: dockerFailure('container-start-failed', start) };
  }
  if (!start?.answeredAt) return stay('starting');

  const isServing = isAcknowledged(attempt);
  const exit = isServing ? undefined : exitOf(attempt);
  if (exit) return withLogs(attempt, now, exit);

  const probe = latest(attempt, 'probe');
  if (!probe) {
    const healthyAt = after(start.answeredAt, RUNNING_WITHOUT_HEALTH_SECONDS);
    return now >= healthyAt ? stay('healthy') : stay('starting', healthyAt);
  }
  if (probe.probeState === 'healthy') return stay('healthy');
  if (probe.probeState === 'unhealthy' && !isServing) {
    const detail = probe.body ? new TextDecoder().decode(probe.body).slice(0, 500) : 'no answer';
    return withLogs(attempt, now, {
      reason: 'health-check-failed',
      message: `${REASONS['health-check-failed'].text}: ${detail}`,
    });
  }
  return stay(attempt.phase === 'healthy' ? 'healthy' : 'starting');
}

function exitOf(attempt: AttemptFacts): Failure | undefined {
  const wait = latest(attempt, 'wait');
  if (!wait?.answeredAt || wait.status !== 200) return undefined;
  const exit = parseWait(wait.body ?? new Uint8Array());
  if (!exit) return { reason: 'container-exited', message: REASONS['container-exited'].text };
  const { exitCode } = exit;
  return { reason: 'container-exited', message: `the container exited with code ${exitCode}`, exitCode };
}

/** The last lines a container printed are worth a moment's wait before its instance goes. */
export function withLogs(attempt: AttemptFacts, now: Date, failure: Failure): AttemptStep {
  const phase = attempt.phase;
  const logs = latest(attempt, 'logs');
  const deadline = after(logs?.createdAt ?? now, LOGS_WAIT_SECONDS);
  if (!logs) {
    const order = docker('logs', logsRequest(LOG_LINES), { maxBytes: 65_536, timeoutSeconds: LOGS_WAIT_SECONDS });
    return { phase, orders: [order], wakeAt: deadline };
  }
  if (!logs.answeredAt && now < deadline) return stay(phase, deadline);
  const lines = logs.status === 200 && logs.body ? demultiplexLogs(logs.body).slice(-LOG_LINES) : undefined;
  return { ...stay(phase), failure: { ...failure, ...(lines && { lastLogLines: lines }) } };
}

function imageToPull(deployment: DeploymentFacts): string {
  return deployment.imageDigest ?? deployment.image;
}

/** `name@sha256:…`; null for an image no registry knows, which only a local engine can have. */
function digestOf(deployment: DeploymentFacts, inspect: OrderFacts): string | null {
  if (deployment.imageDigest) return deployment.imageDigest;
  const { name } = parseImageReference(deployment.image);
  const digest = parseImageInspect(inspect.body ?? new Uint8Array(), name)?.digest;
  return digest === undefined ? null : formatImageReference({ name, digest });
}

function pullOrder(deployment: DeploymentFacts): OrderDraft {
  const timeoutSeconds = ATTEMPT_DEADLINE_SECONDS.pulling ?? 0;
  return docker('pull', pullRequest(imageToPull(deployment)), {
    mode: 'background',
    timeoutSeconds,
    maxBytes: 65_536,
    fill: 'registry',
  });
}

export function docker(
  purpose: OrderPurpose,
  request: DockerRequest,
  options: {
    mode?: 'foreground' | 'background';
    timeoutSeconds?: number;
    maxBytes?: number;
    fill?: 'secrets' | 'registry';
  } = {},
): OrderDraft {
  return {
    purpose,
    spec: { kind: 'docker', mode: 'foreground', timeoutSeconds: DOCKER_CALL_SECONDS, ...request, ...options },
  };
}

function dockerFailure(reason: Reason, order: OrderFacts): Failure {
  if (order.status === 0) return dockerUnavailable(order.purpose, order);
  return { reason, message: messageOf(order) };
}

function dockerUnavailable(purpose: OrderPurpose, order: OrderFacts): Failure {
  const detail = order.status === 0 ? (order.error ?? 'no answer') : messageOf(order);
  return { reason: 'docker-unavailable', message: `${REASONS['docker-unavailable'].text} (${purpose}: ${detail})` };
}

function messageOf(order: OrderFacts): string {
  const message = parseError(order.body ?? new Uint8Array());
  return message?.slice(0, 1000) ?? `Docker answered ${order.status ?? 0}`;
}

function fail(attempt: AttemptFacts, reason: Reason, message: string): AttemptStep {
  return { ...stay(attempt.phase), failure: { reason, message } };
}

function stay(phase: AttemptPhase, wakeAt: Date | null = null): AttemptStep {
  return { phase, orders: [], wakeAt };
}

export function latest(attempt: AttemptFacts, purpose: OrderPurpose): OrderFacts | undefined {
  return attempt.orders.findLast((order) => order.purpose === purpose);
}

export function after(from: Date, seconds: number): Date {
  return new Date(from.getTime() + seconds * 1000);
}

function later(a: Date, b: Date | null): Date {
  return b && b > a ? b : a;
}
