import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CallBudget } from '../../src/aws/call-budget.ts';
import { Ec2 } from '../../src/aws/ec2.ts';
import { OwnerLease } from '../../src/ownership/owner-lease.ts';
import { Silence } from '../../src/fleet/silence.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';

describe('silence', () => {
  let world: FleetWorld;
  let ec2: Ec2;
  let instances: string[];
  beforeEach(async () => {
    world = await startFleetWorld({ statusCheckMs: 0, quotas: 'none' });
    ec2 = new Ec2({ region: 'us-west-2' });
    const fleet = world.fleet();
    fleet.start();
    await world.demand(5);
    await world.until('all are assigned', async () => (await world.assigned()).length === 5);
    await world.until('all launches are settled', async () => {
      const open = await world.rows(`SELECT 1 FROM launches WHERE status IN ('planned', 'unknown')`);
      return open.length === 0;
    });
    await fleet.stop();
    instances = (await world.assigned()).map(({ instanceId }) => instanceId).sort();
    await world.rows('UPDATE jobs SET next_pass_at = NULL');
  });
  afterEach(async () => {
    ec2.close();
    await world.close();
  });

  /** @param seconds how long this owner has been listening */
  async function listener(seconds: number): Promise<Silence> {
    const { database, signals } = world.test;
    const lease = new OwnerLease(database, 'test', 'tester');
    const tenure = await lease.acquire();
    const write = (message: string, fields: object = {}) => void world.log.push({ level: 'info', message, fields });
    return new Silence({
      database,
      signals,
      ec2,
      lease,
      budget: new CallBudget({ share: 1, now: () => performance.now(), start: { kind: 'full' } }),
      log: { info: write, warn: write, error: write },
      since: new Date((tenure?.since.getTime() ?? 0) - seconds * 1000),
    });
  }
  const hush = (ids: readonly string[]) =>
    world.rows(`UPDATE instances SET last_seen_at = clock_timestamp() - interval '2 minutes' WHERE id = ANY($1)`, [
      ids,
    ]);
  const unreachable = async () => {
    const rows = await world.rows<{ id: string }>(
      'SELECT id FROM instances WHERE unreachable_at IS NOT NULL ORDER BY id',
    );
    return rows.map(({ id }) => id);
  };

  it('marks what is silent and impaired, not what is silent and well, and wakes the one job', async () => {
    const [frozen = '', quiet = ''] = instances;
    await hush([frozen, quiet]);
    await world.cloud.faults.freeze(frozen);
    const silence = await listener(3600);
    await silence.run();
    expect(await unreachable()).toEqual([frozen]);
    expect(await world.rows('SELECT 1 FROM jobs WHERE next_pass_at IS NOT NULL')).toHaveLength(1);
    await silence.run();
    expect(await unreachable()).toEqual([frozen]);
  });

  it('asks about those of other zones where one zone is out', async () => {
    const [frozen = '', elsewhere = ''] = instances;
    const zone = world.cloud.instance(elsewhere)!.spec.availabilityZone;
    await hush([frozen, elsewhere]);
    await world.cloud.faults.freeze(frozen);
    await world.cloud.faults.freeze(elsewhere);
    // All are of one launch, and so of one zone.
    Object.assign(world.cloud.instance(frozen)!.spec, { availabilityZone: `${zone.slice(0, -1)}z` });
    await world.rows('UPDATE instances SET availability_zone = $2 WHERE id = $1', [frozen, `${zone.slice(0, -1)}z`]);
    world.cloud.faults.loseZone(zone);
    const silence = await listener(3600);
    await silence.run();
    expect(await unreachable()).toEqual([frozen]);
    world.cloud.faults.restoreZone(zone);
    await silence.run();
    expect(await unreachable()).toEqual([frozen, elsewhere].sort());
  });

  it('takes it back when the agent is heard again', async () => {
    const [frozen = ''] = instances;
    await hush([frozen]);
    await world.cloud.faults.freeze(frozen);
    const silence = await listener(3600);
    await silence.run();
    await world.rows('UPDATE instances SET last_seen_at = clock_timestamp() WHERE id = $1', [frozen]);
    await silence.run();
    expect(await unreachable()).toEqual([]);
  });

  it('heals nobody before it has listened long enough itself', async () => {
    const [frozen = ''] = instances;
    await hush([frozen]);
    await world.cloud.faults.freeze(frozen);
    await (await listener(30)).run();
    expect(await unreachable()).toEqual([]);
  });

  it('heals nobody when all are silent at once, and raises an alarm', async () => {
    await hush(instances);
    for (const id of instances) await world.cloud.faults.freeze(id);
    const silence = await listener(3600);
    await silence.run();
    expect(await unreachable()).toEqual([]);
    expect(world.log.some(({ fields }) => 'alarm' in fields)).toBe(true);
    expect(world.cloud.ledger.calls('DescribeInstanceStatus')).toEqual([]);
    // Once some are heard again, the others get their time anew.
    await world.rows('UPDATE instances SET last_seen_at = clock_timestamp() WHERE id = ANY($1)', [
      instances.slice(0, 3),
    ]);
    await silence.run();
    expect(await unreachable()).toEqual([]);
  });

  it('heals nobody when EC2 does not answer', async () => {
    const [frozen = ''] = instances;
    await hush([frozen]);
    await world.cloud.faults.freeze(frozen);
    world.cloud.faults.failNext('DescribeInstanceStatus', { code: 'InternalError' }, 2);
    await (await listener(3600)).run();
    expect(await unreachable()).toEqual([]);
  });
});
