import { type DockerRequest, inspectRequest } from '../../docker/container-spec.js';
import type { OrderSpec } from '../../docker/order.js';
import { answerBytesOf } from '../../docker/order-answer.js';
import { AGENT_RETURN_SECONDS } from '../../deployments/attempt-status.js';
import type { LogLine } from '../../deployments/log-line.js';
import type { AttemptFacts, OrderFacts, OrderPurpose } from './plan-facts.js';
import { REASONS, type Reason } from './plan-reasons.js';

// Orders and what their answers mean, for all planners of attempts.

export type OrderDraft = { readonly purpose: OrderPurpose; readonly spec: OrderSpec };

export type Failure = {
  readonly reason: Reason;
  readonly message: string;
  readonly exitCode?: number;
  readonly lastLogLines?: readonly LogLine[];
};

export const DOCKER_CALL_SECONDS = 60;
/**
 * Docker answers for logs, and how a container ended, in milliseconds; an ending instance must not delay the result.
 */
export const LOOK_SECONDS = 10;

export function docker(
  purpose: OrderPurpose,
  request: DockerRequest,
  options: {
    mode?: 'foreground' | 'background';
    timeoutSeconds?: number;
    fill?: 'secrets' | 'registry';
  } = {},
): OrderDraft {
  const defaults = {
    mode: 'foreground',
    timeoutSeconds: DOCKER_CALL_SECONDS,
    maxBytes: answerBytesOf(purpose),
  } as const;
  return { purpose, spec: { kind: 'docker', ...defaults, ...request, ...options } };
}

export function dockerFailure(reason: Reason, order: OrderFacts): Failure {
  if (order.status === 0) return dockerUnavailable(order.purpose, order);
  return { reason, message: messageOf(order) };
}

export function dockerUnavailable(purpose: OrderPurpose, order: OrderFacts): Failure {
  const detail = order.status === 0 ? (order.error ?? 'no answer') : messageOf(order);
  return { reason: 'docker-unavailable', message: `${REASONS['docker-unavailable'].text} (${purpose}: ${detail})` };
}

export function messageOf(order: OrderFacts): string {
  return order.answer.message ?? `Docker answered ${order.status ?? 0}`;
}

/** To be carried out at once: after a restart Docker no longer shows how the container ended. */
export function lookAtExit(): OrderDraft {
  return docker('inspect-exit', inspectRequest(), { timeoutSeconds: LOOK_SECONDS });
}

export function isOutOfMemory({ status, answer }: OrderFacts): boolean {
  return status === 200 && answer.container?.isOutOfMemory === true;
}

export function outOfMemoryMessage(memoryMiB: number | undefined): string {
  const limit =
    memoryMiB === undefined
      ? 'it has no limit of its own (memoryMiB), so that all memory of the instance was used'
      : `its limit is ${memoryMiB} MiB (memoryMiB)`;
  return `${REASONS['out-of-memory'].text}: ${limit}`;
}

/** When EC2 gave notice that it takes the instance back within two minutes; null = it did not. */
export function spotNoticedAt(attempt: Pick<AttemptFacts, 'orders'>): Date | null {
  const watch = latest(attempt, 'watch-spot');
  return watch?.status === 200 ? watch.answeredAt : null;
}

export function latest({ orders }: Pick<AttemptFacts, 'orders'>, purpose: OrderPurpose): OrderFacts | undefined {
  return orders.findLast((order) => order.purpose === purpose);
}

export function after(from: Date, seconds: number): Date {
  return new Date(from.getTime() + seconds * 1000);
}

/** When an agent has had its time for an order: none of it is counted while agents could not reach the API. */
export function agentDeadline(orderedAt: Date, seconds: number, listeningSince: Date): Date {
  return after(later(orderedAt, after(listeningSince, AGENT_RETURN_SECONDS)), seconds);
}

export function later(a: Date, b: Date | null): Date {
  return b && b > a ? b : a;
}
