import type { FastifyRequest } from 'fastify';
import type { Caller } from './access-rules.js';

const CALLERS = new WeakMap<FastifyRequest, Caller>();

export function rememberCaller(request: FastifyRequest, caller: Caller): void {
  CALLERS.set(request, caller);
}

/** Undefined on public routes and those of agents. */
export function findCaller(request: FastifyRequest): Caller | undefined {
  return CALLERS.get(request);
}

/** For routes with a role. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = CALLERS.get(request);
  if (!caller) throw new Error('this route asks nobody who they are');
  return caller;
}
