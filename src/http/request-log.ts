import { findCaller } from './caller.js';
import { fieldsOf } from '../process/origin.js';
import type { EndedExchange } from './exchange.js';
import { ownIdOf } from './request-id.js';

const SILENT = /^\/(health|metrics|docs|agent\/v1\/orders)(\/|$)/;
const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Asked all day by machines; what goes wrong there is told by the parts that know why. */
export function isSilent(route: string): boolean {
  return SILENT.test(route);
}

/** Changes and failures are for everyone to read, reads for who looks for something. Null = no line. */
export function levelOf({ request, route, status }: EndedExchange): 'info' | 'debug' | null {
  if (isSilent(route)) return null;
  return READING.has(request.method) && status < 400 ? 'debug' : 'info';
}

/** Whether anybody may bring such a line about, as often as they like: somebody whom no token names was refused. */
export function isAnybodys({ request, status }: EndedExchange): boolean {
  return status >= 400 && findCaller(request) === undefined;
}

/** What a log line says of an exchange. A path or a query is never in it, as they may hold anything. */
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
