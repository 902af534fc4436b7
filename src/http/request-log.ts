import { findCaller } from '../auth/caller.js';
import type { EndedExchange } from './exchange.js';

export type RequestLine = {
  readonly level: 'info' | 'debug';
  readonly fields: Readonly<Record<string, unknown>>;
};

const SILENT = /^\/(health|metrics|docs|agent\/v1\/orders)(\/|$)/;
const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Asked all day by machines; what goes wrong there is told by the parts that know why. */
export function isSilent(route: string): boolean {
  return SILENT.test(route);
}

/**
 * The log line of an exchange: changes and failures for everyone to read, reads for who looks for something. Null for
 * what machines ask all day. Ids are keys of their own; a path or a query is never in it, as they may hold anything.
 */
export function requestLineOf(ended: EndedExchange): RequestLine | null {
  const { request, reply, route, status, durationMs } = ended;
  if (isSilent(route)) return null;
  const { name, number, id } = (request.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const location = reply.getHeader('location');
  return {
    level: READING.has(request.method) && status < 400 ? 'debug' : 'info',
    fields: {
      requestId: request.id,
      method: request.method,
      route,
      status,
      durationMs: Math.round(durationMs),
      caller: findCaller(request)?.id,
      ...(route.startsWith('/v1/jobs/') && { job: name, deployment: toNumber(number) }),
      ...(route.startsWith('/v1/instances/') && { instanceId: id }),
      ...(typeof location === 'string' && { location }),
    },
  };
}

function toNumber(text: string | undefined): number | undefined {
  return text === undefined || !/^\d{1,9}$/.test(text) ? undefined : Number(text);
}
