import { afterEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { EC2_CALLS, EC2_INSTANCES, overdraft } from '../support/call-rates.ts';
import { alive, settled } from '../support/lifecycle.ts';
import { startStack, type Stack, type StackOptions } from '../support/stack.ts';
import { until } from '../../local/until.ts';

const DEFINITION = {
  kind: 'service',
  image: 'hello-web:1',
  rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1, deadlineSeconds: 300 },
};
/** As EC2_QUOTA_SHARE is when nobody sets it. */
const SHARE = 0.8;

type Owner = { pid: number; epoch: number };

// Groups of processes as in production: API workers and one process with the loops, several groups on one Postgres.
describe('replicas', () => {
  let stack: Stack;
  let database: pg.Client;
  const start = async (options: Omit<StackOptions, 'runtime'>): Promise<void> => {
    stack = await startStack({ runtime: createSimulatedRuntime(), ...options });
    database = new pg.Client({ connectionString: stack.databaseUrl });
    await database.connect();
    await database.query(`SET search_path = "scheduler-jobs"`);
  };
  afterEach(async () => {
    await database.end();
    await stack.stop();
  }, 60_000);

  /** Whose epoch it is now, by its own word in the log. */
  const owner = async (): Promise<Owner> => {
    for (;;) {
      const { rows } = await database.query<{ epoch: number }>(
        `SELECT epoch::int FROM owner WHERE holder <> '' AND expires_at > clock_timestamp()`,
      );
      const epoch = rows[0]?.epoch;
      const line = logged('ownership taken').find((taken) => taken['epoch'] === String(epoch));
      if (epoch !== undefined && line) return { epoch, pid: line.pid };
      await new Promise((done) => setTimeout(done, 50));
    }
  };
  const logged = (message: string) =>
    stack
      .logs()
      .split('\n')
      .filter((line) => line.startsWith('{') && line.includes(message))
      .map((line) => JSON.parse(line) as { pid: number; [key: string]: unknown });
  const create = (name: string, definition: object = {}) =>
    stack.call('POST', '/v1/jobs', { name, ...DEFINITION, ...definition });

  it('three groups of two: 60 deployments in 20 shapes, owners killed and replaced, one instance each, quotas kept', async () => {
    await start({
      replicas: 3,
      env: { WEB_CONCURRENCY: '2' },
      cloud: { quotas: 'ec2', bootMs: [100, 800], visibilityMs: 500 },
    });
    const names = Array.from({ length: 60 }, (_, n) => `job-${n}`);
    const first = await owner();
    await Promise.all(names.map((name, n) => create(name, { instance: { diskGiB: 30 + (n % 20) } })));
    await until(() => stack.cloud.ledger.calls('RunInstances').length >= 6);
    process.kill(first.pid, 'SIGKILL');
    const deployments = await Promise.all(names.map((name) => settled(stack, name, 1)));

    expect(deployments.filter(({ status }) => status === 'active')).toHaveLength(60);
    expect(deployments.map(({ attempt }) => attempt)).toEqual(names.map(() => 1));
    expect(new Set(deployments.map(({ instance }) => instance?.id)).size).toBe(60);
    expect(stack.cloud.ledger.instances()).toHaveLength(60);
    const second = await owner();
    expect(second.epoch).toBeGreaterThan(first.epoch);

    // Who ends in order hands over at once: its lease would have lasted ten seconds at least.
    process.kill(second.pid, 'SIGTERM');
    await until(async () => (await owner()).epoch > second.epoch, 9_000);
    await Promise.all(names.map((name) => stack.call('DELETE', `/v1/jobs/${name}`)));
    await until(() => alive(stack).length === 0, 120_000);

    expect(stack.cloud.ledger.instances()).toHaveLength(60);
    const calls = stack.cloud.ledger.calls();
    expect(calls.filter(({ outcome }) => outcome === 'RequestLimitExceeded')).toEqual([]);
    for (const action of ['RunInstances', 'TerminateInstances', 'CreateTags']) expectQuotaKept(stack, action);
  }, 300_000);

  it('an owner paused past its lease comes back to find another, and changes nothing', async () => {
    await start({ replicas: 2, env: { WEB_CONCURRENCY: '2' }, cloud: { quotas: 'ec2' } });
    const paused = await owner();
    stack.cloud.faults.delayAnswer('RunInstances', 2_000);
    await create('web');
    await until(() => stack.cloud.ledger.instances().length === 1);
    // In the middle of its call: EC2 has done it, the answer is on its way.
    process.kill(paused.pid, 'SIGSTOP');
    try {
      expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active', attempt: 1 });
      expect((await owner()).epoch).toBe(paused.epoch + 1);
      // Versions of rows: whoever writes one, even with the same values, leaves another.
      const rows = async () => {
        const { rows } = await database.query(
          `SELECT xmin::text, id::text FROM launches
           UNION ALL SELECT xmin::text, instance_id FROM assignments ORDER BY 2`,
        );
        return rows as unknown[];
      };
      await until(async () => (await database.query(`SELECT 1 FROM launches WHERE status = 'done'`)).rowCount === 1);
      const before = await rows();
      process.kill(paused.pid, 'SIGCONT');
      await until(() => logged('ownership lost').some(({ pid }) => pid === paused.pid));
      expect(await rows()).toEqual(before);
    } finally {
      process.kill(paused.pid, 'SIGCONT');
    }
    expect((await owner()).epoch).toBe(paused.epoch + 1);
    const tokens = stack.cloud.ledger.calls('RunInstances').map(({ clientToken }) => clientToken);
    expect(new Set(tokens).size).toBe(1);
    expect(stack.cloud.ledger.instances()).toHaveLength(1);
    expect(logged('instances launched')).toHaveLength(1);
    expect(await stack.call('GET', '/v1/jobs/web')).toMatchObject({ status: 'running' });
  }, 180_000);
});

function expectQuotaKept(stack: Stack, action: string): void {
  const calls = stack.cloud.ledger.calls(action);
  expect(calls.length).toBeGreaterThan(0);
  const share = ({ most, perSecond }: { most: number; perSecond: number }) => ({
    // One more: what left in time may arrive together.
    most: most * SHARE + 1,
    perSecond: perSecond * SHARE,
  });
  expect({ action, overdraft: Math.max(0, overdraft(calls, share(EC2_CALLS[action]!))) }).toEqual({
    action,
    overdraft: 0,
  });
  const ofInstances = EC2_INSTANCES[action];
  if (!ofInstances) return;
  const weigh = (call: { instanceIds?: readonly string[] }) => call.instanceIds?.length ?? 0;
  expect(overdraft(calls, share(ofInstances), weigh)).toBeLessThanOrEqual(0);
}
