import { randomUUID } from 'node:crypto';
import { describe, expect } from '@jest/globals';
import { shapeKeyOf } from '../../src/deployments/shape-key.ts';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import { shareRoom } from '../../src/fleet/load-shapes.ts';
import { LINE_SECONDS } from '../../src/fleet/plan/plan-fleet.ts';
import { SPEC, startFleetWorld } from '../support/fleet-world.ts';
import { sideBySide } from '../support/side-by-side.ts';

const SPOT: ShapeSpec = { ...SPEC, market: 'spot', types: ['t3.small', 't3.medium'] };
const SPOT_FIRST: ShapeSpec = { ...SPOT, fallbackMarket: 'on-demand' };
const LIMITS = { maxLaunchesPerMinute: 60 };

// Several at once, each in a world of its own: most of it is waiting.
const inAWorld = sideBySide(startWorld, ({ world }) => world.close());

describe('capacity', () => {
  inAWorld(
    'launches where a type is offered, and does not ask the zones again that do not have it',
    async ({ world, isAssigned }) => {
      world.cloud.faults.setOfferings('us-west-2a', ['m5.*']);
      world.cloud.faults.setOfferings('us-west-2b', []);
      world.fleet().start();
      for (let round = 0; round < 3; round += 1) {
        const attempts = await world.demand(1);
        await world.until('it is assigned', () => isAssigned(...attempts));
      }
      const zones = world.cloud.ledger.instances().map(({ spec }) => spec.availabilityZone);
      expect(zones).toEqual(['us-west-2c', 'us-west-2c', 'us-west-2c']);
      const refused = world.cloud.ledger.calls('RunInstances').filter(({ outcome }) => outcome === 'Unsupported');
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.length).toBeLessThanOrEqual(2);
    },
  );

  inAWorld('says of an instance profile that is missing on AWS what EC2 says of it', async ({ world, verdict }) => {
    const missing: ShapeSpec = { ...SPEC, profile: 'absent' };
    world.fleet({ fleet: { ...LIMITS, allowedProfiles: ['absent'] } }).start();
    await world.demand(1, missing);
    await world.until('there is a verdict', async () => (await verdict(missing))?.reason === 'request-invalid');
    expect((await verdict(missing))?.message).toContain(
      'Value (absent) for parameter iamInstanceProfile.name is invalid',
    );
    expect(world.cloud.ledger.instances()).toEqual([]);
  });

  describe('in another market', () => {
    inAWorld(
      'launches on demand once no type in no subnet is to be had as spot, each offer with a token of its own',
      async ({ world, launched, isAssigned }) => {
        world.cloud.faults.setCapacity({ market: 'spot' }, 0);
        world.fleet().start();
        const attempts = await world.demand(2, SPOT_FIRST);
        await world.until('both are assigned', () => isAssigned(...attempts));
        const calls = world.cloud.ledger.calls('RunInstances');
        expect(new Set(calls.map(({ clientToken }) => clientToken)).size).toBe(calls.length);
        const launches = await launched();
        const spot = launches.filter(({ market }) => market === 'spot');
        expect(spot.every(({ failure }) => failure === 'capacity')).toBe(true);
        expect(new Set(spot.map(({ type }) => type))).toEqual(new Set(SPOT_FIRST.types));
        expect(launches.slice(spot.length)).toEqual([
          { market: 'on-demand', type: 't3.small', status: 'done', failure: null },
        ]);
        expect(world.cloud.ledger.instances().map(({ spec }) => spec.market)).toEqual(['on-demand', 'on-demand']);
      },
    );

    inAWorld('launches none but spot for a job that names no other', async ({ world, verdict }) => {
      world.cloud.faults.setCapacity({ market: 'spot' }, 0);
      world.fleet().start();
      await world.demand(1, SPOT);
      await world.until('there is a verdict', async () => (await verdict(SPOT))?.reason === 'insufficient-capacity');
      expect((await verdict(SPOT))?.message).toMatch(/the next try is at 20\d\d-/);
      expect(world.cloud.ledger.instances()).toEqual([]);
    });

    inAWorld('asks for spot again when the failures are forgotten', async ({ world, isAssigned }) => {
      world.cloud.faults.setCapacity({ market: 'spot' }, 0);
      const fleet = world.fleet();
      fleet.start();
      const before = await world.demand(1, SPOT_FIRST);
      await world.until('it is assigned', () => isAssigned(...before));
      const onDemand = await world.demand(1, SPOT_FIRST);
      await world.until('the failures are remembered', () => isAssigned(...onDemand));
      world.cloud.faults.setCapacity({ market: 'spot' }, 9);
      // Three minutes pass. Not while a pass may write back what it had loaded before.
      await fleet.stop();
      await world.rows(`UPDATE shapes SET capacity = capacity - 'failedOffers'`);
      world.fleet().start();
      const later = await world.demand(1, SPOT_FIRST);
      await world.until('it is assigned', () => isAssigned(...later));
      expect(world.cloud.ledger.instances().map(({ spec }) => spec.market)).toEqual(['on-demand', 'on-demand', 'spot']);
    });

    inAWorld('does not fall back while the outcome of the spot launch is not known', async ({ world, launched }) => {
      world.cloud.faults.loseAnswer('RunInstances');
      // The repeat, which would tell, is refused until the faults are taken back.
      world.cloud.faults.failNext('RunInstances', { code: 'InternalError' }, 1_000);
      world.registers = false;
      world.fleet().start();
      await world.demand(1, SPOT_FIRST);
      await world.until('it was repeated', () => world.cloud.ledger.calls('RunInstances').length >= 3);
      expect(await launched()).toMatchObject([{ market: 'spot', status: 'unknown' }]);
      world.cloud.faults.clear();
      await world.until('it is settled', async () => (await launched())[0]?.status === 'done');
      expect(new Set(world.cloud.ledger.calls('RunInstances').map(({ clientToken }) => clientToken)).size).toBe(1);
      expect(world.cloud.ledger.instances()).toHaveLength(1);
    });
  });

  describe('when it is short, one line for all', () => {
    inAWorld(
      'serves a heal first, behind 1,000 new deployments, and of the others the oldest',
      async ({ world, retime }) => {
        const deployments = await world.demand(1_000);
        await retime(deployments, 2, 60);
        const [last = ''] = deployments;
        await retime([last], 3, 60 + LINE_SECONDS + 1);
        const [heal = ''] = await world.demand(1);
        await retime([heal], 0, 0);
        world.fleet({ fleet: { ...LIMITS, maxInstances: 2 } }).start();
        await world.until('two are served', async () => (await world.assigned()).length === 2);
        expect(new Set((await world.assigned()).map(({ attemptId }) => attemptId))).toEqual(new Set([heal, last]));
      },
    );

    inAWorld('makes the call a heal waits for before those of 30 other shapes', async ({ world, retime }) => {
      for (let size = 0; size < 30; size += 1) await world.demand(1, { ...SPEC, diskGiB: 100 + size });
      const [heal = ''] = await world.demand(1);
      await retime([heal], 0, 0);
      world.fleet().start();
      // As many at once as our share of the quota is.
      await world.until('the first are called', () => world.cloud.ledger.calls('RunInstances').length >= 4);
      const [launch] = await world.rows<{ id: string }>('SELECT id FROM launches WHERE shape_key = $1', [
        shapeKeyOf(SPEC),
      ]);
      const first = world.cloud.ledger.calls('RunInstances').slice(0, 4);
      expect(first.map(({ clientToken }) => clientToken)).toContain(launch?.id);
    });

    inAWorld(
      'serves the last in line although heals keep coming, after a quarter of an hour of them',
      async ({ world, isAssigned, retime }) => {
        const [schedule = ''] = await world.demand(1);
        await retime([schedule], 3, 0);
        const fleet = world.fleet({ fleet: { ...LIMITS, maxInstances: 1 } });
        const first = await world.demand(1);
        await retime(first, 0, 1);
        fleet.start();
        let [heal = ''] = first;
        let served = 0;
        for (let age = 240; !(await isAssigned(schedule)); age += 240, served += 1) {
          expect(age).toBeLessThan(1_200);
          await world.until('the heal is served', () => isAssigned(heal));
          // Four minutes pass, and there is another one.
          const [next = ''] = await world.demand(1);
          await retime([schedule], 3, age);
          await retime([next], 0, 0);
          await world.end([heal]);
          await world.until('somebody has its place', async () => (await isAssigned(next)) || isAssigned(schedule));
          heal = next;
        }
        expect(served).toBe(4);
      },
      60_000,
    );

    inAWorld(
      'shares MAX_INSTANCES by age among shapes, whichever is looked at first',
      async ({ world, isAssigned, verdict, retime }) => {
        const other: ShapeSpec = { ...SPEC, types: ['t3.medium'] };
        const running = await world.demand(1);
        const fleet = world.fleet({ fleet: { ...LIMITS, maxInstances: 1 } });
        fleet.start();
        await world.until('the fleet is full', () => isAssigned(...running));
        const [patient = ''] = await world.demand(1, other);
        const stream = await world.demand(20);
        await retime([patient], 3, LINE_SECONDS + 100);
        await world.until('both are told', async () => {
          const [a, b] = [await verdict(SPEC), await verdict(other)];
          return a?.reason === 'instance-limit-reached' && b?.reason === 'instance-limit-reached';
        });
        // Ends an instance of the stream's shape: that shape is woken first, and again and again.
        await world.end(running);
        await world.until('somebody has its place', async () => (await world.assigned()).length === 2);
        expect(await isAssigned(patient)).toBe(true);
        expect(await isAssigned(stream[0] ?? randomUUID())).toBe(false);
      },
      40_000,
    );

    inAWorld('holds no second place for a launch whose outcome is not known', async ({ world, launched }) => {
      const other: ShapeSpec = { ...SPEC, types: ['t3.medium'] };
      world.cloud.faults.loseAnswer('RunInstances');
      world.cloud.faults.failNext('RunInstances', { code: 'InternalError' }, 1_000);
      world.registers = false;
      const fleet = world.fleet({ fleet: { ...LIMITS, maxInstances: 2 } });
      fleet.start();
      await world.demand(1, other);
      await world.until('it is not known', async () => (await launched())[0]?.status === 'unknown');
      await fleet.stop();
      // As it is before the first repeat: a verdict would take the shape out of the line.
      await world.rows('UPDATE shapes SET verdict_reason = NULL');
      await world.demand(1);
      expect(await shareRoom(world.test.database, 1)).toEqual(new Map([[shapeKeyOf(SPEC), 1]]));
    });

    inAWorld('holds no room for a shape that EC2 has nothing for', async ({ world, isAssigned, verdict, retime }) => {
      const scarce: ShapeSpec = { ...SPEC, types: ['t3.medium'] };
      world.cloud.faults.setCapacity({ type: 't3.medium' }, 0);
      world.fleet({ fleet: { ...LIMITS, maxInstances: 1 } }).start();
      const [first = ''] = await world.demand(1, scarce);
      await retime([first], 0, 100);
      await world.until('there is none', async () => (await verdict(scarce))?.reason === 'insufficient-capacity');
      const [second = ''] = await world.demand(1);
      await world.until('the other is served', () => isAssigned(second));
    });
  });
});

async function startWorld() {
  const world = await startFleetWorld({ quotas: 'none' });
  const launched = () =>
    world.rows<{ market: string; type: string; status: string; failure: string | null }>(
      'SELECT market, instance_type AS type, status, failure FROM launches ORDER BY created_at',
    );
  const isAssigned = async (...ids: string[]) => {
    const given = new Set((await world.assigned()).map(({ attemptId }) => attemptId));
    return ids.every((id) => given.has(id));
  };
  const verdict = async (spec: ShapeSpec) => {
    const [row] = await world.rows<{ reason: string | null; message: string | null }>(
      'SELECT verdict_reason AS reason, verdict_message AS message FROM shapes WHERE key = $1',
      [shapeKeyOf(spec)],
    );
    return row;
  };
  const retime = (ids: readonly string[], priority: number, secondsAgo: number) =>
    world.rows(
      `UPDATE attempts SET priority = $2, created_at = clock_timestamp() - make_interval(secs => $3) WHERE id = ANY($1)`,
      [ids, priority, secondsAgo],
    );
  return { world, launched, isAssigned, verdict, retime };
}
