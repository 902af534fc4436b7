import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingMessage,
  request,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server as TcpServer,
  type Socket,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { until } from '../../local/until.ts';
import { hasNginx, Nginx, NO_NGINX } from '../support/nginx.ts';
import { describeWhen } from '../support/when.ts';

type Lookup = { status: number; target?: string; holds?: boolean };
type Handler = (incoming: IncomingMessage, response: ServerResponse) => void;

const DOMAIN = 'jobs.test';

/** The stack's nginx.conf in a real nginx, between callers, an API that says where hosts lead, and containers. */
describeWhen(hasNginx(), NO_NGINX, 'nginx as the jobs’ ingress', () => {
  const servers: (Server | TcpServer)[] = [];
  const routes = new Map<string, Lookup>();
  /** What a request that waits is answered; without one it is what `routes` says. */
  const holds = new Map<string, () => Promise<Lookup>>();
  const asked: { url: string; headers: IncomingMessage['headers'] }[] = [];
  let directory: string;
  let port: number;
  let api: Server;
  let nginx: Nginx;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ingress-'));
    port = await freePort();
    const apiPort = await freePort();
    api = createServer(answerLookups).listen(apiPort, '127.0.0.1');
    await once(api, 'listening');
    nginx = new Nginx({ directory, port, apiPorts: [apiPort], jobsUrl: `http://${DOMAIN}:${port}` });
    await nginx.start();
  }, 30_000);
  afterAll(async () => {
    await nginx.stop();
    api.closeAllConnections();
    api.close();
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(() => {
    asked.length = 0;
  });
  afterEach(() => {
    for (const server of servers.splice(0)) {
      if ('closeAllConnections' in server) server.closeAllConnections();
      server.close();
    }
  });

  it('leads a host to its job with all of the request, and shows the API nothing of it', async () => {
    const job = await listen((incoming, response) => {
      void text(incoming).then((body) => {
        response.writeHead(201, { 'x-own': 'yes' });
        response.end(JSON.stringify({ method: incoming.method, url: incoming.url, headers: incoming.headers, body }));
      });
    });
    routes.set('whole.jobs.test', { status: 200, target: job });
    const spoofed = { 'x-forwarded-for': '6.6.6.6', 'x-real-ip': '6.6.6.6', forwarded: 'for=6.6.6.6' };
    const answer = await call('whole', {
      method: 'PUT',
      path: '/a%2fb/../c?d=%20',
      headers: { cookie: 'a=b', authorization: 'Bearer theirs', 'x-request-id': 'r-1', ...spoofed },
      body: 'hello',
    });
    expect([answer.status, answer.headers['x-own']]).toEqual([201, 'yes']);
    const seen = JSON.parse(answer.body) as { method: string; url: string; headers: object; body: string };
    expect(seen).toMatchObject({ method: 'PUT', url: '/a%2fb/../c?d=%20', body: 'hello' });
    expect(seen.headers).toMatchObject({
      ...{ host: `whole.jobs.test:${port}`, cookie: 'a=b', authorization: 'Bearer theirs', 'x-request-id': 'r-1' },
      ...{ 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1', 'x-forwarded-proto': 'http' },
    });
    expect(seen.headers).not.toHaveProperty('forwarded');
    expect(asked).toEqual([{ url: '/ingress/v1/routes/whole.jobs.test', headers: { host: 'scheduler' } }]);
  });

  it('asks once a second and host, and goes by the next answer after that', async () => {
    const [blue, green] = [await listen(says('blue')), await listen(says('green'))];
    routes.set('often.jobs.test', { status: 200, target: blue });
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => call('often', { path: `/${n}` })));
    expect(new Set(answers.map(({ body }) => body))).toEqual(new Set(['blue']));
    // On a machine that takes longer than a second for these, several of them find the answer expired.
    expect(asked.length).toBeLessThan(30);
    routes.set('often.jobs.test', { status: 200, target: green });
    await until(async () => (await call('often')).body === 'green', 3_000);
  });

  it.each([200, 301, 401, 403, 404, 429, 500, 502, 503, 504])('passes a job’s own %i on untouched', async (status) => {
    const job = await listen((_, response) => response.writeHead(status, { 'x-own': 'yes' }).end('its own words'));
    routes.set(`own${status}.jobs.test`, { status: 200, target: job });
    const { status: seen, headers, body } = await call(`own${status}`);
    expect([seen, headers['x-own'], body]).toEqual([status, 'yes', 'its own words']);
    expect(asked).toHaveLength(1);
  });

  it('says of a host that is none that it is not there, and asks no more often for many who call it', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => call('nobody', { path: `/${n}` })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]));
    expect(JSON.parse(answers[0]!.body)).toMatchObject({
      status: 404,
      detail: 'No job has the address nobody.jobs.test.',
    });
    expect(answers[0]!.headers['retry-after']).toBeUndefined();
    expect(asked.filter(({ url }) => url.includes('/holds/'))).toEqual([]);
    expect(asked.length).toBeLessThan(10);
    // Whatever it sends with it is read and kept nowhere.
    expect((await call('nobody', { method: 'POST', body: 'x'.repeat(5 << 20) })).status).toBe(404);
    expect(readdirSync(join(directory, 'client_body'))).toEqual([]);
  });

  it('leads nowhere a second after the API said so, and waits when it says that something is on its way', async () => {
    const job = await listen(says('served'));
    routes.set('ended.jobs.test', { status: 200, target: job });
    expect((await call('ended')).body).toBe('served');
    routes.set('ended.jobs.test', { status: 401 });
    await until(async () => (await call('ended')).status === 503, 5_000);
    routes.set('ended.jobs.test', { status: 401, holds: true });
    holds.set('ended.jobs.test', () => Promise.resolve({ status: 200, target: job }));
    await until(async () => (await call('ended')).body === 'served', 5_000);
  });

  it('lets a request wait where something is on its way, body and all, and passes it on', async () => {
    const job = await listen((incoming, response) => void text(incoming).then((body) => response.end(`got ${body}`)));
    routes.set('late.jobs.test', { status: 401, holds: true });
    const served = Promise.withResolvers<Lookup>();
    holds.set('late.jobs.test', () => served.promise);
    const calling = call('late', { method: 'POST', body: 'x'.repeat(100_000) });
    await until(() => asked.some(({ url }) => url === '/ingress/v1/holds/late.jobs.test?not=&from=127.0.0.1'));
    served.resolve({ status: 200, target: job });
    expect(await calling).toMatchObject({ status: 200, body: `got ${'x'.repeat(100_000)}` });

    holds.set('late.jobs.test', () => Promise.resolve({ status: 401 }));
    expect(await call('late')).toMatchObject({ status: 503, headers: { 'retry-after': '2' } });
  });

  it('sends a request again that a port refused, if it has no body; what may have been done is not done twice', async () => {
    const job = await listen((incoming, response) => void text(incoming).then((body) => response.end(`got ${body}`)));
    routes.set('moved.jobs.test', { status: 200, target: `127.0.0.1:${await freePort()}` });
    holds.set('moved.jobs.test', () => Promise.resolve({ status: 200, target: job }));
    expect(await call('moved')).toMatchObject({ status: 200, body: 'got ' });
    expect(await call('moved', { method: 'DELETE' })).toMatchObject({ status: 200 });
    expect(await call('moved', { method: 'POST', body: 'x' })).toMatchObject({
      status: 503,
      headers: { 'retry-after': '2', 'content-type': 'application/problem+json' },
    });

    let connections = 0;
    const breaking = await listenTcp((socket) => {
      connections += 1;
      socket.once('data', () => socket.destroy());
    });
    routes.set('breaking.jobs.test', { status: 200, target: breaking });
    holds.set('moved.jobs.test', () => Promise.resolve({ status: 200, target: breaking }));
    expect([(await call('moved')).status, connections]).toEqual([502, 1]);
    expect(asked.at(-1)?.url).toMatch(
      /^\/ingress\/v1\/holds\/moved\.jobs\.test\?not=127\.0\.0\.1:\d+&from=127\.0\.0\.1$/,
    );
    connections = 0;
    holds.set('breaking.jobs.test', () => Promise.resolve({ status: 200, target: job }));
    const broken = await call('breaking');
    expect([broken.status, JSON.parse(broken.body)]).toMatchObject([502, { status: 502 }]);
    expect([connections, asked.some(({ url }) => url.includes('holds/breaking'))]).toEqual([1, false]);
  });

  it('goes by the last answer while the API is away, and knows no other host then', async () => {
    const job = await listen(says('served'));
    routes.set('kept.jobs.test', { status: 200, target: job });
    expect((await call('kept')).body).toBe('served');
    const { port: apiPort } = api.address() as AddressInfo;
    api.closeAllConnections();
    api.close();
    await once(api, 'close');
    try {
      // Its answer is old after a second.
      await new Promise((done) => setTimeout(done, 2_100));
      expect(await call('kept')).toMatchObject({ status: 200, body: 'served' });
      const unknown = await call('unknown');
      expect([unknown.status, unknown.headers['retry-after']]).toEqual([503, '2']);
      expect(JSON.parse(unknown.body)).toMatchObject({ status: 503, type: '/problems/unavailable' });
    } finally {
      api = createServer(answerLookups).listen(apiPort, '127.0.0.1');
      await once(api, 'listening');
    }
    await until(async () => (await call('unknown')).status === 404, 5_000);
  });

  it('goes by the last answer while the API has none but errors', async () => {
    const job = await listen(says('served'));
    routes.set('failing.jobs.test', { status: 200, target: job });
    expect((await call('failing')).body).toBe('served');
    for (const status of [500, 503]) {
      routes.set('failing.jobs.test', { status });
      asked.length = 0;
      // nginx counts in whole seconds: an answer may be gone by for almost two.
      await until(async () => {
        expect(await call('failing')).toMatchObject({ status: 200, body: 'served' });
        return asked.length > 0;
      });
    }
  });

  it('carries WebSockets both ways, and bodies larger than the API takes', async () => {
    const echo = createServer();
    echo.on('upgrade', (incoming: IncomingMessage, socket: Socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: ${incoming.headers.upgrade}\r\nconnection: upgrade\r\n\r\n`,
      );
      socket.pipe(socket);
    });
    echo.on('request', (incoming: IncomingMessage, response: ServerResponse) => {
      void buffer(incoming).then((body) => response.end(String(body.length)));
    });
    servers.push(echo.listen(0, '127.0.0.1'));
    await once(echo, 'listening');
    routes.set('socket.jobs.test', { status: 200, target: `127.0.0.1:${(echo.address() as AddressInfo).port}` });
    const headers = { host: 'socket.jobs.test', connection: 'upgrade', upgrade: 'websocket' };
    const sent = request({ host: '127.0.0.1', port, headers, agent: false }).end();
    const [, socket] = (await once(sent, 'upgrade')) as [IncomingMessage, Socket];
    socket.write('ping');
    expect(String((await once(socket, 'data'))[0])).toBe('ping');
    socket.destroy();

    const large = await call('socket', { method: 'POST', body: 'x'.repeat(5 << 20) });
    expect(large).toMatchObject({ status: 200, body: String(5 << 20) });
  });

  it('refuses a request that names two hosts, and leads nobody to the lookup itself', async () => {
    routes.set('one.jobs.test', { status: 200, target: await listen(says('one')) });
    expect(await raw('GET http://one.jobs.test/ HTTP/1.1\r\nHost: two.jobs.test\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 400 /,
    );
    expect(await raw('GET / HTTP/1.1\r\nHost: ONE.jobs.test.:80\r\nConnection: close\r\n\r\n')).toMatch(
      /\r\n\r\n.*one/s,
    );
    expect((await call('one', { path: '/.scheduler-route' })).status).toBe(404);
    expect((await call('one', { path: '/.scheduler-hold' })).status).toBe(404);
    asked.length = 0;
    const sent = request({ host: '127.0.0.1', port, path: '/ingress/v1/routes/one.jobs.test', agent: false }).end();
    const [outside] = (await once(sent, 'response')) as [IncomingMessage];
    outside.resume();
    expect(asked.map(({ url }) => url)).not.toContain('/ingress/v1/routes/one.jobs.test');
    expect(outside.statusCode).toBe(404);
  });

  function answerLookups({ url = '', headers }: IncomingMessage, response: ServerResponse): void {
    asked.push({ url, headers });
    const [, kind, host = ''] = /^\/ingress\/v1\/(routes|holds)\/([^?]+)/.exec(url) ?? [];
    const route = routes.get(host) ?? { status: 401 };
    const answer = kind === 'holds' ? (holds.get(host)?.() ?? Promise.resolve(route)) : Promise.resolve(route);
    void answer.then(({ status, target, holds: isHeld }) => {
      response.setHeader('cache-control', kind === 'holds' ? 'no-store' : 'max-age=1, stale-if-error=22');
      if (target !== undefined) response.setHeader('route-target', target);
      if (routes.has(host)) response.setHeader('route-known', 'yes');
      if (isHeld) response.setHeader('route-holds', 'yes');
      response.writeHead(kind === undefined ? 404 : status).end();
    });
  }

  async function listen(handler: Handler): Promise<string> {
    const server = createServer(handler).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async function listenTcp(onConnection: (socket: Socket) => void): Promise<string> {
    const server = createTcpServer(onConnection).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  type Call = Pick<RequestOptions, 'method' | 'path'> & { headers?: Record<string, string>; body?: string };

  async function call(name: string, { body, headers, ...options }: Call = {}) {
    const host = `${name}.${DOMAIN}:${port}`;
    const sent = request({ host: '127.0.0.1', port, agent: false, ...options, headers: { host, ...headers } });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  }

  async function raw(lines: string): Promise<string> {
    const socket = connect({ host: '127.0.0.1', port });
    socket.write(lines);
    return await text(socket);
  }
});

function says(words: string): Handler {
  return (_, response) => void response.end(words);
}
