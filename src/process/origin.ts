import { AsyncLocalStorage } from 'node:async_hooks';

/** Where the present work came from: in its log lines, stored with the deployments it makes, and joining its spans. */
export type Origin = {
  readonly requestId: string;
  /** W3C Trace Context, version 00; only where spans are made of the request. */
  readonly traceparent?: string;
};

const origins = new AsyncLocalStorage<Origin>();

export function withOrigin<T>(origin: Origin, work: () => T): T {
  return origins.run(origin, work);
}

/** Undefined where no request is being served. */
export function currentOrigin(): Origin | undefined {
  return origins.getStore();
}

/** As keys of a log line. */
export function fieldsOf({ requestId, traceparent }: Origin): Record<string, string> {
  return { requestId, ...(traceparent !== undefined && { traceId: traceparent.split('-')[1] ?? '' }) };
}
