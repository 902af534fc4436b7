import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, type Job, settled, WEB } from '../support/lifecycle.js';
import { startStack, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

// What becomes of instances when nobody is left to end them. Real minutes pass: the shortest limit a job may set is one.
describe('an instance on its own', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), cloud: { quotas: 'none' } });
  }, 60_000);
  afterAll(() => stack.stop(), 60_000);

  it('runs on while we are silent, unless its job limits the silence: then it ends itself, and is healed', async () => {
    const [patient, limited] = await Promise.all([serve('patient', {}), serve('limited', { maxSilenceSeconds: 60 })]);
    await until(async () => (await switches()).every(({ isSet }) => isSet));
    expect(await switches()).toMatchObject([
      { job: 'limited', minutes: 1, renews: true },
      { job: 'patient', minutes: 0, renews: null },
    ]);

    await stack.kill(0);
    await until(() => stack.cloud.instance(limited)?.state === 'terminated', 100_000);
    expect(stack.cloud.instance(limited)?.stateReason?.code).toBe('Client.InstanceInitiatedShutdown');
    expect(alive(stack)).toEqual([patient]);

    await stack.restart(0);
    await until(async () => {
      const { status, instance } = await job('limited');
      return status === 'running' && instance !== null && instance.id !== limited;
    });
    expect((await job('patient')).instance?.id).toBe(patient);
    expect(alive(stack)).toHaveLength(2);
  }, 240_000);

  it('has its switch on again before its container is told to stop', async () => {
    const { instance } = await job('patient');
    await stack.call('POST', '/v1/jobs/patient/stop');
    await until(async () => (await job('patient')).status === 'stopped');
    const orders = await stack.query<{ purpose: string; minutes: number | null; status: number }>(
      `SELECT purpose, (spec ->> 'minutes')::int AS minutes, result_status AS status FROM orders
       WHERE instance_id = $1 ORDER BY number DESC LIMIT 3`,
      [instance?.id],
    );
    expect(orders).toMatchObject([
      { purpose: 'flush-logs', status: 200 },
      { purpose: 'stop', status: 204 },
      { purpose: 'dead-man', minutes: 16 },
    ]);
  }, 60_000);

  const job = (name: string) => stack.call<Job>('GET', `/v1/jobs/${name}`);

  async function serve(name: string, definition: object): Promise<string> {
    await stack.call('POST', '/v1/jobs', { name, image: 'hello-web:1', ...WEB, ...definition });
    expect((await settled(stack, name, 1)).status).toBe('active');
    return (await job(name)).instance?.id ?? '';
  }

  /** The latest dead-man order of each job that serves, and whether its agent has carried it out. */
  function switches() {
    return stack.query<{ job: string; minutes: number; renews: boolean | null; isSet: boolean }>(
      `SELECT DISTINCT ON (j.name) j.name AS job, (o.spec ->> 'minutes')::int AS minutes,
         (o.spec ->> 'renews')::boolean AS renews, o.answered_at IS NOT NULL AS "isSet"
       FROM orders o JOIN attempts a ON a.id = o.attempt_id JOIN jobs j ON j.id = a.job_id
       WHERE o.purpose = 'dead-man' ORDER BY j.name, o.number DESC`,
    );
  }
});
