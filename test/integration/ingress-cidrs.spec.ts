import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '../../local/ports.ts';
import { hasNginx, Nginx, NO_NGINX, type NginxOptions } from '../support/nginx.ts';
import { describeWhen } from '../support/when.ts';

// Who a caller is, is its address: all of these are this machine's.
const OPERATOR = '127.0.0.2';
const CUSTOMER = '127.0.0.3';
const BALANCER = '127.0.0.4';
const STRANGER = '127.0.0.5';

type Asking = { from: string; /** Default: 80. */ port?: number; path?: string; headers?: Record<string, string> };

/** The stack's nginx.conf in a real nginx: who may call the API (ALLOWED_CIDRS), and who jobs (INGRESS_CIDRS). */
describeWhen(hasNginx(), NO_NGINX, 'who may call, as nginx sees it', () => {
  const asked: string[] = [];
  let api: Server;
  let job: Server;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ingress-cidrs-'));
    job = createServer((_, response) => response.end('the job')).listen(0, '127.0.0.1');
    api = createServer(answer).listen(0, '127.0.0.1');
    await Promise.all([once(job, 'listening'), once(api, 'listening')]);
  });
  afterAll(async () => {
    for (const server of [api, job]) {
      server.closeAllConnections();
      server.close();
    }
    await rm(directory, { recursive: true, force: true });
  });

  describe('with a list for each', () => {
    const ask = started(() => ({ allowedCidrs: `${OPERATOR}/32, 10.0.0.0/8`, ingressCidrs: `${CUSTOMER}/32` }));

    it('lets a caller of jobs reach jobs, and not the API', async () => {
      expect(await ask.job({ from: CUSTOMER })).toMatchObject({ status: 200, body: 'the job' });
      for (const path of ['/', '/v1/jobs', '/v1/events', '/v1/jobs/web/logs', '/docs', '/metrics', '/nowhere']) {
        expectRefused(await ask.api({ from: CUSTOMER, path }), 'This address may not call the API.');
      }
      expect(asked.filter((url) => !url.startsWith('/ingress/'))).toEqual([]);
    });

    it('lets a caller of the API reach the API, and not jobs', async () => {
      for (const path of ['/', '/v1/events', '/metrics']) {
        expect(await ask.api({ from: OPERATOR, path })).toMatchObject({ status: 200, body: 'the API' });
      }
      asked.length = 0;
      expectRefused(await ask.job({ from: OPERATOR }), 'This address may not call jobs.');
      // Also of a host that is none, and the API is asked nothing.
      expectRefused(await ask.job({ from: OPERATOR, headers: { host: 'none.jobs.test' } }), 'may not call jobs');
      expect(asked).toEqual([]);
    });

    it('lets everybody else reach neither, by whatever host', async () => {
      expectRefused(await ask.api({ from: STRANGER }), 'may not call the API');
      expectRefused(await ask.job({ from: STRANGER }), 'may not call jobs');
      for (const host of ['jobs.test', 'a.b.jobs.test.example.com', '127.0.0.1', 'scheduler']) {
        expectRefused(await ask.api({ from: CUSTOMER, headers: { host } }), 'may not call the API');
      }
    });

    it('goes by no X-Forwarded-For: there is no proxy before it', async () => {
      const headers = { 'x-forwarded-for': OPERATOR, 'x-real-ip': OPERATOR, forwarded: `for=${OPERATOR}` };
      expectRefused(await ask.api({ from: STRANGER, headers }), 'may not call the API');
      expectRefused(await ask.job({ from: STRANGER, headers: { 'x-forwarded-for': CUSTOMER } }), 'may not call jobs');
    });

    it('lets agents and probes of the network through, whoever may call', async () => {
      for (const path of ['/agent/v1/orders', '/agent/v1/orders/1/logs', '/health/ready', '/health/live']) {
        expect(await ask.api({ from: STRANGER, path })).toMatchObject({ status: 200, body: 'the API' });
      }
    });
  });

  describe('behind a balancer', () => {
    const ask = started(() => ({
      ...{ allowedCidrs: '203.0.113.7/32,2001:db8::/32', ingressCidrs: '198.51.100.0/24', trustedProxy: BALANCER },
    }));
    const from = BALANCER;
    const forwarded = (...addresses: string[]) => ({ 'x-forwarded-for': addresses.join(', ') });

    it('goes by the address that the balancer saw', async () => {
      expect(await ask.api({ from, headers: forwarded('203.0.113.7') })).toMatchObject({ status: 200 });
      expect(await ask.api({ from, headers: forwarded('2001:db8::7') })).toMatchObject({ status: 200 });
      expectRefused(await ask.job({ from, headers: forwarded('203.0.113.7') }), 'may not call jobs');
      expect(await ask.job({ from, headers: forwarded('198.51.100.9') })).toMatchObject({ status: 200 });
      expectRefused(await ask.api({ from, headers: forwarded('198.51.100.9') }), 'may not call the API');
      expectRefused(await ask.api({ from, headers: forwarded('192.0.2.1') }), 'may not call the API');
    });

    it('goes by the last address of several, as callers can make up the others', async () => {
      expectRefused(await ask.api({ from, headers: forwarded('203.0.113.7', '192.0.2.1') }), 'may not call the API');
      expectRefused(await ask.job({ from, headers: forwarded('198.51.100.9', '192.0.2.1') }), 'may not call jobs');
      expect(await ask.job({ from, headers: forwarded('192.0.2.1', '198.51.100.9') })).toMatchObject({ status: 200 });
    });

    it('does not go by what another than the balancer says', async () => {
      expectRefused(await ask.api({ from: STRANGER, headers: forwarded('203.0.113.7') }), 'may not call the API');
      expectRefused(await ask.job({ from: STRANGER, headers: forwarded('198.51.100.9') }), 'may not call jobs');
    });

    it('lets the balancer’s own probes through, and no other’s', async () => {
      expect(await ask.api({ from, path: '/health/ready' })).toMatchObject({ status: 200, body: 'the API' });
      const outside = { from, path: '/health/ready', headers: forwarded('198.51.100.9') };
      expectRefused(await ask.api(outside), 'may not call the API');
      expect(await ask.api({ ...outside, headers: forwarded('203.0.113.7') })).toMatchObject({ status: 200 });
    });

    it('keeps agents’ paths and metrics to private networks', async () => {
      for (const path of ['/agent/v1/orders', '/metrics']) {
        const answer = await ask.api({ from, path, headers: forwarded('203.0.113.7') });
        expectRefused(answer, 'Reachable from private networks only.');
      }
      expect(await ask.api({ from, path: '/agent/v1/orders', headers: forwarded('172.31.5.6') })).toMatchObject({
        status: 200,
      });
      expectRefused(
        await ask.api({ from, path: '/metrics', headers: forwarded('172.31.5.6') }),
        'may not call the API',
      );
    });
  });

  // As on AWS with a load balancer, where callers among the jobs come to the instance itself.
  describe('behind a balancer in the network of callers', () => {
    let port: number;
    const ask = started(async () => ({
      ...{ allowedCidrs: '203.0.113.7/32', ingressCidrs: '198.51.100.0/24,127.0.0.3/32' },
      ...{ trustedProxy: '10.0.0.0/8,127.0.0.0/8', balancerPort: (port = await freePort()) },
      jobsHosts: ['jobs.internal'],
    }));

    it('goes by what the balancer says at its own port, and by what nobody says at the other', async () => {
      const operator = { 'x-forwarded-for': '203.0.113.7' };
      expect(await ask.api({ from: BALANCER, headers: operator, port })).toMatchObject({ status: 200 });
      expectRefused(await ask.api({ from: CUSTOMER, headers: operator }), 'This address may not call the API.');
      const customer = { 'x-forwarded-for': '198.51.100.9' };
      expect(await ask.job({ from: BALANCER, headers: customer, port })).toMatchObject({ status: 200 });
      expectRefused(await ask.job({ from: STRANGER, headers: customer }), 'may not call jobs');
    });

    it('goes by their own address where none was forwarded: to jobs, and not to the API', async () => {
      for (const host of ['web.jobs.internal', 'web.jobs.test']) {
        const call = { from: CUSTOMER, headers: { host } };
        expect(await ask.job(call)).toMatchObject({ status: 200, body: 'the job' });
      }
      expectRefused(await ask.api({ from: CUSTOMER }), 'This address may not call the API.');
    });
  });

  describe('without lists', () => {
    const ask = started(() => ({ trustedProxy: BALANCER }));

    it('lets everybody reach both', async () => {
      for (const who of ['203.0.113.7', '2001:db8::7']) {
        const asking = { from: BALANCER, headers: { 'x-forwarded-for': who } };
        expect(await ask.api(asking)).toMatchObject({ status: 200, body: 'the API' });
        expect(await ask.job(asking)).toMatchObject({ status: 200, body: 'the job' });
      }
    });
  });

  describe('with all networks in one list', () => {
    const ask = started(() => ({
      ...{ allowedCidrs: `${OPERATOR}/32`, ingressCidrs: '0.0.0.0/0', trustedProxy: BALANCER },
    }));

    it('lets everybody reach jobs', async () => {
      for (const who of ['1.2.3.4', '203.0.113.7']) {
        const asking = { from: BALANCER, headers: { 'x-forwarded-for': who } };
        expect(await ask.job(asking)).toMatchObject({ status: 200, body: 'the job' });
        expectRefused(await ask.api(asking), 'may not call the API');
      }
      const version6 = { from: BALANCER, headers: { 'x-forwarded-for': '2001:db8::7' } };
      expectRefused(await ask.job(version6), 'may not call jobs');
    });
  });

  function started(options: () => Partial<NginxOptions> | Promise<Partial<NginxOptions>>) {
    let nginx: Nginx;
    let port: number;
    let folder: string;
    beforeAll(async () => {
      port = await freePort();
      folder = await mkdtemp(join(directory, 'nginx-'));
      const { port: apiPort } = api.address() as AddressInfo;
      nginx = new Nginx({
        ...{ directory: folder, port, apiPorts: [apiPort], jobsUrl: `http://jobs.test:${port}` },
        ...(await options()),
      });
      await nginx.start();
      asked.length = 0;
    }, 30_000);
    afterAll(async () => {
      await nginx.stop();
      expect(await readFile(join(folder, 'error.log'), 'utf8')).toBe('');
    });

    return {
      api: async (asking: Asking) =>
        await call(asking.port ?? port, { host: '203.0.113.20', ...asking.headers }, asking),
      job: async (asking: Asking) =>
        await call(asking.port ?? port, { host: 'web.jobs.test', ...asking.headers }, asking),
    };
  }

  async function call(port: number, headers: Record<string, string>, { from, path = '/' }: Asking) {
    const sent = request({ host: '127.0.0.1', port, localAddress: from, agent: false, path, headers }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  }

  function expectRefused({ status, headers, body }: Awaited<ReturnType<typeof call>>, detail: string): void {
    expect({ status, type: headers['content-type'] }).toEqual({ status: 403, type: 'application/problem+json' });
    expect(JSON.parse(body)).toEqual({
      ...{ type: '/problems/forbidden', title: 'Not allowed', status: 403 },
      ...{ detail: expect.stringContaining(detail), instance: expect.stringMatching(/^urn:request:./) },
    });
  }

  function answer({ url = '' }: IncomingMessage, response: ServerResponse): void {
    asked.push(url);
    if (!url.startsWith('/ingress/')) return void response.end('the API');
    response.setHeader('cache-control', 'max-age=1, stale-if-error=22');
    response.setHeader('route-known', 'yes');
    response.setHeader('route-target', `127.0.0.1:${(job.address() as AddressInfo).port}`);
    response.end();
  }
});
