import { type Context, ROOT_CONTEXT, type SpanContext, trace } from '@opentelemetry/api';
import { parseTraceParent } from '@opentelemetry/core';
import { type IdGenerator, RandomIdGenerator } from '@opentelemetry/sdk-trace';

/** Random ids, except for a span with a chosen id, to which others can refer before it exists. */
export class ChosenIds implements IdGenerator {
  readonly #random = new RandomIdGenerator();
  #traceId: string | undefined;
  #spanId: string | undefined;

  /** `start` begins one span: with this id, and in this trace where it has no parent. */
  with<T>({ traceId, spanId }: { readonly traceId: string; readonly spanId: string }, start: () => T): T {
    [this.#traceId, this.#spanId] = [traceId, spanId];
    try {
      return start();
    } finally {
      [this.#traceId, this.#spanId] = [undefined, undefined];
    }
  }

  generateTraceId(): string {
    return this.#traceId ?? this.#random.generateTraceId();
  }

  generateSpanId(): string {
    return this.#spanId ?? this.#random.generateSpanId();
  }
}

/** The context in which a trace from elsewhere continues; undefined = the text is no traceparent. */
export function spanContextOf(traceparent: string): SpanContext | undefined {
  const parsed = parseTraceParent(traceparent);
  return parsed ? { ...parsed, isRemote: true } : undefined;
}

export function traceparentOf({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

export function contextOf(parent: SpanContext | undefined): Context {
  return parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
}

/** Passes of any process advance a deployment, so its span has an id that all of them know. */
export function deploymentSpanId(deploymentId: string): string {
  return hexOf(deploymentId).slice(0, 16);
}

/** The trace of a deployment that no traced request made. */
export function deploymentTraceId(deploymentId: string): string {
  return hexOf(deploymentId);
}

function hexOf(uuid: string): string {
  return uuid.replaceAll('-', '').toLowerCase();
}
