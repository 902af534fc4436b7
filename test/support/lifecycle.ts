import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { InstanceRuntime } from '../../local/cloud/runtime.ts';
import { repeat } from './repeat.ts';
import { startStack, type Stack } from './stack.ts';
import { until } from '../../local/until.ts';

export type LifecycleOptions = {
  createRuntime: () => InstanceRuntime;
  /** A web server that listens on 8080 and answers JSON with env GREETING as `hello`. */
  webImage: string;
  failures: {
    missing: Failure;
    exits: Failure;
    unhealthy: Failure;
  };
  /** What is left of containers and the like outside the cloud's own ledger. */
  leftOvers?: () => Promise<string[]>;
};

/** An image, and what makes it fail. */
type Failure = { image: string; definition?: object };

export type Job = {
  status: string;
  activeDeployment: number | null;
  endpoints: string[];
  instance: { id: string; privateIp: string } | null;
};
export type Deployment = {
  status: string;
  phase: string | null;
  failedPhase: string | null;
  reason: string | null;
  message: string | null;
  exitCode: number | null;
  attempt: number;
  lastLogLines: { line: string }[] | null;
  instance: { id: string } | null;
  imageDigest: string | null;
};
type Fleet = { instances: Record<string, number>; demand: number };

export const HOST_PORT = 8080;
export const WEB = {
  kind: 'service',
  ports: [{ container: 8080, host: HOST_PORT }],
  health: { path: '/', port: HOST_PORT, intervalSeconds: 1, timeoutSeconds: 1, startPeriodSeconds: 10 },
  rollout: { stableSeconds: 1, drainSeconds: 2, stopGraceSeconds: 5, deadlineSeconds: 120 },
};

/** From POST to nothing left, on a whole stack: the same in simulated and in docker mode. */
export function describeLifecycle(name: string, options: LifecycleOptions): void {
  describe(name, () => {
    let stack: Stack;
    const names: string[] = [];
    beforeAll(async () => {
      stack = await startStack({ runtime: options.createRuntime() });
    }, 60_000);
    afterAll(() => stack.stop(), 60_000);
    afterEach(async () => {
      for (const job of names.splice(0)) await remove(stack, job);
    }, 90_000);

    const create = async (job: string, image: string, definition: object = {}): Promise<void> => {
      names.push(job);
      await stack.call('POST', '/v1/jobs', { name: job, image, ...WEB, ...definition });
    };

    it('brings a service to active, and its instance answers', async () => {
      await create('web', options.webImage, { env: { GREETING: 'one' } });
      const deployment = await settled(stack, 'web', 1);
      expect(deployment).toMatchObject({ status: 'active', attempt: 1, phase: 'healthy' });
      const job = await stack.call<Job>('GET', '/v1/jobs/web');
      expect(job).toMatchObject({ status: 'running', activeDeployment: 1 });
      expect(await greeting(`http://${job.instance?.privateIp ?? ''}:${HOST_PORT}`)).toBe('one');
      expect(await greeting(job.endpoints[0] ?? '')).toBe('one');
    }, 120_000);

    it('replaces a running service without a refused request, then ends the old instance', async () => {
      await create('web', options.webImage, { env: { GREETING: 'one' } });
      await settled(stack, 'web', 1);
      const before = await stack.call<Job>('GET', '/v1/jobs/web');
      const client = keepAsking(stack, 'web');

      await stack.call('POST', '/v1/jobs/web/deployments', { image: options.webImage, env: { GREETING: 'two' } });
      expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
      await client.until('two');
      await until(() => instanceState(stack, before.instance?.id) === 'terminated');

      const { failures, answers } = await client.stop();
      expect(failures).toEqual([]);
      expect(new Set(answers)).toEqual(new Set(['one', 'two']));
      expect((await stack.call<Deployment>('GET', '/v1/jobs/web/deployments/1')).status).toBe('superseded');
      expect((await stack.call<Job>('GET', '/v1/jobs/web')).instance?.id).not.toBe(before.instance?.id);
    }, 120_000);

    it('fails an image that does not exist, a container that exits and one that is unhealthy; the active one stays', async () => {
      await create('web', options.webImage);
      await settled(stack, 'web', 1);
      const before = await stack.call<Job>('GET', '/v1/jobs/web');
      const { missing, exits, unhealthy } = options.failures;
      const fail = async ({ image, definition = {} }: Failure): Promise<Deployment> => {
        const { number } = await stack.call<{ number: number }>('POST', '/v1/jobs/web/deployments', {
          image,
          ...definition,
        });
        return await settled(stack, 'web', number);
      };

      expect(await fail(missing)).toMatchObject({
        status: 'failed',
        failedPhase: 'pulling',
        reason: expect.stringMatching(/^(image-(not-found|pull-failed)|registry-unreachable)$/),
      });
      const exited = await fail(exits);
      expect(exited).toMatchObject({
        status: 'failed',
        failedPhase: 'starting',
        reason: 'container-exited',
        exitCode: 3,
      });
      expect(exited.lastLogLines?.length).toBeGreaterThan(0);
      const sick = await fail(unhealthy);
      expect(sick).toMatchObject({ status: 'failed', failedPhase: 'starting', reason: 'health-check-failed' });
      expect(sick.message).toContain('500');
      expect(sick.lastLogLines?.length).toBeGreaterThan(0);

      const after = await stack.call<Job>('GET', '/v1/jobs/web');
      expect(after).toMatchObject({ status: 'running', activeDeployment: 1, instance: { id: before.instance?.id } });
    }, 180_000);

    it('survives kill -9 of the API in the middle of a deployment: active, with one instance', async () => {
      await create('web', options.webImage);
      await until(() => stack.cloud.ledger.calls('RunInstances').some(({ outcome }) => outcome === 'ok'));
      await stack.kill(0);
      await stack.restart(0);
      expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active' });
      expect(alive(stack)).toHaveLength(1);
    }, 120_000);

    it('cancels, stops, starts, restarts and rolls back', async () => {
      await create('web', options.webImage, { env: { GREETING: 'one' } });
      await settled(stack, 'web', 1);
      await stack.call('POST', '/v1/jobs/web/deployments', { image: options.webImage, env: { GREETING: 'two' } });
      await stack.call('POST', '/v1/jobs/web/deployments/2/cancel');
      expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'cancelled', reason: 'cancel-requested' });

      await stack.call('POST', '/v1/jobs/web/deployments', { image: options.webImage, env: { GREETING: 'three' } });
      expect(await settled(stack, 'web', 3)).toMatchObject({ status: 'active' });
      await stack.call('POST', '/v1/jobs/web/rollback', {});
      expect(await settled(stack, 'web', 4)).toMatchObject({ status: 'active' });
      const rolledBack = await stack.call<Job>('GET', '/v1/jobs/web');
      expect(await greeting(rolledBack.endpoints[0] ?? '')).toBe('one');

      await stack.call('POST', '/v1/jobs/web/stop');
      await until(async () => (await stack.call<Job>('GET', '/v1/jobs/web')).status === 'stopped');
      await until(() => alive(stack).length === 0);
      await stack.call('POST', '/v1/jobs/web/start');
      expect(await settled(stack, 'web', 5)).toMatchObject({ status: 'active' });
      await stack.call('POST', '/v1/jobs/web/restart');
      expect(await settled(stack, 'web', 6)).toMatchObject({ status: 'active' });
    }, 240_000);

    it('heals a service whose instance is terminated by hand', async () => {
      await create('web', options.webImage);
      await settled(stack, 'web', 1);
      const { instance } = await stack.call<Job>('GET', '/v1/jobs/web');
      stack.cloud.faults.kill(instance?.id ?? '');
      await until(async () => {
        const job = await stack.call<Job>('GET', '/v1/jobs/web');
        return job.status === 'running' && job.instance !== null && job.instance.id !== instance?.id;
      }, 90_000);
      expect(await stack.call<Deployment>('GET', '/v1/jobs/web/deployments/1')).toMatchObject({
        status: 'active',
        attempt: 2,
      });
    }, 120_000);

    it('leaves nothing after the job is deleted', async () => {
      await create('web', options.webImage);
      await settled(stack, 'web', 1);
      await remove(stack, 'web');
      expect(alive(stack)).toEqual([]);
      const fleet = await stack.call<Fleet>('GET', '/v1/fleet');
      expect(Object.values(fleet.instances).every((count) => count === 0)).toBe(true);
      expect(fleet.demand).toBe(0);
      expect((await options.leftOvers?.()) ?? []).toEqual([]);
    }, 120_000);
  });
}

