import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Occurrence } from '../process/observation.js';
import { withOrigin } from '../process/origin.js';

/** One request and its answer. */
export type Exchange = {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** Pattern of the route, as `/v1/jobs/:name`; `unmatched` where there is none. Never the path: callers choose it. */
  readonly route: string;
  /** Milliseconds on `performance.now()`. */
  readonly startedAtMs: number;
  /** Set by src/tracing when the exchange begins, if it makes spans. */
  traceparent?: string;
};

export type EndedExchange = Exchange & {
  /** What was sent; 499 when the client hung up before it had all of it. */
  readonly status: number;
  readonly durationMs: number;
};

export const exchangesBegun = new Occurrence<Exchange>('http-exchange:begun');
export const exchangesEnded = new Occurrence<EndedExchange>('http-exchange:ended');

/** As nginx logs it. */
const CLIENT_CLOSED_REQUEST = 499;

const EXCHANGES = new WeakMap<FastifyRequest, Exchange>();

/** Follows every exchange of this server to its end. @param onEnd of this application's own, for its log */
export function followExchanges(fastify: FastifyInstance, onEnd: (ended: EndedExchange) => void): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unmatched';
    const exchange: Exchange = { request, reply, route, startedAtMs: performance.now() };
    exchangesBegun.publish(exchange);
    // Emitted after `finish`, and also without it: when the client hangs up the exchange has ended.
    reply.raw.once('close', () => {
      const status = reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_CLOSED_REQUEST;
      const ended = { ...exchange, status, durationMs: performance.now() - exchange.startedAtMs };
      exchangesEnded.publish(ended);
      onEnd(ended);
    });
    EXCHANGES.set(request, exchange);
    done();
  });
  // Not before the body was read: its events would lead out of the origin again.
  fastify.addHook('preHandler', (request, _reply, done) => withinExchange(request, done));
}

/** Does work for a request: its log lines, statements and spans are that request's. */
export function withinExchange<T>(request: FastifyRequest, work: () => T): T {
  const traceparent = EXCHANGES.get(request)?.traceparent;
  return withOrigin({ requestId: request.id, ...(traceparent !== undefined && { traceparent }) }, work);
}

/** Their duration does not measure the API: they wait for news, or stream for as long as the client wants. */
const HELD_ROUTES: ReadonlySet<string> = new Set([
  '/agent/v1/orders',
  '/agent/v1/orders/:number/logs',
  '/agent/v1/orders/:number/stream',
  '/ingress/v1/holds/:host',
]);

/** Whether the exchange was meant to last. */
export function isHeldOpen({ request, reply, route }: Exchange): boolean {
  if (HELD_ROUTES.has(route)) return true;
  const { wait, follow } = (request.query ?? {}) as { wait?: unknown; follow?: unknown };
  if (wait !== undefined || follow === 'true') return true;
  return String(reply.getHeader('content-type') ?? '').startsWith('text/event-stream');
}
