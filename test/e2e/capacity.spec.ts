import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { remove, settled } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

type Deployment = { status: string; reason: string | null; message: string | null };

const WEB = { kind: 'service', image: 'web', rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1 } };

describe('when EC2 has no capacity', () => {
  let stack: Stack;
  let database: pg.Client;
  beforeAll(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime() });
    database = new pg.Client({ connectionString: stack.databaseUrl });
    await database.connect();
  }, 60_000);
  afterAll(async () => {
    await database.end();
    await stack.stop();
  }, 60_000);
  const create = (name: string, definition: object) => stack.call('POST', '/v1/jobs', { name, ...WEB, ...definition });
  const deployment = (name: string) => stack.call<Deployment>('GET', `/v1/jobs/${name}/deployments/1`);
  const instanceOf = async (name: string) => {
    const { items } = await stack.call<{ items: { job: string | null; market: string | null }[] }>(
      'GET',
      '/v1/instances',
    );
    return items.find(({ job }) => job === name);
  };

  it('each of two jobs of one shape has the outcome it asked for, and says what it waits for and until when', async () => {
    stack.cloud.faults.setCapacity({}, 0);
    await create('impatient', { onCapacity: 'fail' });
    await create('patient', { onCapacity: { waitSeconds: 600 } });
    expect(await settled(stack, 'impatient', 1)).toMatchObject({
      status: 'failed',
      failedPhase: 'waiting',
      reason: 'capacity-unavailable',
      retryable: true,
      message: expect.stringMatching(/^insufficient-capacity: /),
    });
    await until(async () => (await deployment('patient')).reason === 'waiting-for-capacity');
    const { status, message } = await deployment('patient');
    expect(status).toBe('deploying');
    expect(message).toMatch(/^insufficient-capacity: .*; the next try is at 20\S+ \(waiting until 20\S+\)$/);

    stack.cloud.faults.setCapacity({}, Infinity);
    // Three minutes later, for the failed offers. A pass under way writes back what it had loaded before: hence again.
    await until(async () => {
      await database.query(
        `UPDATE "scheduler-jobs".shapes SET capacity = capacity - 'failedOffers', next_pass_at = clock_timestamp()`,
      );
      return stack.cloud.ledger.instances().length > 0;
    });
    expect(await settled(stack, 'patient', 1)).toMatchObject({ status: 'active', reason: null, message: null });
    expect((await deployment('impatient')).status).toBe('failed');
    await remove(stack, 'patient');
    await remove(stack, 'impatient');
  }, 120_000);

  it('of two jobs that want spot, the one that names another market gets it, the other fails', async () => {
    stack.cloud.faults.setCapacity({ market: 'spot' }, 0);
    const instance = { market: 'spot' };
    await create('strict', { instance, onCapacity: 'fail' });
    await create('flexible', { instance, onCapacity: { waitSeconds: 0, fallback: { market: 'on-demand' } } });
    expect(await settled(stack, 'flexible', 1)).toMatchObject({ status: 'active' });
    expect(await instanceOf('flexible')).toMatchObject({ market: 'on-demand' });
    expect(await settled(stack, 'strict', 1)).toMatchObject({ status: 'failed', reason: 'capacity-unavailable' });
    expect(await instanceOf('strict')).toBeUndefined();
    await remove(stack, 'flexible');
    await remove(stack, 'strict');
  }, 120_000);
});