export async function settled(stack: Stack, job: string, number: number, timeoutMs = 110_000): Promise<Deployment> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const path = `/v1/jobs/${job}/deployments/${number}?wait=20&until=settled`;
    const deployment = await stack.call<Deployment>('GET', path);
    if (!['queued', 'deploying'].includes(deployment.status)) return deployment;
    if (Date.now() > deadline)
      throw new Error(`${job}/${number} is still ${JSON.stringify(deployment)}\n${stack.logs().slice(-5000)}`);
  }
}

/** Deletes the job and waits until it is gone. */
export async function remove(stack: Stack, job: string): Promise<void> {
  if ((await stack.status('DELETE', `/v1/jobs/${job}`)) === 404) return;
  await until(async () => (await stack.status('GET', `/v1/jobs/${job}`)) === 404, 60_000);
}

/** Ids of the instances that are neither terminated nor on the way there, as the cloud itself knows them. */
export function alive(stack: Stack): string[] {
  return stack.cloud.ledger
    .instances()
    .filter(({ state }) => state !== 'terminated' && state !== 'shutting-down')
    .map(({ id }) => id);
}

function instanceState(stack: Stack, id: string | undefined): string | undefined {
  return id === undefined ? undefined : stack.cloud.instance(id)?.state;
}

async function greeting(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000), headers: { connection: 'close' } });
  return ((await response.json()) as { hello: string }).hello;
}

/** A client that looks up the address and then calls it, over and over. */
export function keepAsking(stack: Stack, job: string) {
  const answers: string[] = [];
  const failures: string[] = [];
  const asking = repeat(async () => {
    const { endpoints } = await stack.call<Job>('GET', `/v1/jobs/${job}`);
    try {
      answers.push(await greeting(endpoints[0] ?? 'http://no-endpoint.invalid'));
    } catch (error) {
      failures.push(`${endpoints.join()}: ${String(error)}`);
    }
  }, 20);
  return {
    until: (answer: string) => until(() => answers.includes(answer)),
    stop: () => asking.stop().then(() => ({ answers, failures })),
  };
}
