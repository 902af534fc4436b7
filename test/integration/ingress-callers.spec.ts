import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { until } from '../../local/until.ts';
import { mayCall } from '../../src/jobs/networks.ts';
import { hasNginx, Nginx, NO_NGINX } from '../support/nginx.ts';
import { describeWhen } from '../support/when.ts';

type Lookup = { target?: string; holds?: boolean; allow: string[] };
type From = { host?: string; from?: string; headers?: Record<string, string>; body?: string; path?: string };

const PROXY = '127.0.0.9';
const ALLOWED = '127.0.0.2';
const OTHER = '127.0.0.3';
/** As long as a name can be. */
const LONG = `${`${'a'.repeat(60)}.`.repeat(4)}test`;

/** The stack's nginx.conf in a real nginx, before an API that knows who may call a job. */
describeWhen(hasNginx(), NO_NGINX, 'who may call a job through nginx', () => {
  const routes = new Map<string, Lookup>();
  /** What a request that waits finds, where that differs. */
  const holds = new Map<string, Lookup>();
  const asked: string[] = [];
  let directory: string;
  let port: number;
  let api: Server;
  let job: Server;
  let target: string;
  let calls = 0;
  let nginx: Nginx;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'callers-'));
    port = await freePort();
    const apiPort = await freePort();
    api = createServer(answerLookups).listen(apiPort, '127.0.0.1');
    job = createServer((incoming, response) => {
      calls += 1;
      response.end(`served ${String(incoming.headers['x-forwarded-for'])}`);
    }).listen(0, '127.0.0.1');
    await Promise.all([once(api, 'listening'), once(job, 'listening')]);
    target = `127.0.0.1:${(job.address() as AddressInfo).port}`;
    const jobsUrl = `http://jobs.test:${port}`;
    const own = { jobsHosts: ['own.test', LONG], apiHost: 'api.own.test' };
    nginx = new Nginx({ directory, port, apiPorts: [apiPort], jobsUrl, trustedProxy: `${PROXY}/32`, ...own });
    await nginx.start();
  }, 30_000);
  afterAll(async () => {
    await nginx.stop();
    for (const server of [api, job]) {
      server.closeAllConnections();
      server.close();
    }
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(() => {
    asked.length = 0;
    calls = 0;
  });
  afterEach(() => {
    holds.clear();
  });

  it('is who is in its list; all others get a problem, and nothing of their request gets to the job', async () => {
    routes.set('listed.jobs.test', { target, allow: [`${ALLOWED}/32`] });
    expect(await call('listed', { from: ALLOWED })).toMatchObject({ status: 200, body: `served ${ALLOWED}` });
    const refused = await call('listed', { from: OTHER, body: 'x'.repeat(100_000) });
    expect(refused).toMatchObject({
      status: 403,
      headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
    });
    expect(refused.headers['retry-after']).toBeUndefined();
    expect(JSON.parse(refused.body)).toMatchObject({
      ...{ type: '/problems/forbidden', title: 'Not allowed', status: 403 },
      detail: `listed.jobs.test may not be called from ${OTHER}.`,
    });
    expect(calls).toBe(1);
    // Whether one calls first or last: an answer is for one caller.
    expect((await call('listed', { from: ALLOWED })).status).toBe(200);
  });

  it('has a thousand connections at most, so that the others get theirs', async () => {
    routes.set('busy.jobs.test', { target, allow: [] });
    // An answer comes at once, and the rest of the body never does.
    const slow = 'POST / HTTP/1.1\r\nHost: none.jobs.test\r\nContent-Length: 100000\r\n\r\n';
    const sockets = Array.from({ length: 1_010 }, () => connect({ port, host: '127.0.0.1', localAddress: OTHER }));
    try {
      await Promise.all(
        sockets.map(async (socket) => {
          socket.on('error', () => undefined).write(slow);
          await once(socket, 'data');
        }),
      );
      expect((await call('busy', { from: OTHER })).status).toBe(503);
      expect((await call('busy', { from: ALLOWED })).status).toBe(200);
      // They are not kept for long, either.
      await until(async () => (await call('busy', { from: OTHER })).status === 200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  }, 60_000);

  it('is asked for hosts with a list only, once a second for each caller', async () => {
    routes.set('plain.jobs.test', { target, allow: [] });
    routes.set('asked.jobs.test', { target, allow: ['127.0.0.0/8'] });
    const from = (n: number) => (n % 2 === 0 ? ALLOWED : OTHER);
    await Promise.all(Array.from({ length: 30 }, (_, n) => call('plain', { from: from(n) })));
    expect(asked.filter((url) => !url.startsWith('/ingress/v1/routes/'))).toEqual([]);
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => call('asked', { from: from(n), path: `/${n}` })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    const byCaller = asked.filter((url) => url.startsWith('/ingress/v1/callers/'));
    expect(new Set(byCaller)).toEqual(
      new Set([ALLOWED, OTHER].map((address) => `/ingress/v1/callers/asked.jobs.test/${address}`)),
    );
    // On a machine that takes longer than a second for these, several of them find the answer expired.
    expect(byCaller.length).toBeLessThan(30);
  });

  it.each([
    ['X-Forwarded-For', { 'x-forwarded-for': ALLOWED }],
    ['X-Real-IP', { 'x-real-ip': ALLOWED }],
    ['Forwarded', { forwarded: `for=${ALLOWED}` }],
    ['a header of our own', { 'route-target': '127.0.0.1:1', 'route-limited': '', 'route-refused': '' }],
  ])('is nobody by what it says of itself in %s', async (_, headers) => {
    routes.set('spoofed.jobs.test', { target, allow: [`${ALLOWED}/32`] });
    expect((await call('spoofed', { from: OTHER, headers })).status).toBe(403);
    expect(calls).toBe(0);
  });

  it.each([
    ['203.0.113.7', 200],
    ['203.0.113.8', 403],
    // What a client wrote itself stands before it.
    ['203.0.113.7, 203.0.113.8', 403],
    ['203.0.113.8, 203.0.113.7', 200],
    ['::ffff:203.0.113.7', 200],
    ['::ffff:203.0.113.8', 403],
    ['::203.0.113.7', 503],
    ['2001:db8::1', 200],
    ['2001:DB8:0:0::1', 200],
    ['2001:db9::1', 403],
    // Of no address the last one that counts is the proxy's own.
    ['nonsense', 403],
  ])('is %s where the trusted proxy says so: %i', async (address, status) => {
    routes.set('proxied.jobs.test', { target, allow: ['203.0.113.7/32', '2001:db8::/32'] });
    expect((await call('proxied', { from: PROXY, headers: { 'x-forwarded-for': address } })).status).toBe(status);
    expect(calls).toBe(status === 200 ? 1 : 0);
  });

  it('is decided for hosts of a job’s own, too; the API keeps its host among them, and all others', async () => {
    for (const host of ['own.test', 'a.b.own.test', LONG, 'api.own.test', 'notown.test', 'own.test.example']) {
      routes.set(host, { target, allow: [`${ALLOWED}/32`] });
    }
    for (const host of ['own.test', 'A.b.own.test', LONG]) {
      expect(await call('', { host, from: ALLOWED })).toMatchObject({ status: 200, body: `served ${ALLOWED}` });
      expect((await call('', { host, from: OTHER })).status).toBe(403);
    }
    expect((await call('', { host: 'b.own.test', from: ALLOWED })).status).toBe(404);
    asked.length = 0;
    for (const host of ['api.own.test', 'API.own.test', 'notown.test', 'own.test.example', '127.0.0.1']) {
      expect((await call('', { host, path: '/v1/jobs' })).status).toBe(401);
    }
    expect(new Set(asked)).toEqual(new Set(['/v1/jobs']));
  });

  it('is decided again a second after the list changed, in both directions and for all callers', async () => {
    routes.set('changed.jobs.test', { target, allow: [] });
    expect((await call('changed', { from: OTHER })).status).toBe(200);
    routes.set('changed.jobs.test', { target, allow: [`${ALLOWED}/32`] });
    await until(async () => (await call('changed', { from: OTHER })).status === 403, 3_000);
    expect((await call('changed', { from: ALLOWED })).status).toBe(200);
    routes.set('changed.jobs.test', { target, allow: [`${OTHER}/32`] });
    await until(async () => (await call('changed', { from: ALLOWED })).status === 403, 3_000);
    await until(async () => (await call('changed', { from: OTHER })).status === 200, 3_000);
    routes.set('changed.jobs.test', { target, allow: [] });
    await until(async () => (await call('changed', { from: ALLOWED })).status === 200, 3_000);
  });

  it('is decided before a request waits, and once more when it has waited', async () => {
    routes.set('late.jobs.test', { holds: true, allow: [`${ALLOWED}/32`] });
    holds.set('late.jobs.test', { target, allow: [`${ALLOWED}/32`] });
    expect((await call('late', { from: OTHER })).status).toBe(403);
    expect(asked.filter((url) => url.includes('/holds/'))).toEqual([]);
    expect(await call('late', { from: ALLOWED, body: 'x' })).toMatchObject({ status: 200 });
    expect(asked.at(-1)).toBe(`/ingress/v1/holds/late.jobs.test?not=&from=${ALLOWED}`);
    holds.set('late.jobs.test', { target, allow: ['10.0.0.0/8'] });
    expect((await call('late', { from: ALLOWED })).status).toBe(403);

    // Also where the list came while it waited.
    routes.set('opened.jobs.test', { holds: true, allow: [] });
    holds.set('opened.jobs.test', { target, allow: [`${ALLOWED}/32`] });
    expect([(await call('opened', { from: ALLOWED })).status, (await call('opened', { from: OTHER })).status]).toEqual([
      200, 403,
    ]);
    expect(calls).toBe(2);
  });

  it('is decided again where a target refused the connection', async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    for (const [name, allow] of [
      ['moved', [`${ALLOWED}/32`]],
      ['moving', []],
    ] as const) {
      routes.set(`${name}.jobs.test`, { target: nobody, allow: [...allow] });
      holds.set(`${name}.jobs.test`, { target, allow: [`${ALLOWED}/32`] });
      expect((await call(name, { from: OTHER })).status).toBe(403);
      expect((await call(name, { from: ALLOWED })).status).toBe(200);
    }
    expect(calls).toBe(2);
  });

  it('stays who it was while the API is away, and nobody new gets in', async () => {
    routes.set('kept.jobs.test', { target, allow: ['127.0.0.2/31'] });
    expect((await call('kept', { from: ALLOWED })).status).toBe(200);
    expect((await call('kept', { from: '127.0.0.5' })).status).toBe(403);
    const { port: apiPort } = api.address() as AddressInfo;
    api.closeAllConnections();
    api.close();
    await once(api, 'close');
    try {
      // Its answers are old after a second.
      await new Promise((done) => setTimeout(done, 2_100));
      expect((await call('kept', { from: ALLOWED })).status).toBe(200);
      expect((await call('kept', { from: '127.0.0.5' })).status).toBe(403);
      const unknown = await call('kept', { from: OTHER });
      expect([unknown.status, unknown.headers['retry-after']]).toEqual([503, '2']);
    } finally {
      api = createServer(answerLookups).listen(apiPort, '127.0.0.1');
      await once(api, 'listening');
    }
    await until(async () => (await call('kept', { from: OTHER })).status === 200, 5_000);
  });

  it('is led to the lookup itself by no path, and holds up no other job with very many addresses', async () => {
    routes.set('other.jobs.test', { target, allow: [] });
    routes.set('flooded.jobs.test', { target, allow: ['10.0.0.0/8'] });
    expect((await call('other', { path: '/.scheduler-caller' })).status).toBe(404);
    expect((await call('other')).status).toBe(200);
    const flood = Array.from({ length: 2_000 }, (_, n) => `2001:db8:0:${n.toString(16)}::1`);
    for (let at = 0; at < flood.length; at += 50) {
      const batch = flood.slice(at, at + 50);
      const answers = await Promise.all(
        batch.map((address) => call('flooded', { from: PROXY, headers: { 'x-forwarded-for': address } })),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([403]));
    }
    expect((await call('other')).status).toBe(200);
  }, 60_000);

  function answerLookups({ url = '' }: IncomingMessage, response: ServerResponse): void {
    asked.push(url);
    const [, kind, host = '', address = ''] =
      /^\/ingress\/v1\/(routes|callers|holds)\/([^?/]+)(?:\/([^?]+))?/.exec(url) ?? [];
    const from = kind === 'holds' ? (/[?&]from=([^&]*)/.exec(url)?.[1] ?? '') : address;
    const route = (kind === 'holds' ? holds.get(host) : undefined) ?? routes.get(host);
    const headers: Record<string, string> = {
      'cache-control': kind === 'holds' ? 'no-store' : 'max-age=1, stale-if-error=22',
      ...(route && { 'route-known': 'yes' }),
    };
    // As ingress.schema.ts refuses what is no address.
    if (kind === 'callers' && /^::\d+\./.test(from)) return void response.writeHead(400).end();
    if (route && kind === 'routes' && route.allow.length > 0) headers['route-limited'] = 'yes';
    else if (route && kind !== 'routes' && !mayCall(from, route.allow)) headers['route-refused'] = 'yes';
    else {
      if (route?.holds) headers['route-holds'] = 'yes';
      if (route?.target !== undefined) headers['route-target'] = route.target;
    }
    response.writeHead(headers['route-target'] === undefined ? 401 : 200, headers).end();
  }

  async function call(name: string, { from = '127.0.0.1', headers, body, path = '/', ...other }: From = {}) {
    const host = other.host ?? `${name}.jobs.test:${port}`;
    const sent = request({
      ...{ host: '127.0.0.1', localAddress: from, port, agent: false, path, headers: { host, ...headers } },
      method: body === undefined ? 'GET' : 'POST',
    });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  }
});
