import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingMessage,
  request,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { until } from '../../local/until.ts';
import { hasNginx, Nginx, NO_NGINX } from '../support/nginx.ts';
import { describeWhen } from '../support/when.ts';

const API = 'api.scheduler.test';
const [OLD, NEW] = ['127.0.0.2', '127.0.0.3'] as const;
const LISTED = '127.0.0.4';

/** The stack's nginx on a machine of its own, that of the API's machine, and that of the machine which takes its place. */
describeWhen(hasNginx(), NO_NGINX, 'nginx as an ingress on a machine of its own', () => {
  /** Paths that an API was asked for, with the machine that it is on. */
  const asked: string[] = [];
  const servers: Server[] = [];
  const machines: Nginx[] = [];
  let names: Socket;
  /** Where the API's name leads; null = its server does not answer. */
  let address: string | null = OLD;
  let directory: string;
  let lookupPort: number;
  let port: number;
  let tlsPort: number;
  let ingress: Nginx;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ingress-apart-'));
    lookupPort = await freePort();
    for (const at of [OLD, NEW]) {
      const job = await listen(({ headers }, response) =>
        response.end(`${at} ${String(headers['x-forwarded-proto'])}`),
      );
      const apiPort = await listen(answerLookups(at, `127.0.0.1:${job}`));
      const machine = new Nginx({
        ...{ directory: join(directory, at), port: await freePort(), apiPorts: [apiPort] },
        ...{ jobsUrl: 'http://jobs.test', lookupsAt: `${at}:${lookupPort}` },
      });
      await machine.start();
      machines.push(machine);
    }
    names = createSocket('udp4', (query, { port: from }) => {
      if (address !== null) names.send(answerName(query, address), from, '127.0.0.1');
    });
    names.bind(0, '127.0.0.1');
    await once(names, 'listening');
    [port, tlsPort] = [await freePort(), await freePort()];
    ingress = new Nginx({
      ...{ directory: join(directory, 'ingress'), port, apiPorts: [], jobsUrl: 'https://jobs.test' },
      ...{ apiHost: 'api.own.test', jobsHosts: ['own.test'] },
      apart: {
        ...{ apiName: API, resolver: `127.0.0.1:${names.address().port}`, lookupPort },
        ...{ tlsPort, ownPort: await freePort() },
      },
    });
    await ingress.start();
  }, 30_000);
  afterAll(async () => {
    for (const machine of [ingress, ...machines]) await machine.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    names.close();
    await rm(directory, { recursive: true, force: true });
  });

  it('leads callers to jobs by what the API’s machine says, and tells jobs which came by TLS', async () => {
    expect(await call('web.jobs.test')).toEqual({ status: 200, body: `${OLD} http` });
    expect(await call('shop.own.test', { port: tlsPort })).toEqual({ status: 200, body: `${OLD} https` });
    // Nothing that a caller says makes it so.
    const headers = { 'x-forwarded-proto': 'https' };
    expect(await call('web.jobs.test', { headers })).toEqual({ status: 200, body: `${OLD} http` });
  });

  it('asks for the address of a caller where the job has a list', async () => {
    expect(await call('listed.jobs.test', { localAddress: LISTED })).toEqual({ status: 200, body: `${OLD} http` });
    const refused = await call('listed.jobs.test', { localAddress: '127.0.0.5' });
    expect([refused.status, refused.body]).toEqual([403, expect.stringContaining('127.0.0.5')]);
    expect(asked).toContain(`${OLD} /ingress/v1/callers/listed.jobs.test/${LISTED}`);
  });

  it('lets a request wait at the API where something is on its way', async () => {
    expect(await call('held.jobs.test')).toEqual({ status: 200, body: `${OLD} http` });
    expect(asked).toContain(`${OLD} /ingress/v1/holds/held.jobs.test?not=&from=127.0.0.1`);
  });

  it('serves nothing else', async () => {
    asked.length = 0;
    for (const host of ['api.own.test', '203.0.113.20', 'jobs.test', API]) {
      for (const path of ['/', '/v1/jobs', '/agent/v1/orders', '/metrics', '/ingress/v1/routes/web.jobs.test']) {
        for (const to of [port, tlsPort]) expect((await call(host, { path, port: to })).status).toBe(421);
      }
    }
    expect(await call('203.0.113.20', { path: '/health/live' })).toMatchObject({ status: 200 });
    // Whatever nginx has for itself is a job's own path.
    expect((await call('none.jobs.test', { path: '/health/live' })).status).toBe(404);
    expect(asked.map((one) => one.split(' ')[1])).toEqual(['/ingress/v1/routes/none.jobs.test']);
  });

  it('finds at the API’s machine nothing but lookups', async () => {
    asked.length = 0;
    for (const path of ['/', '/v1/jobs', '/agent/v1/orders', '/metrics', '/health/live', '/ingress/', '/docs']) {
      expect((await call('scheduler', { path, host: OLD, port: lookupPort })).status).toBe(404);
    }
    const twofold = '/ingress/v1/routes/..%2f..%2f..%2fv1/jobs';
    expect((await call('scheduler', { path: twofold, host: OLD, port: lookupPort })).status).toBe(400);
    expect(asked).toEqual([]);
  });

  describe('while the API’s machine is replaced', () => {
    it('goes by the last answers, and knows no other host', async () => {
      expect((await call('web.jobs.test')).status).toBe(200);
      await machines[0]?.stop();
      // No answer is younger than a second any more.
      await new Promise((done) => setTimeout(done, 2_100));
      expect(await call('web.jobs.test')).toEqual({ status: 200, body: `${OLD} http` });
      expect(await call('shop.own.test')).toEqual({ status: 200, body: `${OLD} http` });
      expect((await call('new.jobs.test')).status).toBe(503);
      expect((await call('203.0.113.20', { path: '/health/live' })).status).toBe(200);
    });

    it('goes by them also where nobody answers for the name', async () => {
      address = null;
      await new Promise((done) => setTimeout(done, 6_000));
      expect(await call('web.jobs.test')).toEqual({ status: 200, body: `${OLD} http` });
      address = OLD;
    }, 15_000);

    it('asks the next one as soon as the name leads there, by the same process', async () => {
      address = NEW;
      await until(async () => (await call('web.jobs.test')).body === `${NEW} http`, 10_000);
      expect((await call('new.jobs.test')).body).toBe(`${NEW} http`);
    }, 15_000);
  });

  function answerLookups(at: string, target: string) {
    return ({ url = '' }: IncomingMessage, response: ServerResponse): void => {
      asked.push(`${at} ${url}`);
      const [, kind, host = '', caller] = /^\/ingress\/v1\/(routes|callers|holds)\/([^/?]+)\/?([^?]*)/.exec(url) ?? [];
      response.setHeader('cache-control', kind === 'holds' ? 'no-store' : 'max-age=1, stale-if-error=60');
      if (host.startsWith('none.') || kind === undefined) return void response.writeHead(401).end();
      response.setHeader('route-known', 'yes');
      const isLed = kind === 'holds' || !(host.startsWith('held.') || host.startsWith('listed.')) || caller === LISTED;
      if (host.startsWith('held.')) response.setHeader('route-holds', 'yes');
      if (host.startsWith('listed.') && kind === 'routes') response.setHeader('route-limited', 'yes');
      if (host.startsWith('listed.') && kind === 'callers' && !isLed) response.setHeader('route-refused', 'yes');
      if (isLed) response.setHeader('route-target', target);
      response.writeHead(isLed ? 200 : 401).end();
    };
  }

  async function listen(handler: RequestListener): Promise<number> {
    const server = createServer(handler).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  type Call = {
    path?: string;
    host?: string;
    port?: number;
    localAddress?: string;
    headers?: Record<string, string>;
  };

  async function call(name: string, { headers, ...options }: Call = {}) {
    const sent = request({
      host: '127.0.0.1',
      port,
      agent: false,
      ...options,
      headers: { host: name, ...headers },
    }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await text(response) };
  }
});

/** One address for whatever name is asked for, for five seconds. */
function answerName(query: Buffer, address: string): Buffer {
  // After the name, which ends with an empty label: type and class.
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const header = Buffer.from([...query.subarray(0, 2), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
  const answer = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...address.split('.').map(Number)];
  return Buffer.concat([header, question, Buffer.from(answer)]);
}
