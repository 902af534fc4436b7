import { describe, expect } from '@jest/globals';
import type { Ec2 } from '../../src/aws/ec2.ts';
import { CLUSTER_TAG, LAUNCH_TAG, type RunInput } from '../../src/aws/ec2-types.ts';
import { launchInput } from '../../src/fleet/launch-input.ts';
import { connect, SPEC, startFleetWorld } from '../support/fleet-world.ts';
import { sideBySide } from '../support/side-by-side.ts';

// How large a launch is, and what it takes from EC2's quotas. Most of it is waiting: several at once, each in a world of its own.
const aLaunch = sideBySide(startWorld, ({ world }) => world.close());

describe('a launch', () => {
  for (const [code, failure] of [
    ['VcpuLimitExceeded', 'quota'],
    ['InsufficientFreeAddressesInSubnet', 'address'],
  ] as const) {
    aLaunch(`halves its count after ${code}`, async ({ world, assigned }) => {
      world.cloud.faults.failNext('RunInstances', { code }, 2);
      world.fleet().start();
      await world.demand(8);
      await assigned(8);
      const launches = await world.launches();
      expect(launches.slice(0, 3)).toMatchObject([
        { count: 8, status: 'failed', failure },
        { count: 4, status: 'failed', failure },
        { count: 2, status: 'done' },
      ]);
      expect(world.cloud.ledger.instances()).toHaveLength(8);
    });
  }

  aLaunch('larger than what is wanted by now is not called: a smaller one is', async ({ world, assigned, called }) => {
    world.cloud.faults.throttle('RunInstances', 60_000);
    world.fleet().start();
    const attempts = await world.demand(5);
    await called(1);
    await world.until('it is planned again', async () => (await world.launches())[0]?.status === 'planned');
    await world.end(attempts.slice(1));
    world.cloud.faults.clear();
    await assigned(1);
    expect(await world.launches()).toMatchObject([
      { count: 5, status: 'failed', reason: 'not-needed' },
      { count: 1, status: 'done' },
    ]);
    expect(world.cloud.ledger.instances()).toHaveLength(1);
  });

  aLaunch(
    'shares the account with others: refused by EC2, the fleet slows down, and still gets there',
    async ({ world, calls }) => {
      const stranger = await connect(world.cloud);
      const input = await inputOf(stranger);
      // Two calls a second are all EC2 gives this account, and we think that most of them are ours.
      const take = () => stranger.runInstances(input, 'stranger').catch(() => undefined);
      const other = setInterval(() => void take(), 700);
      await Promise.all([1, 2, 3, 4, 5].map(take));
      world.fleet().start();
      for (let shape = 0; shape < 6; shape += 1) await world.demand(1, { ...SPEC, diskGiB: 40 + shape });
      await world.until('all are assigned', async () => (await world.assigned()).length === 6, 60_000);
      clearInterval(other);
      stranger.close();
      const ours = calls().filter(({ clientToken }) => clientToken !== 'stranger');
      const refused = ours.filter(({ outcome }) => outcome === 'RequestLimitExceeded');
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.length).toBeLessThan(10);
      expect(world.cloud.ledger.instances().filter(({ clientToken }) => clientToken !== 'stranger')).toHaveLength(6);
    },
    90_000,
  );

  aLaunch('is not paid for twice: its repeat needs no instances of the quota', async ({ world, outcomes, settled }) => {
    world.cloud.faults.loseAnswer('RunInstances');
    world.registers = false;
    // A bucket of 200 instances that fills by 0.4 a second: a second payment of 150 would take four minutes.
    world.fleet({ aws: { quotaShare: 0.2 } }).start();
    await world.demand(150);
    await settled();
    expect(outcomes()).toEqual(['answer-lost', 'ok']);
    expect(world.cloud.ledger.instances()).toHaveLength(150);
  });

  aLaunch('too large for what is left of the quota goes back for smaller ones', async ({ world, called, expire }) => {
    world.cloud.faults.throttle('RunInstances', 60_000);
    const first = world.fleet();
    first.start();
    await world.demand(50);
    await called(1);
    await world.until('it is planned again', async () => (await world.launches())[0]?.status === 'planned');
    await expire();
    // After a crash the buckets count as empty: 50 instances would be 31 s away.
    world.fleet().start();
    world.cloud.faults.clear();
    await world.until('the first are served', async () => (await world.assigned()).length > 0);
    const [large, ...small] = await world.launches();
    expect(large).toMatchObject({ count: 50, status: 'failed', failure: 'throttled' });
    expect(small.length).toBeGreaterThan(0);
    expect(small.every(({ count }) => count < 10)).toBe(true);
  });
});

async function startWorld() {
  const world = await startFleetWorld();
  const calls = () => world.cloud.ledger.calls('RunInstances');
  const isSettled = async () => {
    const launches = await world.launches();
    return launches.length > 0 && launches.every(({ status }) => status === 'done' || status === 'failed');
  };
  return {
    world,
    calls,
    outcomes: () => calls().map(({ outcome }) => outcome),
    assigned: (count: number) =>
      world.until(`${count} are assigned`, async () => (await world.assigned()).length === count),
    called: (times: number) => world.until(`called ${times} times`, () => calls().length >= times),
    settled: () => world.until('every launch is settled', isSettled),
    expire: () => world.rows(`UPDATE owner SET expires_at = clock_timestamp() - interval '1 second'`),
  };
}

async function inputOf(ec2: Ec2): Promise<RunInput> {
  const [subnetId = ''] = await ec2.findDefaultSubnets();
  return launchInput({
    spec: SPEC,
    securityGroupIds: [],
    offer: { type: 't3.small', subnetId, market: 'on-demand' },
    count: 1,
    ami: (await ec2.findImage({ name: 'al2023-ami-ecs-hvm-2023*', architecture: 'x86_64' })) ?? {
      id: '',
      rootDevice: '',
      architecture: null,
    },
    userDataBase64: '',
    launchId: 'stranger',
    cluster: 'stranger',
    tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
  });
}
