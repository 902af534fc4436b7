import { describe, expect } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, remove, settled } from '../support/lifecycle.ts';
import { sideBySide } from '../support/side-by-side.ts';
import { startStack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

type Deployment = { status: string; reason: string | null; message: string | null };

const WEB = {
  kind: 'service',
  image: 'web',
  rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1, deadlineSeconds: 900 },
};
/** What is asked for as EC2 ends each instance it launches: with the pauses there are three of a shape in the first seconds. */
const MOST_AT_FIRST = 3;

// Sweeps, boots and a restart take a while on a busy machine.
const aStorm = sideBySide(startStorm, ({ stack }) => stack.stop(), 240_000);

// What a deployment and a job that heals say, and cost, while EC2 ends or refuses whatever is launched. Most of it is
// waiting: several at once, each on a stack of its own.
describe('while launches come to nothing', () => {
  aStorm(
    'a deployment tells why and when the next try is, and comes up with it',
    async ({ stack, calls, create, deployment, says, pass }) => {
      stack.cloud.faults.endAtLaunch('Client.VolumeLimitExceeded');
      await create('web');
      await says('web', /instances-end-at-launch: EC2 ended 2 instances .* the next try is at 20\S+Z \(waiting until /);
      const { status, reason, message } = await deployment('web');
      expect([status, reason]).toEqual(['deploying', 'waiting-for-capacity']);
      expect(message).toContain('with Client.VolumeLimitExceeded (the account’s quota of EBS storage)');
      expect(calls()).toBe(2);
      stack.cloud.faults.clear();
      await pass(10);
      expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active', reason: null, message: null });
      expect(calls()).toBe(3);
    },
  );

  aStorm(
    'a job that heals tells the same, and goes on after a restart where it was',
    async ({ stack, calls, create, deployment, says, pass }) => {
      await create('web');
      expect((await settled(stack, 'web', 1)).status).toBe('active');
      const before = calls();
      stack.cloud.faults.endAtLaunch('Server.InsufficientInstanceCapacity');
      stack.cloud.faults.kill(alive(stack)[0] ?? '');
      await says(
        'web',
        /EC2 ended 2 instances .* with Server.InsufficientInstanceCapacity .* the next try is at 20\S+Z/,
      );
      expect(await deployment('web')).toMatchObject({ status: 'active', reason: 'instance-terminated' });
      await stack.kill(0);
      await stack.expireLease();
      await stack.restart(0);
      await says('web', /EC2 ended 2 instances .* the next try is at 20\S+Z/);
      expect(calls() - before).toBe(2);
      stack.cloud.faults.clear();
      await pass(10);
      await until(async () => (await deployment('web')).message === null);
      expect(alive(stack)).toHaveLength(1);
      await remove(stack, 'web');
    },
  );

  aStorm(
    'twenty jobs of one shape have one that tries for all of them, and all come up once it lives',
    async ({ stack, calls, create, says, pass }) => {
      stack.cloud.faults.endAtLaunch('Client.InternalError');
      const before = calls();
      const names = Array.from({ length: 20 }, (_, index) => `many-${index}`);
      await Promise.all(names.map(create));
      await Promise.all(names.map((name) => says(name, /the next try is at/)));
      // Those that came while the first was being launched have a launch of their own.
      expect(calls() - before).toBeLessThanOrEqual(MOST_AT_FIRST);
      stack.cloud.faults.clear();
      await pass(300);
      for (const name of names) expect((await settled(stack, name, 1)).status).toBe('active');
      expect(alive(stack)).toHaveLength(20);
      for (const name of names) await stack.call('DELETE', `/v1/jobs/${name}`);
      await until(() => alive(stack).length === 0);
    },
  );

  aStorm(
    'a deployment that may not be launched is refused without a word about roles, and a job that heals waits',
    async ({ stack, calls, create, deployment, says }) => {
      await create('kept');
      expect((await settled(stack, 'kept', 1)).status).toBe('active');
      stack.cloud.faults.denyAction('RunInstances');
      const before = calls();
      await create('refused');
      const refused = await settled(stack, 'refused', 1);
      expect(refused).toMatchObject({ status: 'failed', reason: 'launch-refused' });
      expect(refused.message).toContain('You are not authorized to perform this operation');
      expect(refused.message).not.toMatch(/arn:aws|000000000000|Encoded/);
      stack.cloud.faults.kill(alive(stack)[0] ?? '');
      await says('kept', /permission-denied/);
      expect(calls() - before).toBeLessThanOrEqual(2);
      expect((await deployment('kept')).status).toBe('active');
      stack.cloud.faults.clear();
    },
  );
});

async function startStorm() {
  const stack = await startStack({ runtime: createSimulatedRuntime() });
  const deployment = (name: string) => stack.call<Deployment>('GET', `/v1/jobs/${name}/deployments/1`);
  return {
    stack,
    deployment,
    calls: () => stack.cloud.ledger.calls('RunInstances').length,
    create: (name: string) => stack.call('POST', '/v1/jobs', { name, ...WEB }),
    says: (name: string, text: RegExp) => until(async () => text.test((await deployment(name)).message ?? '')),
    /** As if so much time had passed since the last launch. */
    pass: (seconds: number) =>
      stack.query(
        `WITH moved AS (
           UPDATE "scheduler-jobs".launches SET created_at = created_at - make_interval(secs => $1),
             called_at = called_at - make_interval(secs => $1))
         UPDATE "scheduler-jobs".shapes SET next_pass_at = clock_timestamp()`,
        [seconds],
      ),
  };
}
