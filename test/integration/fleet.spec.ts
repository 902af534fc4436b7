import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createImages } from '../../local/cloud/images.ts';
import { Ec2 } from '../../src/aws/ec2.ts';
import { CLUSTER_TAG, LAUNCH_TAG } from '../../src/aws/ec2-types.ts';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import { type FleetWorld, SPEC, startFleetWorld } from '../support/fleet-world.ts';

const X86 = createImages().find(({ architecture }) => architecture === 'x86_64')?.id ?? '';

describe('the fleet', () => {
  let world: FleetWorld;
  beforeEach(async () => {
    world = await startFleetWorld();
  });
  afterEach(() => world.close());

  it('gives 100 waiting attempts an instance each, with at most 3 calls', async () => {
    world.fleet().start();
    await world.demand(1);
    await world.demand(99);
    await world.until('all are assigned', async () => (await world.assigned()).length === 100);
    const assigned = await world.assigned();
    expect(new Set(assigned.map(({ instanceId }) => instanceId)).size).toBe(100);
    expect(world.cloud.ledger.calls('RunInstances').length).toBeLessThanOrEqual(3);
    expect(world.cloud.ledger.instances()).toHaveLength(100);
  });

  it('wakes the job of an assigned attempt', async () => {
    world.fleet().start();
    await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    expect(await world.rows('SELECT 1 FROM jobs WHERE next_pass_at <= clock_timestamp()')).toHaveLength(1);
  });

  it('notifies the scheduler of a pass that has something for a job, and of no other', async () => {
    let notified = 0;
    const leave = world.test.signals.on('jobs', () => (notified += 1));
    world.registers = false;
    world.fleet().start();
    await world.demand(1);
    await world.until('the launch is settled', async () => (await world.launches())[0]?.status === 'done');
    expect(notified).toBe(0);
    world.registers = true;
    await world.demand(1);
    await world.until('one is assigned', async () => (await world.assigned()).length === 1);
    await world.until('the scheduler is notified', () => notified > 0);
    leave();
  });

  it('terminates the instance of an ended attempt, and says so only when EC2 does', async () => {
    world.fleet().start();
    const attempts = await world.demand(2);
    await world.until('both are assigned', async () => (await world.assigned()).length === 2);
    await world.end(attempts.slice(0, 1));
    await world.until('one is terminated', async () => {
      const rows = await world.rows(`SELECT 1 FROM instances WHERE state = 'terminated' AND terminated_at IS NOT NULL`);
      return rows.length === 1;
    });
    expect(world.alive()).toHaveLength(1);
    expect(await world.rows(`SELECT retire_reason FROM instances WHERE retire_reason IS NOT NULL`)).toEqual([
      { retire_reason: 'attempt-ended' },
    ]);
    // The event names the job of that instance, and no other.
    expect(await world.rows(`SELECT job, deployment, attempt FROM events WHERE type = 'instance.retiring'`)).toEqual(
      await world.rows(
        `SELECT j.name AS job, 1 AS deployment, 1 AS attempt FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.id = $1`,
        [attempts[0]],
      ),
    );
  });

  it('repeats a launch whose answer was lost, and pays for one instance', async () => {
    world.registers = false;
    world.cloud.faults.loseAnswer('RunInstances');
    world.fleet().start();
    await world.demand(1);
    await world.until('the launch is settled', async () => {
      const [launch] = await world.rows<{ status: string; tries: number }>('SELECT status, tries FROM launches');
      return launch?.status === 'done';
    });
    const calls = world.cloud.ledger.calls('RunInstances');
    expect(new Set(calls.map(({ clientToken }) => clientToken)).size).toBe(1);
    expect(calls.map(({ outcome }) => outcome)).toEqual(['answer-lost', 'ok']);
    expect(world.cloud.ledger.instances()).toHaveLength(1);
  });

  it('settles a lost answer also when the instance registers before the repeat', async () => {
    world.cloud.faults.loseAnswer('RunInstances');
    world.fleet().start();
    await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    await world.until('the launch is settled', async () => {
      const open = await world.rows(`SELECT 1 FROM launches WHERE status IN ('planned', 'unknown')`);
      return open.length === 0;
    });
    expect(world.cloud.ledger.instances()).toHaveLength(1);
  });

  it('asks in another zone when one has no capacity', async () => {
    world.cloud.faults.setCapacity({ subnet: 'us-west-2a' }, 0);
    world.fleet().start();
    await world.demand(2);
    await world.until('both are assigned', async () => (await world.assigned()).length === 2);
    const zones = world.cloud.ledger.instances().map(({ spec }) => spec.availabilityZone);
    expect(new Set(zones)).toEqual(new Set(['us-west-2b']));
    expect(await world.rows(`SELECT failure, reason FROM launches WHERE status = 'failed'`)).toEqual([
      { failure: 'capacity', reason: 'insufficient-capacity' },
    ]);
  });

  it('takes what a zone has and asks for the rest elsewhere', async () => {
    world.cloud.faults.setCapacity({ subnet: 'us-west-2a' }, 3);
    world.fleet().start();
    await world.demand(8);
    await world.until('all are assigned', async () => (await world.assigned()).length === 8);
    expect(world.cloud.ledger.instances()).toHaveLength(8);
  });

  it('says what everybody waits for when nothing is left, and for how long', async () => {
    world.cloud.faults.setCapacity({}, 0);
    world.fleet().start();
    await world.demand(1);
    await world.until('there is a verdict', async () => {
      const [shape] = await world.rows<{ verdict_reason: string | null }>('SELECT verdict_reason FROM shapes');
      return shape?.verdict_reason === 'insufficient-capacity';
    });
    const [shape] = await world.rows<{ verdict_is_final: boolean; verdict_message: string }>(
      'SELECT verdict_is_final, verdict_message FROM shapes',
    );
    expect(shape?.verdict_is_final).toBe(false);
    expect(shape?.verdict_message).toContain('the next try is at');
    expect(await world.rows('SELECT 1 FROM jobs WHERE next_pass_at <= clock_timestamp()')).toHaveLength(1);
    expect(world.cloud.ledger.calls('RunInstances')).toHaveLength(3);
  });

  it('refuses for good what EC2 refuses for good, and tries again for a later attempt', async () => {
    world.cloud.faults.failNext('RunInstances', { code: 'UnauthorizedOperation', message: 'no' });
    world.fleet().start();
    const doomed = await world.demand(1);
    await world.until('the verdict is final', async () => {
      const [shape] = await world.rows<{ verdict_is_final: boolean }>('SELECT verdict_is_final FROM shapes');
      return shape?.verdict_is_final === true;
    });
    await world.end(doomed);
    await world.demand(1);
    await world.until('the later one is assigned', async () => (await world.assigned()).length === 1);
    expect(await world.rows('SELECT verdict_reason FROM shapes')).toEqual([{ verdict_reason: null }]);
    expect(world.cloud.ledger.instances()).toHaveLength(1);
  });

  it('asks again for a healing attempt, which nobody gives up, a minute after EC2 refused for good', async () => {
    world.cloud.faults.failNext('RunInstances', { code: 'UnauthorizedOperation', status: 403 });
    const [attemptId = ''] = await world.demand(1);
    await world.rows('UPDATE attempts SET priority = 0 WHERE id = $1', [attemptId]);
    world.fleet().start();
    await world.until('refused', async () => {
      const rows = await world.rows('SELECT 1 FROM shapes WHERE verdict_is_final');
      return rows.length > 0;
    });
    expect(await world.assigned()).toEqual([]);
    await world.rows(
      `UPDATE shapes SET verdict_at = verdict_at - interval '61 seconds', next_pass_at = clock_timestamp()`,
    );
    await world.until('assigned', async () => (await world.assigned()).length === 1);
  });

  it('does not spend a call on each instance when EC2 refuses to end any', async () => {
    const attempts = await world.demand(40);
    world.fleet().start();
    await world.until('assigned', async () => (await world.assigned()).length === 40);
    world.cloud.faults.failNext('TerminateInstances', { code: 'InvalidParameterCombination', status: 400 }, 1_000);
    await world.end(attempts);
    await world.until('refused', async () => {
      const rows = await world.rows('SELECT 1 FROM instances WHERE terminate_called_at IS NOT NULL');
      return rows.length === 40;
    });
    expect(world.cloud.ledger.calls('TerminateInstances').length).toBeLessThanOrEqual(80);
    world.cloud.faults.clear();
  });

  it('refuses a subnet the operator does not allow, without a call', async () => {
    world.fleet().start();
    await world.demand(1, { ...SPEC, subnetIds: ['subnet-0123456789abcdef0'] });
    await world.until('the verdict is final', async () => {
      const [shape] = await world.rows<{ verdict_reason: string }>('SELECT verdict_reason FROM shapes');
      return shape?.verdict_reason === 'subnet-not-allowed';
    });
    expect(world.cloud.ledger.calls('RunInstances')).toEqual([]);
  });

  it('keeps spares warm, and ends them when nobody wants them any more', async () => {
    world.fleet().start();
    const attempts = await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    await world.rows('UPDATE shapes SET warm = 2, next_pass_at = clock_timestamp()');
    world.test.signals.shapesDue();
    const spares = () =>
      world.rows('SELECT 1 FROM instances WHERE NOT assigned AND registered_at IS NOT NULL AND terminated_at IS NULL');
    await world.until('two spares are ready', async () => (await spares()).length === 2);
    await world.rows(`UPDATE instances SET registered_at = registered_at - interval '1 minute'`);
    await world.rows('UPDATE shapes SET warm = 0, next_pass_at = clock_timestamp()');
    world.test.signals.shapesDue();
    await world.until('only the one at work is alive', () => world.alive().length === 1);
    expect(attempts).toHaveLength(1);
  });

  it('serves the other shapes when one cannot be planned', async () => {
    const first = world.fleet();
    first.start();
    const [attempt = ''] = await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    await first.stop();

    // Both are due in the same pass, and a launch of the second shape cannot be rendered.
    await world.end([attempt]);
    await world.demand(1, { ...SPEC, diskGiB: 31 });
    world.fleet({ agents: { url: "http://me/'", pins: [] } }).start();

    await world.until('the instance is ended', () => world.alive().length === 0);
    expect(world.log).toContainEqual(
      expect.objectContaining({ level: 'error', message: 'shape could not be planned' }),
    );
  });

  it('gives an AMI’s own root device the disk that was asked for, whatever its name', async () => {
    const ubuntu = createImages().find(({ rootDevice }) => rootDevice === '/dev/sda1');
    world.fleet().start();
    await world.demand(1, { ...SPEC, imageId: ubuntu?.id ?? '' });
    await world.until('it is served', async () => (await world.assigned()).length === 1);
    const [instance] = world.cloud.ledger.instances();
    expect(instance?.spec.blockDevices).toMatchObject([{ name: '/dev/sda1', isDeletedOnTermination: true }]);
  });

  it.each<[what: string, wishes: Partial<ShapeSpec>, launched: string]>([
    ['the alias follows the type', {}, 't4g.small arm64'],
    ['an AMI of another architecture is the fault of the type', { imageId: X86 }, 't3.small x86_64'],
    ['a pinned AMI holds for its own architecture', { imageId: X86, unpinnedImageId: null }, 't4g.small arm64'],
  ])('takes types of both architectures: %s', async (_, wishes, launched) => {
    world.fleet().start();
    await world.demand(1, { ...SPEC, types: ['t4g.small', 't3.small'], ...wishes });
    await world.until('it is served', async () => (await world.assigned()).length === 1);
    const instances = world.cloud.ledger.instances().map(({ spec }) => `${spec.instanceType} ${spec.architecture}`);
    expect(instances).toEqual([launched]);
  });

  it('tells of an AMI that does not exist without asking EC2 to launch it', async () => {
    world.fleet().start();
    await world.demand(1, { ...SPEC, imageId: 'ami-0fedcba9876543210' });
    await world.until('it is told', async () => {
      const [shape] = await world.rows<{ reason: string }>(
        'SELECT verdict_reason AS reason FROM shapes WHERE verdict_is_final',
      );
      return shape?.reason === 'image-not-found';
    });
    expect(world.cloud.ledger.calls('RunInstances')).toEqual([]);
  });

  it('refuses a disk smaller than that of the AMI in words that name both, without asking EC2 to launch it', async () => {
    world.fleet().start();
    await world.demand(1, { ...SPEC, diskGiB: 8 });
    const verdict = async () => {
      const [shape] = await world.rows<{ reason: string | null; message: string; isFinal: boolean }>(
        'SELECT verdict_reason AS reason, verdict_message AS message, verdict_is_final AS "isFinal" FROM shapes',
      );
      return shape;
    };
    await world.until('it is told', async () => (await verdict())?.reason === 'disk-too-small');
    expect(await verdict()).toMatchObject({
      isFinal: true,
      message: expect.stringMatching(
        /^instance\.diskGiB is 8, and must be at least 30, the size of the root disk of ami-\w+$/,
      ),
    });
    expect(world.cloud.ledger.calls('RunInstances')).toEqual([]);
  });

  it('has never more instances than MAX_INSTANCES', async () => {
    world.fleet({ fleet: { maxInstances: 3, maxLaunchesPerMinute: 60 } }).start();
    await world.demand(5);
    await world.until('the rest is told', async () => {
      const [shape] = await world.rows<{ verdict_reason: string | null }>('SELECT verdict_reason FROM shapes');
      return shape?.verdict_reason === 'instance-limit-reached' && (await world.assigned()).length === 3;
    });
    expect(world.cloud.ledger.instances()).toHaveLength(3);
  });

  it.each([
    [0, 'the shape that was due first'],
    [1, 'the other shape'],
  ])('launches first, where it may not launch for all, for who is first in line (%d: %s)', async (index) => {
    const attempts = await world.test.database.transaction(async () => {
      const own = await world.demand(1);
      const other = await world.demand(1, { ...SPEC, types: ['t3.micro'] });
      await world.rows(`UPDATE attempts SET priority = 1 WHERE id = $1`, [[...own, ...other][index]]);
      return [...own, ...other];
    });
    world.fleet({ fleet: { maxLaunchesPerMinute: 1 } }).start();
    await world.until('one is assigned', async () => (await world.assigned()).length > 0);
    expect(await world.assigned()).toMatchObject([{ attemptId: attempts[index] }]);
  });

  it('puts its tags on what it launches, and the name of the job on what it assigns', async () => {
    world.fleet().start();
    await world.demand(1);
    await world.until('the name is set', () =>
      world.cloud.ledger.calls('CreateTags').some(({ outcome }) => outcome === 'ok'),
    );
    const [assigned] = await world.assigned();
    const [facts] = await world.rows<{ launch: string; job: string }>(
      'SELECT l.id AS launch, j.name AS job FROM launches l, jobs j',
    );
    const ec2 = new Ec2({ region: 'us-west-2' });
    const [instance] = await ec2.describeByIds([assigned!.instanceId]);
    ec2.close();
    expect(instance?.tags).toEqual({
      [CLUSTER_TAG]: 'test',
      [LAUNCH_TAG]: facts?.launch,
      Name: `test/${facts?.job}`,
      'scheduler-api:job': facts?.job,
      'scheduler-api:deployment': '1',
    });
    expect(world.cloud.ledger.calls('RunInstances')[0]?.clientToken).toBe(facts?.launch);
  });

  it('does not keep the launch secret once the launch is settled', async () => {
    world.fleet().start();
    await world.demand(1);
    await world.until('it is assigned', async () => (await world.assigned()).length === 1);
    await world.until('the input is gone', async () => {
      const rows = await world.rows(`SELECT 1 FROM launches WHERE status = 'done' AND input = ''`);
      return rows.length === 1;
    });
  });
});
