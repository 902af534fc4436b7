import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HandClock } from '../../test/support/hand-clock.js';
import { currentOrigin } from '../process/origin.js';
import type { EndedExchange, Exchange } from './exchange.js';
import { exchangesBegun, exchangesEnded, followExchanges, isHeldOpen, withinExchange } from './exchange.js';

it.each<[string, string, object, string | undefined, boolean]>([
  ['an agent’s poll', '/agent/v1/orders', {}, undefined, true],
  ['its upload of a log', '/agent/v1/orders/:number/logs', {}, undefined, true],
  ['its stream', '/agent/v1/orders/:number/stream', {}, undefined, true],
  ['a call that waits for its job', '/ingress/v1/holds/:host', {}, undefined, true],
  ['the lookup of a job', '/ingress/v1/routes/:host', {}, undefined, false],
  ['its report', '/agent/v1/orders/:number/result', {}, undefined, false],
  ['a request that waits', '/v1/jobs/:name', { wait: '60' }, undefined, true],
  ['one that waits for nothing', '/v1/jobs/:name', { wait: '0' }, undefined, true],
  ['a log that is followed', '/v1/jobs/:name/logs', { follow: 'true' }, 'text/plain', true],
  ['one that is not', '/v1/jobs/:name/logs', { follow: 'false' }, 'text/plain', false],
  ['a stream of events', '/v1/events', {}, 'text/event-stream; charset=utf-8', true],
  ['a page of events', '/v1/events', {}, 'application/json', false],
  ['an answer without a type', '/v1/jobs', {}, undefined, false],
])('%s is meant to last, or not (%s)', (_what, route, query, type, isHeld) => {
  const exchange = { route, request: { query }, reply: { getHeader: () => type }, startedAtMs: 0 };
  expect(isHeldOpen(exchange as unknown as Exchange)).toBe(isHeld);
});

describe('an exchange', () => {
  let clock: HandClock;
  beforeEach(() => {
    clock = new HandClock();
  });
  afterEach(() => clock.restore());

  /** A server that has nothing but its hooks. */
  function serverOf(onEnd: (ended: EndedExchange) => void) {
    const hooks = new Map<string, (request: FastifyRequest, reply: FastifyReply, done: () => void) => void>();
    const server = { addHook: (name: string, hook: never) => hooks.set(name, hook) };
    followExchanges(server as unknown as FastifyInstance, onEnd);
    return (hook: string, request: FastifyRequest, reply: FastifyReply, done: () => void): void =>
      hooks.get(hook)!(request, reply, done);
  }

  function exchangeOf(url: string | undefined) {
    const raw = Object.assign(new EventEmitter(), { writableFinished: true, statusCode: 201 });
    const request = { id: 'x', routeOptions: { url } } as unknown as FastifyRequest;
    return { raw, request, reply: { raw } as unknown as FastifyReply };
  }

  it.each([
    ['/v1/jobs/:name', true, { route: '/v1/jobs/:name', status: 201 }],
    ['/v1/jobs/:name', false, { route: '/v1/jobs/:name', status: 499 }],
    [undefined, true, { route: 'unmatched', status: 201 }],
  ])('of %s, sent to its end: %s, is told of as it begins and ends, to the log and to who measures', async (...row) => {
    const [url, isWhole, expected] = row;
    const told: [string, unknown][] = [];
    const leave = [
      exchangesBegun.subscribe(({ route }) => told.push(['begun', route])),
      exchangesEnded.subscribe((ended) => told.push(['ended', ended])),
    ];
    const run = serverOf((ended) => told.push(['log', ended]));
    const { raw, request, reply } = exchangeOf(url);
    await clock.pass(1_000);
    run('onRequest', request, reply, () => told.push(['served', url]));
    await clock.pass(250);
    raw.writableFinished = isWhole;
    raw.emit('close');
    for (const one of leave) one();
    const ended: unknown = expect.objectContaining({ ...expected, request, reply, durationMs: 250 });
    expect(told).toEqual([
      ['begun', expected.route],
      ['served', url],
      ['ended', ended],
      ['log', ended],
    ]);
  });

  it.each([undefined, '00-trace-span-01'])('is where all comes from that is done for it (%s)', (traceparent) => {
    const leave = exchangesBegun.subscribe((exchange) => {
      if (traceparent !== undefined) exchange.traceparent = traceparent;
    });
    const run = serverOf(() => undefined);
    const { request, reply } = exchangeOf('/v1/jobs');
    run('onRequest', request, reply, () => undefined);
    leave();
    const origins: unknown[] = [];
    run('preHandler', request, reply, () => origins.push(currentOrigin()));
    origins.push(withinExchange(request, currentOrigin), currentOrigin());
    const origin = { requestId: 'x', ...(traceparent !== undefined && { traceparent }) };
    expect(origins).toStrictEqual([origin, origin, undefined]);
  });
});
