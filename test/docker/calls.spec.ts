import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type Front, startFront } from '../../local/front.ts';
import { findBridge } from '../../local/instances/bridge.ts';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';
import { HOST_GATEWAY } from '../../local/instances/private-names.ts';
import { jobNames } from '../../local/job-names.ts';
import { freePort } from '../../local/ports.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { remove, settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';

const { engine, isReady, whyNot } = await findHelloEngine();
const DOMAINS = { domain: 'localhost', privateDomain: 'jobs.internal', hostDomains: [] };

/** Calls what its caller names: status, and what was answered or why nothing was. The Host is that of the URL, or another. */
const CALLER = `
  const { createServer, get } = require('node:http');
  createServer((request, response) => {
    const { searchParams } = new URL(request.url, 'http://x');
    const [to, host] = [searchParams.get('to'), searchParams.get('host')];
    if (!to) return response.end('a caller');
    get(to, { agent: false, headers: host ? { host } : {} }, (answer) => {
      answer.setEncoding('utf8');
      let body = '';
      answer.on('data', (part) => (body += part)).on('end', () => response.end(answer.statusCode + ' ' + body));
    }).on('error', ({ code }) => response.end('none: ' + code));
  }).listen(8080);
  process.on('SIGTERM', () => process.exit(0));
`;

describeWhen(isReady, whyNot, 'jobs in containers', () => {
  let stack: Stack;
  let front: Front;
  let port: number;
  const made: string[] = [];

  beforeAll(async () => {
    port = await freePort();
    const socket = engine?.socket ?? '';
    const bridge = await findBridge(socket);
    const names = {
      domain: DOMAINS.privateDomain,
      address: bridge?.address ?? HOST_GATEWAY,
      jobs: () => jobNames(stack.url),
    };
    const folder = mkdtempSync(join(tmpdir(), 'calls-'));
    stack = await startStack({
      runtime: createDockerRuntime({ engineSocket: socket, folder, names }),
      cloud: { quotas: 'none' },
      env: { JOBS_URL: `http://localhost:${port}`, JOBS_PRIVATE_URL: `http://jobs.internal:${port}` },
    });
    front = await startFront({ port, apiUrl: stack.url, ...DOMAINS, bridge });
  }, 120_000);
  afterAll(async () => {
    await Promise.all(made.map((job) => remove(stack, job)));
    await front.stop();
    await stack.stop();
  }, 120_000);

  it('call each other at privateUrl: those that were there before, and those whose names they were given', async () => {
    await create('before', { env: { GREETING: 'one' } });
    await settled(stack, 'before', 1);
    const later = `http://later.jobs.internal:${port}`;
    await create('caller', { command: ['node', '-e', CALLER], env: { LATER: later } });
    await settled(stack, 'caller', 1);
    await create('later', { env: { GREETING: 'two' } });
    await settled(stack, 'later', 1);

    const before = await privateUrlOf('before');
    expect(before).toBe(`http://before.jobs.internal:${port}`);
    expect(await privateUrlOf('later')).toBe(later);
    expect(await askedToCall(before)).toMatch(/^200 .*"hello":"one"/);
    expect(await askedToCall(later)).toMatch(/^200 .*"hello":"two"/);
    expect(await askedToCall(`http://caller.jobs.internal:${port}`)).toBe('200 a caller');

    // The next deployment of the one that is called answers at the same name.
    await stack.call('POST', '/v1/jobs/before/deployments', { env: { GREETING: 'three' } });
    await settled(stack, 'before', 2);
    expect(await askedToCall(before)).toMatch(/^200 .*"hello":"three"/);

    // There is no way from a container to the API, and none by the names that are for this machine.
    for (const host of ['localhost', '127.0.0.1', 'before.localhost'])
      expect([host, await askedToCall(`${before}/v1/jobs`, host)]).toEqual([host, expect.stringMatching(/^404 /)]);
  }, 300_000);

  async function create(name: string, definition: object): Promise<void> {
    made.push(name);
    await stack.call('POST', '/v1/jobs', { name, image: HELLO_IMAGE, ...WEB, route: { port: 8080 }, ...definition });
  }

  async function privateUrlOf(name: string): Promise<string> {
    return (await stack.call<{ privateUrl: string | null }>('GET', `/v1/jobs/${name}`)).privateUrl ?? '';
  }

  /** What the container of the caller gets there. */
  async function askedToCall(to: string, host = ''): Promise<string> {
    const path = `/?${new URLSearchParams({ to, host }).toString()}`;
    const sent = get({ host: '127.0.0.1', port, path, agent: false, headers: { host: 'caller.localhost' } });
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    return await text(answer);
  }
});
