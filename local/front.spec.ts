import { createServer, get, request, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startFront, type Front } from './front.ts';
import { itWhen } from '../test/support/when.ts';
import { freePort } from './ports.ts';

const DOMAINS = { domain: 'localhost', privateDomain: 'jobs.internal', hostDomains: ['test'] };

describe('the front of API and jobs', () => {
  const servers: Server[] = [];
  /** What the API says of hosts. */
  const routes = new Map<string, { status: number; target?: string; isRefused?: boolean }>();
  const asked: string[] = [];
  /** Whom the API was asked about, last. */
  let caller: string | undefined;
  let port: number;
  let apiUrl: string;
  let front: Front;

  beforeEach(async () => {
    routes.clear();
    asked.length = 0;
    const api = await listen((incoming, body) => {
      const [, host, from] = /^\/ingress\/v1\/holds\/(.+)\?from=(.*)$/.exec(incoming.url ?? '') ?? [];
      if (host === undefined) return { status: 200, body: `api ${incoming.method} ${incoming.url} ${body}` };
      asked.push(host);
      caller = from;
      const route = routes.get(host);
      const headers = {
        'route-known': 'yes',
        ...(route?.target !== undefined && { 'route-target': route.target }),
        ...(route?.isRefused && { 'route-refused': 'yes' }),
      };
      return route ? { status: route.status, headers } : { status: 401 };
    });
    port = await freePort();
    apiUrl = `http://127.0.0.1:${api}`;
    front = await startFront({ port, apiUrl, ...DOMAINS });
  });
  afterEach(async () => {
    await front.stop();
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  it('passes requests of the API on as they are, and asks for no route', async () => {
    expect(await call({ host: `127.0.0.1:${port}`, path: '/v1/jobs?limit=2' })).toEqual([
      200,
      'api GET /v1/jobs?limit=2 ',
    ]);
    expect(await call({ host: `localhost:${port}`, path: '/v1/jobs', body: '{}' })).toEqual([
      200,
      'api POST /v1/jobs {}',
    ]);
    expect(asked).toEqual([]);
  });

  it('leads the host of a job to its container, with the path, the body and the host of the caller', async () => {
    const container = await listen(({ headers, method, url }, body) => ({
      status: 500,
      body: `${method} ${url} ${headers.host} ${String(headers['x-forwarded-host'])} ${body}`,
    }));
    routes.set('web.localhost', { status: 200, target: `127.0.0.1:${container}` });
    const host = `web.localhost:${port}`;
    expect(await call({ host, path: '/a%2fb?c' })).toEqual([500, `GET /a%2fb?c ${host} ${host} `]);
    // Another writing of the same name, and the path of our own API.
    expect(await call({ host: 'WEB.localhost.', path: '/v1/jobs', body: 'x' })).toEqual([
      500,
      'POST /v1/jobs WEB.localhost. WEB.localhost. x',
    ]);
    expect(asked).toEqual(['web.localhost', 'web.localhost']);
  });

  it('asks again for each request: the next one gets to the next container', async () => {
    const [blue, green] = [
      await listen(() => ({ status: 200, body: 'blue' })),
      await listen(() => ({ status: 200, body: 'green' })),
    ];
    const host = 'web.localhost';
    routes.set(host, { status: 200, target: `127.0.0.1:${blue}` });
    expect(await call({ host, path: '/' })).toEqual([200, 'blue']);
    routes.set(host, { status: 200, target: `127.0.0.1:${green}` });
    expect(await call({ host, path: '/' })).toEqual([200, 'green']);
  });

  it('says that nothing serves where no route leads, or nobody listens where it leads', async () => {
    expect(await call({ host: 'none.localhost', path: '/' })).toEqual([404, expect.stringContaining('"status":404')]);
    routes.set('stopped.localhost', { status: 401 });
    expect(await call({ host: 'stopped.localhost', path: '/' })).toEqual([
      503,
      expect.stringContaining('"status":503'),
    ]);
    routes.set('gone.localhost', { status: 200, target: `127.0.0.1:${await freePort()}` });
    expect(await call({ host: 'gone.localhost', path: '/' })).toEqual([503, expect.stringContaining('"status":503')]);
  });

  it('leads hosts of a job’s own there, and to the API what only looks like one', async () => {
    const container = await listen(() => ({ status: 200, body: 'job' }));
    for (const host of ['shop.test', 'test']) routes.set(host, { status: 200, target: `127.0.0.1:${container}` });
    expect(await call({ host: 'SHOP.test:80', path: '/' })).toEqual([200, 'job']);
    expect(await call({ host: 'test', path: '/' })).toEqual([200, 'job']);
    expect(await call({ host: 'contest', path: '/' })).toEqual([200, 'api GET / ']);
    expect(await call({ host: 'test.example', path: '/' })).toEqual([200, 'api GET / ']);
  });

  it('leads the names by which jobs call each other there, too', async () => {
    const container = await listen(({ headers }) => ({ status: 200, body: `job ${headers.host}` }));
    routes.set('web.jobs.internal', { status: 200, target: `127.0.0.1:${container}` });
    const host = `WEB.jobs.internal:${port}`;
    expect(await call({ host, path: '/' })).toEqual([200, `job ${host}`]);
    expect(await call({ host: 'other.jobs.internal', path: '/' })).toEqual([404, expect.any(String)]);
    expect(await call({ host: 'jobs.internal.example', path: '/' })).toEqual([200, 'api GET / ']);
  });

  // macOS has one address of loopback.
  const hasAddresses = process.platform === 'linux';
  itWhen(
    hasAddresses,
    'needs Linux',
    'has a door for containers, which leads to jobs alone, by these names',
    async () => {
      const container = await listen(() => ({ status: 200, body: 'job' }));
      for (const host of ['web.jobs.internal', 'web.localhost', 'shop.test'])
        routes.set(host, { status: 200, target: `127.0.0.1:${container}` });
      const address = '127.0.0.2';
      const own = { port: await freePort(), apiUrl, ...DOMAINS };
      const withDoor = await startFront({ ...own, bridge: { address, subnet: '127.0.0.0/8' } });
      try {
        const at = { address, port: own.port, path: '/v1/jobs' };
        expect(await call({ ...at, host: 'web.jobs.internal' })).toEqual([200, 'job']);
        for (const host of [
          'web.localhost',
          'shop.test',
          'localhost',
          '127.0.0.1',
          address,
          'scheduler',
          'other.jobs.internal',
        ])
          expect([host, await call({ ...at, host })]).toEqual([
            host,
            [404, expect.stringContaining('No job has this address')],
          ]);
        const upgrade = get({
          ...{ host: address, port: own.port, agent: false },
          headers: { host: 'localhost', connection: 'upgrade', upgrade: 'websocket' },
        });
        expect(((await once(upgrade, 'error')) as [Error])[0].message).toBe('socket hang up');
        // The other door is as it was.
        expect(await call({ port: own.port, host: 'web.localhost', path: '/' })).toEqual([200, 'job']);
        expect(await call({ port: own.port, host: 'localhost', path: '/' })).toEqual([200, 'api GET / ']);
      } finally {
        await withDoor.stop();
      }
      // Who is not in the containers' network gets no answer.
      const closed = await startFront({ ...own, bridge: { address, subnet: '172.17.0.0/16' } });
      const sent = call({ address, port: own.port, host: 'web.jobs.internal', path: '/' });
      await expect(sent).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up/);
      await closed.stop();
    },
  );

  it('says who calls, whatever callers say of themselves, and refuses who may not', async () => {
    routes.set('closed.localhost', { status: 401, isRefused: true });
    const [status, body] = await call({
      host: 'closed.localhost',
      path: '/',
      headers: { 'x-forwarded-for': '10.0.0.1', forwarded: 'for=10.0.0.1' },
    });
    expect([status, JSON.parse(body), caller]).toEqual([403, { status: 403, detail: expect.any(String) }, '127.0.0.1']);
  });

  it('carries a WebSocket both ways, and closes one that leads nowhere', async () => {
    const container = createServer();
    container.on('upgrade', (incoming: IncomingMessage, socket: Socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
      socket.pipe(socket);
    });
    servers.push(container.listen(0, '127.0.0.1'));
    await once(container, 'listening');
    routes.set('web.localhost', { status: 200, target: `127.0.0.1:${(container.address() as AddressInfo).port}` });
    const upgrade = (host: string) =>
      get({ host: '127.0.0.1', port, agent: false, headers: { host, connection: 'upgrade', upgrade: 'websocket' } });

    const [, socket] = (await once(upgrade('web.localhost'), 'upgrade')) as [IncomingMessage, Socket];
    socket.write('ping');
    expect(String((await once(socket, 'data'))[0])).toBe('ping');
    socket.destroy();

    const [error] = (await once(upgrade('none.localhost'), 'error')) as [Error];
    expect(error.message).toBe('socket hang up');
  });

  it('outlives a caller who hangs up while it asks where a WebSocket leads', async () => {
    const isAsked = Promise.withResolvers<null>();
    const mayAnswer = Promise.withResolvers<null>();
    const slowApi = createServer((_incoming, response) => {
      isAsked.resolve(null);
      void mayAnswer.promise.then(() => response.writeHead(401).end());
    });
    servers.push(slowApi.listen(0, '127.0.0.1'));
    await once(slowApi, 'listening');
    const ownPort = await freePort();
    const slowApiUrl = `http://127.0.0.1:${(slowApi.address() as AddressInfo).port}`;
    const slowly = await startFront({ port: ownPort, apiUrl: slowApiUrl, ...DOMAINS });
    try {
      const caller = connect(ownPort, '127.0.0.1');
      caller.write('GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
      await isAsked.promise;
      caller.resetAndDestroy();
      await once(caller, 'close');
      mayAnswer.resolve(null);
      expect(await call({ port: ownPort, host: 'web.localhost', path: '/' })).toEqual([404, expect.any(String)]);
    } finally {
      await slowly.stop();
    }
  });

  it('ends the request at the container when its caller goes', async () => {
    const gone = Promise.withResolvers<string>();
    const container = createServer((incoming, response) => {
      response.write('first');
      response.once('close', () => gone.resolve('closed'));
    });
    servers.push(container.listen(0, '127.0.0.1'));
    await once(container, 'listening');
    routes.set('web.localhost', { status: 200, target: `127.0.0.1:${(container.address() as AddressInfo).port}` });
    const sent = get({ host: '127.0.0.1', port, agent: false, headers: { host: 'web.localhost' } });
    sent.on('error', () => undefined);
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    expect(String((await once(answer, 'data'))[0])).toBe('first');
    answer.on('error', () => undefined);
    sent.destroy();
    expect(await gone.promise).toBe('closed');
  });

  type Answer = { status: number; body?: string; headers?: Record<string, string> };

  async function listen(answer: (incoming: IncomingMessage, body: string) => Answer): Promise<number> {
    const server = createServer((incoming, response) => {
      void text(incoming).then((body) => {
        const { status, headers, body: sent } = answer(incoming, body);
        response.writeHead(status, headers).end(sent);
      });
    });
    servers.push(server.listen(0, '127.0.0.1'));
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  type Call = {
    /** Of the front, where it is another one. */
    address?: string;
    port?: number;
    host: string;
    path: string;
    body?: string;
    headers?: Record<string, string>;
  };

  async function call({ address = '127.0.0.1', host, path, body, headers, ...at }: Call): Promise<[number, string]> {
    const method = body === undefined ? 'GET' : 'POST';
    const options = { host: address, port, path, method, agent: false as const, headers: { host, ...headers }, ...at };
    const sent = request(options);
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return [response.statusCode ?? 0, await text(response)];
  }
});
