import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { callEngine } from '../../local/instances/docker-engine.ts';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { type Deployment, HOST_PORT, type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const { engine, isReady, whyNot } = await findHelloEngine();
const socket = engine?.socket ?? '';
/** Answers like hello-web; `/eat` takes more memory than it may have. */
const HUNGRY = `
  const eaten = [];
  require('node:http').createServer((request, response) => {
    if (request.url === '/eat') for (;;) eaten.push(Buffer.alloc(16 << 20, 1));
    response.end('{}');
  }).listen(8080);
  process.on('SIGTERM', () => process.exit(0));`;

/** Until one was said as it was. */
const MOST_EXITS = 3;

type Container = {
  Id: string;
  RestartCount: number;
  State: { StartedAt: string; OOMKilled: boolean; Running: boolean };
};

// What only a real engine can prove; the rest is in test/e2e/healing.spec.ts.
describeWhen(isReady, whyNot, 'real containers', () => {
  let stack: Stack;
  let registry: Registry;
  const images: string[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'healing-'));

  beforeAll(async () => {
    registry = await startRegistry();
    const runtime = createDockerRuntime({ engineSocket: socket, folder: folder });
    stack = await startStack({ runtime, cloud: { quotas: 'none' } });
  }, 60_000);
  afterEach(() => remove(stack, 'web'), 60_000);
  afterAll(async () => {
    await stack.stop();
    await registry.close();
    for (const image of images) await docker('rmi', '-f', image).catch(() => undefined);
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  const serve = async (definition: object = {}, image = HELLO_IMAGE): Promise<string> => {
    await stack.call('POST', '/v1/jobs', { name: 'web', image, ...WEB, ...definition });
    expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active' });
    const id = (await job()).instance?.id ?? '';
    // Before that, Docker would not start it again, and it would move.
    await until(async () => {
      const [policy] = await stack.query<{ status: number | null }>(
        `SELECT result_status AS status FROM orders WHERE instance_id = $1 AND purpose = 'restart-policy'`,
        [id],
      );
      return policy?.status === 200;
    });
    return id;
  };
  const job = () => stack.call<Job>('GET', '/v1/jobs/web');
  const deployment = (number: number) => stack.call<Deployment>('GET', `/v1/jobs/web/deployments/${number}`);
  const container = async (instanceId: string): Promise<Container> => {
    const filters = JSON.stringify({ label: [`scheduler-local.instance=${instanceId}`] });
    const { text } = await callEngine(socket, {
      path: `/containers/json?all=1&filters=${encodeURIComponent(filters)}`,
    });
    const [{ Id } = { Id: '' }] = JSON.parse(text) as { Id: string }[];
    return JSON.parse((await callEngine(socket, { path: `/containers/${Id}/json` })).text) as Container;
  };
  /** What the agent said of each exit, in order. */
  const exitCodes = async (id: string): Promise<number[]> => {
    const exits = await stack.query<{ body: Buffer }>(
      `SELECT result_body AS body FROM orders WHERE instance_id = $1 AND purpose = 'wait' AND answered_at IS NOT NULL
       ORDER BY answered_at`,
      [id],
    );
    return exits.map(({ body }) => (JSON.parse(body.toString()) as { StatusCode: number }).StatusCode);
  };
  /** Whether the agent has been told to wait for the next exit. */
  const isWaitedFor = async (id: string): Promise<boolean> => {
    const waits = await stack.query(
      `SELECT 1 FROM orders
       WHERE instance_id = $1 AND purpose = 'wait' AND taken_at IS NOT NULL AND answered_at IS NULL`,
      [id],
    );
    return waits.length === 1;
  };
  /** A new deployment replaces it, for which its agent must stop the container. @returns the container before that */
  const replace = async (id: string): Promise<Container> => {
    await stack.call('POST', '/v1/jobs/web/deployments', { image: HELLO_IMAGE });
    expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
    const serving = await container(id);
    await until(async () => (await deployment(1)).status === 'superseded');
    expect((await deployment(1)).attempt).toBe(1);
    const [stop] = await stack.query<{ status: number }>(
      `SELECT result_status AS status FROM orders WHERE instance_id = $1 AND purpose = 'stop'`,
      [id],
    );
    expect(stop).toEqual({ status: 204 });
    return serving;
  };

  it('kill -9 of the agent: the container it finds again never stopped', async () => {
    const id = await serve();
    const before = await container(id);
    await stack.cloud.faults.killAgent(id);
    expect(await replace(id)).toMatchObject({
      Id: before.Id,
      RestartCount: 0,
      State: { StartedAt: before.State.StartedAt },
    });
  }, 120_000);

  it('a reboot: the same container starts again on the same instance', async () => {
    const id = await serve();
    const before = await container(id);
    stack.cloud.faults.reboot(id);
    await until(async () => {
      const { State } = await container(id);
      return State.Running && State.StartedAt !== before.State.StartedAt;
    });
    expect((await container(id)).Id).toBe(before.Id);
    expect(await job()).toMatchObject({ instance: { id } });
    await replace(id);
  }, 120_000);

  it('out of memory: Docker starts the container again, and nothing moves', async () => {
    // While Docker pauses before it starts the container again the probe fails, on a busy machine for longer.
    const health = { ...WEB.health, retries: 100 };
    const id = await serve({ command: ['node', '-e', HUNGRY], memoryMiB: 128, health });
    const address = (await job()).instance?.privateIp ?? '';
    let codes: number[] = [];
    // Engines before 23 look up the code late: it is 0 when the container runs again by then (moby/moby#43751). Docker's
    // pause before that doubles with each start.
    for (let restarts = 1; restarts <= MOST_EXITS && codes.at(-1) !== 137; restarts += 1) {
      await until(async () => await isWaitedFor(id));
      await fetch(`http://${address}:${HOST_PORT}/eat`).catch(() => undefined);
      await until(async () => (await container(id)).RestartCount === restarts);
      await until(async () => (await fetch(`http://${address}:${HOST_PORT}/`).catch(() => undefined))?.ok === true);
      await until(async () => (codes = await exitCodes(id)).length === restarts);
    }
    expect(codes.filter((code) => code !== 0)).toEqual([137]);
    await until(async () => {
      const [look] = await stack.query<{ answer: { container?: { isOutOfMemory: boolean } } }>(
        `SELECT answer FROM orders WHERE instance_id = $1 AND purpose = 'inspect-exit' AND answered_at IS NOT NULL`,
        [id],
      );
      return look?.answer.container?.isOutOfMemory === true;
    });
    // The probe of a busy machine may see the new container last.
    await until(async () => (await job()).status === 'running');
    expect(await job()).toMatchObject({ status: 'running', instance: { id } });
    expect((await deployment(1)).attempt).toBe(1);
  }, 120_000);

  it('a rollback runs the bits that ran, though their tag means others now', async () => {
    const tag = `${registry.host}/web:1`;
    images.push(tag, await push(tag, 'one'));
    await serve({}, tag);
    images.push(await push(tag, 'two'));
    await stack.call('POST', '/v1/jobs/web/deployments', { image: tag });
    expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
    expect(await hello()).toBe('two');

    await stack.call('POST', '/v1/jobs/web/rollback', {});
    expect(await settled(stack, 'web', 3)).toMatchObject({ status: 'active' });
    expect(await hello()).toBe('one');
    const [first, second, third] = [await deployment(1), await deployment(2), await deployment(3)];
    expect(first.imageDigest).toMatch(new RegExp(`^${registry.host}/web@sha256:[0-9a-f]{64}$`));
    expect(second.imageDigest).not.toBe(first.imageDigest);
    expect(third.imageDigest).toBe(first.imageDigest);
  }, 240_000);

  const hello = async (): Promise<string> => {
    const { endpoints } = await job();
    const response = await fetch(endpoints[0] ?? '', { headers: { connection: 'close' } });
    return ((await response.json()) as { hello: string }).hello;
  };

  /** Builds an image that greets like this, pushes it and forgets it here. @returns its reference by digest */
  async function push(tag: string, greeting: string): Promise<string> {
    const context = mkdtempSync(join(folder, 'image-'));
    writeFileSync(join(context, 'Dockerfile'), `FROM ${HELLO_IMAGE}\nENV GREETING=${greeting}\n`);
    await docker('build', '-q', '-t', tag, context);
    await docker('push', '-q', tag);
    const digest = await docker('inspect', '-f', '{{index .RepoDigests 0}}', tag);
    await docker('rmi', tag);
    return digest;
  }
});

/** Not synchronous: the registry it talks to answers in this process. */
async function docker(...args: string[]): Promise<string> {
  return (await promisify(execFile)('docker', args)).stdout.trim();
}
