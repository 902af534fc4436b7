import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SimulatedRegistry } from '../../local/instances/simulated-images.ts';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { type Deployment, type Job, settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

/** What runs, by its own word and EC2's: the image's reference, an environment variable, the AMI. */
type Running = { image: string; hello: string; ami: string | undefined };

const IMAGE = 'hello-web:1';

describe('what ran once runs again, though its tag, its AMI and its job moved on', () => {
  const registry = new SimulatedRegistry();
  let stack: Stack;
  let first: Running;
  let second: Running;

  beforeAll(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime({ registry }), cloud: { quotas: 'none' } });
    await stack.call('POST', '/v1/jobs', { name: 'web', image: IMAGE, ...WEB, env: { GREETING: 'one' } });
    first = await runs(1);

    registry.moveTag(IMAGE);
    stack.cloud.faults.publishImage();
    // It remembers for an hour which AMI is the newest.
    await stack.kill(0);
    await stack.restart(0);
    await stack.call('PATCH', '/v1/jobs/web', { env: { GREETING: 'two' } });
    await stack.call('POST', '/v1/jobs/web/deployments', { image: IMAGE });
    second = await runs(2);
  }, 120_000);
  afterAll(() => stack.stop(), 60_000);

  const deployment = (number: number) => stack.call<Deployment>('GET', `/v1/jobs/web/deployments/${number}`);
  const job = () => stack.call<Job>('GET', '/v1/jobs/web');

  /** Waits until the deployment is active, and asks its container. */
  async function runs(number: number): Promise<Running> {
    expect((await settled(stack, 'web', number)).status).toBe('active');
    const { instance, endpoints } = await job();
    const response = await fetch(endpoints[0] ?? '', { headers: { connection: 'close' } });
    const { image, hello } = (await response.json()) as Running;
    return { image, hello, ami: stack.cloud.instance(instance?.id ?? '')?.spec.imageId };
  }

  it('a new deployment takes what tag, alias and job stand for now', async () => {
    expect((await deployment(1)).imageDigest).toMatch(/^hello-web@sha256:[0-9a-f]{64}$/);
    expect((await deployment(2)).imageDigest).not.toBe((await deployment(1)).imageDigest);
    expect(second.ami).not.toBe(first.ami);
    expect([first.hello, second.hello]).toEqual(['one', 'two']);
  });

  it('a rollback runs the recorded digest, definition and AMI', async () => {
    const { number } = await stack.call<{ number: number }>('POST', '/v1/jobs/web/rollback', {});
    const digest = (await deployment(1)).imageDigest;
    expect(await runs(number)).toEqual({ ...first, image: digest });
    expect(await deployment(number)).toMatchObject({ trigger: 'rollback', copiedFrom: 1, imageDigest: digest });
  }, 60_000);

  it('so does the attempt that heals it', async () => {
    const { instance } = await job();
    stack.cloud.faults.kill(instance?.id ?? '');
    await until(async () => {
      const now = await job();
      return now.status === 'running' && now.instance !== null && now.instance.id !== instance?.id;
    });
    expect(await runs(3)).toEqual({ ...first, image: (await deployment(1)).imageDigest });
    expect((await deployment(3)).attempt).toBe(2);
  }, 90_000);

  it('and a restart; a rollback to a number runs that one', async () => {
    await stack.call('POST', '/v1/jobs/web/restart');
    expect(await runs(4)).toEqual({ ...first, image: (await deployment(1)).imageDigest });
    await stack.call('POST', '/v1/jobs/web/rollback', { to: 2 });
    expect(await runs(5)).toEqual({ ...second, image: (await deployment(2)).imageDigest });
  }, 90_000);

  it('an image that no registry has is known by its id: its tag may stand for another build by now', async () => {
    const local = { ...WEB, image: 'sim/local:1' };
    await stack.call('POST', '/v1/jobs', { name: 'local', ...local });
    expect((await settled(stack, 'local', 1)).status).toBe('active');
    registry.moveTag('sim/local:1');
    await stack.call('POST', '/v1/jobs/local/deployments', { image: 'sim/local:1' });
    expect((await settled(stack, 'local', 2)).status).toBe('active');
    await stack.call('POST', '/v1/jobs/local/rollback', {});
    expect((await settled(stack, 'local', 3)).status).toBe('active');

    const [one, two, three] = await Promise.all(
      [1, 2, 3].map((number) => stack.call<Deployment>('GET', `/v1/jobs/local/deployments/${number}`)),
    );
    expect(one?.imageDigest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(two?.imageDigest).not.toBe(one?.imageDigest);
    expect(three?.imageDigest).toBe(one?.imageDigest);
    const { endpoints } = await stack.call<Job>('GET', '/v1/jobs/local');
    const response = await fetch(endpoints[0] ?? '', { headers: { connection: 'close' } });
    expect(await response.json()).toMatchObject({ image: one?.imageDigest });
  }, 120_000);
});
