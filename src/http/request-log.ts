import { findCaller } from './caller.js';
import { fieldsOf } from '../process/origin.js';
import type { EndedExchange } from './exchange.js';
import { ownIdOf } from './request-id.js';

const SILENT = /^\/(health|metrics|docs|agent\/v1\/orders|ingress\/v1)(\/|$)/;
const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Programs call these all day; the parts that know why log what fails there. */
export function isSilent(route: string): boolean {
  return SILENT.test(route);
}

/** Changes and failures are logged as `info`, reads for debugging only. Null = no line. */
export function levelOf({ request, route, status }: EndedExchange): 'info' | 'debug' | null {
  if (isSilent(route)) return null;
  return READING.has(request.method) && status < 400 ? 'debug' : 'info';
}

/** Whether anybody can cause such a line as often as they like: a request without a known token was rejected. */
export function isUnauthenticatedFailure({ request, status }: EndedExchange): boolean {
  return status >= 400 && findCaller(request) === undefined;
}

/** The fields of an exchange in its log line. A path or a query is never in it, as they may hold anything. */
export function requestFieldsOf(ended: EndedExchange): Readonly<Record<string, unknown>> {
  const { request, reply, route, status, durationMs, traceparent } = ended;
  const { name, number, id } = (request.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const location = reply.getHeader('location');
  return {
    ...fieldsOf({ requestId: request.id, ...(traceparent !== undefined && { traceparent }) }),
    ...(ownIdOf(request) !== request.id && { ownRequestId: ownIdOf(request) }),
    method: request.method,
    route,
    status,
    durationMs: Math.round(durationMs),
    caller: findCaller(request)?.id,
    ...(route.startsWith('/v1/jobs/') && { job: name, deployment: toNumber(number) }),
    ...(route.startsWith('/v1/instances/') && { instanceId: id }),
    ...(typeof location === 'string' && { location }),
  };
}

function toNumber(text: string | undefined): number | undefined {
  return text === undefined || !/^\d{1,9}$/.test(text) ? undefined : Number(text);
}
