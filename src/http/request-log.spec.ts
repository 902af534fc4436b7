import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import Fastify, { type FastifyInstance } from 'fastify';
import { ADMIN, rememberCaller } from './caller.js';
import { type EndedExchange, followExchanges } from './exchange.js';
import { requestIdOf } from './request-id.js';
import { isUnauthenticatedFailure, levelOf, requestFieldsOf } from './request-log.js';

describe('the log line of a request', () => {
  let server: FastifyInstance;
  let url: string;
  const ended = new EventTarget();

  beforeAll(async () => {
    server = Fastify({ genReqId: requestIdOf });
    followExchanges(server, (exchange) => ended.dispatchEvent(new CustomEvent('end', { detail: exchange })));
    server.addHook('preHandler', (request, _reply, done) => {
      if (request.headers.authorization !== undefined) rememberCaller(request, ADMIN);
      done();
    });
    for (const path of ['/v1/jobs', '/v1/jobs/:name', '/v1/jobs/:name/deployments/:number', '/v1/instances/:id'])
      server.all(path, () => ({}));
    server.post('/v1/tokens', async (_request, reply) => reply.code(201).header('location', '/v1/tokens/a').send({}));
    for (const path of [
      '/health/ready',
      '/metrics',
      '/docs/json',
      '/agent/v1/orders',
      '/agent/v1/orders/:number/result',
      '/ingress/v1/routes/:host',
    ])
      server.all(path, () => ({}));
    server.get('/v1/fails', async (_request, reply) => reply.code(409).send({}));
    url = await server.listen({ port: 0, host: '127.0.0.1' });
  });
  afterAll(() => server.close());

  const SENT = { authorization: 'Bearer x' };
  async function exchangeOf(
    method: string,
    path: string,
    headers: Record<string, string> = SENT,
  ): Promise<EndedExchange> {
    const end = once(ended, 'end') as Promise<[CustomEvent<EndedExchange>]>;
    await fetch(`${url}${path}`, { method, headers, ...(method === 'POST' && { body: '' }) });
    const [{ detail }] = await end;
    return detail;
  }

  it.each<[string, string, object]>([
    ['GET', '/v1/jobs', { route: '/v1/jobs' }],
    ['GET', '/v1/jobs/web?x=secret', { route: '/v1/jobs/:name', job: 'web' }],
    [
      'DELETE',
      '/v1/jobs/web/deployments/12',
      { route: '/v1/jobs/:name/deployments/:number', job: 'web', deployment: 12 },
    ],
    ['GET', '/v1/jobs/web/deployments/1e3', { route: '/v1/jobs/:name/deployments/:number', job: 'web' }],
    ['GET', '/v1/instances/i-1', { route: '/v1/instances/:id', instanceId: 'i-1' }],
    ['POST', '/v1/tokens', { route: '/v1/tokens', status: 201, location: '/v1/tokens/a' }],
    ['GET', '/nowhere/secret', { route: 'unmatched', status: 404 }],
  ])('of %s %s names what it was about, never its path', async (method, path, fields) => {
    const exchange = await exchangeOf(method, path);
    const { durationMs, requestId, ...found } = JSON.parse(JSON.stringify(requestFieldsOf(exchange))) as Record<
      string,
      unknown
    >;
    expect(found).toEqual({ method, status: 200, caller: 'admin', ...fields });
    expect(Number.isInteger(durationMs)).toBe(true);
    expect(requestId).toBe(exchange.request.id);
  });

  it('has an id of its own beside the one that a caller sent, and the trace it belongs to', async () => {
    const exchange = await exchangeOf('GET', '/v1/jobs', { 'x-request-id': 'theirs' });
    const fields = requestFieldsOf({ ...exchange, traceparent: '00-abc-def-01' });
    expect(fields).toMatchObject({
      requestId: 'theirs',
      traceId: 'abc',
      ownRequestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(fields).not.toHaveProperty('job');
    expect(fields['caller']).toBeUndefined();
  });

  it.each<[string, string, 'info' | 'debug' | null]>([
    ['GET', '/v1/jobs', 'debug'],
    ['OPTIONS', '/v1/jobs', 'debug'],
    ['PUT', '/v1/jobs/web', 'info'],
    ['GET', '/v1/fails', 'info'],
    ['GET', '/health/ready', null],
    ['GET', '/metrics', null],
    ['GET', '/docs/json', null],
    ['GET', '/agent/v1/orders', null],
    // 401 is how a lookup says «nowhere».
    ['GET', '/ingress/v1/routes/web.jobs.test', null],
    ['POST', '/agent/v1/orders/1/result', null],
  ])('of %s %s is: %s', async (method, path, level) => {
    expect(levelOf(await exchangeOf(method, path))).toBe(level);
  });

  it('is of a failure from status 400 on', async () => {
    const exchange = await exchangeOf('GET', '/v1/jobs', {});
    const at = (status: number) => ({ ...exchange, status });
    expect([399, 400].map((status) => levelOf(at(status)))).toEqual(['debug', 'info']);
    expect([399, 400].map((status) => isUnauthenticatedFailure(at(status)))).toEqual([false, true]);
  });

  it('counts as a failure that anybody can cause only without a known caller', async () => {
    expect(isUnauthenticatedFailure(await exchangeOf('GET', '/v1/fails', {}))).toBe(true);
    expect(isUnauthenticatedFailure(await exchangeOf('GET', '/v1/fails'))).toBe(false);
    expect(isUnauthenticatedFailure(await exchangeOf('GET', '/v1/jobs', {}))).toBe(false);
  });
});
