import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { EC2Client, RunInstancesCommand, StopInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { CLUSTER_TAG, LAUNCH_TAG } from '../../src/aws/ec2-types.ts';
import { type FleetWorld, SPEC, startFleetWorld } from '../support/fleet-world.ts';

describe('the sweep', () => {
  let world: FleetWorld;
  let operator: EC2Client;
  beforeEach(async () => {
    world = await startFleetWorld({ quotas: 'none' });
    operator = new EC2Client({ region: 'us-west-2' });
  });
  afterEach(async () => {
    operator.destroy();
    await world.close();
  });

  /** As somebody else with access to the account would. */
  async function launchByHand(tags: Record<string, string>): Promise<string> {
    const { Instances = [] } = await operator.send(
      new RunInstancesCommand({
        ImageId: await imageId(),
        InstanceType: 't3.small',
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [
          { ResourceType: 'instance', Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) },
        ],
      }),
    );
    return Instances[0]?.InstanceId ?? '';
  }

  async function imageId(): Promise<string> {
    const [launch] = await world.rows<{ image_id: string }>('SELECT image_id FROM launches LIMIT 1');
    return launch?.image_id ?? 'resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id';
  }

  async function instance(id: string) {
    const [row] = await world.rows<{
      state: string;
      quarantined: boolean;
      retire_reason: string | null;
      terminated_at: Date | null;
      launch_id: string | null;
    }>('SELECT state, quarantined, retire_reason, terminated_at, launch_id FROM instances WHERE id = $1', [id]);
    return row;
  }

  async function oneAssigned(): Promise<{ instanceId: string; attemptId: string }> {
    await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    const [assigned] = await world.assigned();
    return assigned!;
  }

  it('sees within seconds that one runs whose agent has registered before EC2 showed it', async () => {
    await world.close();
    world = await startFleetWorld({ quotas: 'none', visibilityMs: 1_500 });
    world.fleet().start();
    const { instanceId } = await oneAssigned();
    expect((await instance(instanceId))?.state).toBe('pending');
    // The next whole look is ten seconds after the first one.
    await world.until('it is running', async () => (await instance(instanceId))?.state === 'running', 7_000);
  });

  it('quarantines an instance with our tag whose launch it does not know, and leaves it alive', async () => {
    const id = await launchByHand({ [CLUSTER_TAG]: 'test', [LAUNCH_TAG]: '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11' });
    const nameless = await launchByHand({ [CLUSTER_TAG]: 'test' });
    world.fleet().start();
    await world.until('both are known', async () => (await world.rows('SELECT 1 FROM instances')).length === 2);
    expect(await instance(id)).toMatchObject({ quarantined: true, retire_reason: null, launch_id: null });
    expect(await instance(nameless)).toMatchObject({ quarantined: true, retire_reason: null });
    await world.until('somebody is alarmed', () => world.log.some(({ fields }) => 'alarm' in fields));
    expect(world.log.find(({ fields }) => 'alarm' in fields)?.message).toContain('quarantined');
    // It serves nobody, either.
    await oneAssigned();
    expect(world.alive()).toHaveLength(3);
    expect(world.cloud.ledger.calls('TerminateInstances')).toEqual([]);
  });

  it('never looks at instances of another cluster or without our tag', async () => {
    await launchByHand({ [CLUSTER_TAG]: 'other' });
    await launchByHand({ Name: 'database' });
    world.fleet().start();
    await oneAssigned();
    expect(await world.rows('SELECT 1 FROM instances')).toHaveLength(1);
    expect(world.alive()).toHaveLength(3);
  });

  it('takes in an instance whose launch it knows and whose row was lost', async () => {
    const first = world.fleet();
    first.start();
    world.registers = false;
    await world.demand(1);
    await world.until('it is launched', async () => (await world.rows('SELECT 1 FROM instances')).length === 1);
    await first.stop();
    const [row] = await world.rows<{ id: string; launch_id: string }>('DELETE FROM instances RETURNING id, launch_id');
    world.fleet().start();
    await world.until('it is back', async () => (await instance(row!.id)) !== undefined);
    expect(await instance(row!.id)).toMatchObject({ launch_id: row!.launch_id, quarantined: false });
  });

  it('notices what was terminated by hand, and wakes its job', async () => {
    const first = world.fleet();
    first.start();
    const { instanceId } = await oneAssigned();
    await first.stop();
    await world.rows('UPDATE jobs SET next_pass_at = NULL');
    await operator.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
    world.fleet().start();
    await world.until('it is over', async () => (await instance(instanceId))?.terminated_at instanceof Date);
    expect(await instance(instanceId)).toMatchObject({ state: 'terminated', retire_reason: null });
    expect(await world.rows('SELECT 1 FROM jobs WHERE next_pass_at IS NOT NULL')).toHaveLength(1);
  });

  it('forgets an address that EC2 has taken away: it may be somebody else’s by now', async () => {
    world.fleet().start();
    const { instanceId } = await oneAssigned();
    const addressOf = async () =>
      (await world.rows<{ ip: string | null }>('SELECT public_ip AS ip FROM instances WHERE id = $1', [instanceId]))[0]
        ?.ip;
    await world.until('it has one', async () => (await addressOf()) !== null);
    world.cloud.instance(instanceId)!.publicIp = undefined;
    await world.until('it is gone', async () => (await addressOf()) === null);
  });

  it('ends what was stopped by hand: an agent that missed everything never serves again', async () => {
    const first = world.fleet();
    first.start();
    const { instanceId } = await oneAssigned();
    await first.stop();
    await operator.send(new StopInstancesCommand({ InstanceIds: [instanceId] }));
    world.fleet().start();
    await world.until('it is over', async () => (await instance(instanceId))?.terminated_at instanceof Date);
    expect(await instance(instanceId)).toMatchObject({ retire_reason: 'stopped-outside' });
    expect(world.alive()).toEqual([]);
  });

  it('calls an instance gone only after two describes without it, a minute apart, when it is old', async () => {
    const first = world.fleet();
    first.start();
    const { instanceId } = await oneAssigned();
    await first.stop();
    const lost = 'i-0123456789abcdef0';
    await world.rows(
      `INSERT INTO instances (id, launch_id, shape_key, state, launched_at, assigned)
       SELECT $2, launch_id, shape_key, 'running', clock_timestamp() - interval '1 hour', true FROM instances WHERE id = $1`,
      [instanceId, lost],
    );
    const second = world.fleet();
    second.start();
    const missing = () =>
      world.rows<{ missing_since: Date | null }>('SELECT missing_since FROM instances WHERE id = $1', [lost]);
    await world.until('it is missed', async () => (await missing())[0]?.missing_since instanceof Date);
    expect(await instance(lost)).toMatchObject({ state: 'running', terminated_at: null });
    await second.stop();
    await world.rows(`UPDATE instances SET missing_since = missing_since - interval '61 seconds' WHERE id = $1`, [
      lost,
    ]);
    world.fleet().start();
    await world.until('it is gone', async () => (await instance(lost))?.state === 'gone');
    expect((await instance(lost))?.terminated_at).toBeInstanceOf(Date);
    expect((await instance(instanceId))?.terminated_at).toBeNull();
  });

  it.each(['InternalError', 'RequestLimitExceeded', 'UnauthorizedOperation'])(
    'touches no row when the describe ends with %s',
    async (code) => {
      const first = world.fleet();
      first.start();
      const { instanceId } = await oneAssigned();
      await first.stop();
      await world.rows(`UPDATE instances SET launched_at = launched_at - interval '1 hour'`);
      world.cloud.faults.failNext('DescribeInstances', { code }, 4);
      const second = world.fleet();
      second.start();
      await world.until('it failed', () => world.log.some(({ message }) => message === 'loop failed'));
      expect(await instance(instanceId)).toMatchObject({
        state: expect.stringMatching(/pending|running/),
        terminated_at: null,
      });
    },
  );

  describe('in a zone’s outage', () => {
    async function inTwoZones(): Promise<{ here: string[]; there: string[]; zone: string }> {
      const first = world.fleet();
      first.start();
      await world.demand(2, SPEC);
      await world.until('two are assigned', async () => (await world.assigned()).length === 2);
      world.cloud.faults.setCapacity({ subnet: world.cloud.instance(world.alive()[0]!)!.spec.subnetId }, 0);
      await world.demand(2);
      await world.until('four are assigned', async () => (await world.assigned()).length === 4);
      await world.until('all are seen running', async () => {
        const rows = await world.rows(
          `SELECT 1 FROM instances WHERE state = 'running' AND availability_zone IS NOT NULL`,
        );
        return rows.length === 4;
      });
      await first.stop();
      const zoneOf = (id: string) => world.cloud.instance(id)!.spec.availabilityZone;
      const zones = Map.groupBy(world.alive(), zoneOf);
      expect(zones.size).toBe(2);
      const [[zone, there], [, here]] = [...zones] as [[string, string[]], [string, string[]]];
      return { here, there, zone };
    }

    it('goes on looking at instances of the other zones, and calls none of that zone gone', async () => {
      const { here, there, zone } = await inTwoZones();
      // As old as it takes to be called gone, and one EC2 does not know any more.
      await world.rows(`UPDATE instances SET launched_at = launched_at - interval '1 hour'`);
      const forgotten = 'i-0123456789abcdef0';
      await world.rows(
        `INSERT INTO instances (id, launch_id, shape_key, state, launched_at, assigned, availability_zone)
         SELECT $2, launch_id, shape_key, 'running', launched_at, true, availability_zone FROM instances WHERE id = $1`,
        [here[0], forgotten],
      );
      await world.rows(
        `UPDATE instances SET missing_since = clock_timestamp() - interval '1 hour' WHERE id = ANY($1)`,
        [[...there, forgotten]],
      );
      world.cloud.faults.loseZone(zone);
      world.cloud.faults.kill(here[0]!, 'hand');
      world.cloud.faults.kill(there[0]!, 'hand');
      world.fleet().start();
      await world.until('the one of the other zone is over', async () => {
        return (await instance(here[0]!))?.terminated_at instanceof Date;
      });
      for (const id of [here[1]!, ...there, forgotten])
        expect(await instance(id)).toMatchObject({ state: 'running', terminated_at: null });
      expect(world.log.filter(({ message }) => message === 'loop failed')).toEqual([]);
      expect(world.log.find(({ message }) => message.includes('zone by zone'))?.fields).toMatchObject({
        unanswered: [zone],
      });

      world.cloud.faults.restoreZone(zone);
      await world.until('that of the zone is over as well', async () => {
        return (await instance(there[0]!))?.terminated_at instanceof Date;
      });
      expect(await instance(there[0]!)).toMatchObject({ state: 'terminated' });
    });

    it('sees within seconds that one of another zone has ended that was to end', async () => {
      const { here, there, zone } = await inTwoZones();
      const looks = () => world.cloud.ledger.calls('DescribeInstances').length;
      const before = looks();
      world.fleet().start();
      // A new owner does nothing before it has seen everything once.
      await world.until('all are looked at', () => looks() > before);
      world.cloud.faults.loseZone(zone);
      const ended = await world.rows<{ attempt_id: string }>(
        'SELECT attempt_id FROM assignments WHERE instance_id = ANY($1)',
        [[here[0], there[0]]],
      );
      await world.end(ended.map(({ attempt_id }) => attempt_id));
      await world.until('it is over', async () => (await instance(here[0]!))?.terminated_at instanceof Date, 8_000);
      expect((await instance(there[0]!))?.terminated_at).toBeNull();
    });
  });

  it('terminates the others of a batch when EC2 does not know one of them', async () => {
    const fleet = world.fleet();
    fleet.start();
    const attempts = await world.demand(3);
    await world.until('all are assigned', async () => (await world.assigned()).length === 3);
    await world.rows(
      `INSERT INTO instances (id, launch_id, shape_key, state, retire_reason, retired_at)
       SELECT 'i-0fffffffffffffff0', launch_id, shape_key, 'running', 'idle-surplus', clock_timestamp()
       FROM instances LIMIT 1`,
    );
    await world.end(attempts);
    await world.until('all are over', () => world.alive().length === 0);
    expect(await instance('i-0fffffffffffffff0')).toMatchObject({ terminated_at: null });
  });
});
