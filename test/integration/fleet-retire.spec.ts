import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { overdraft } from '../support/call-rates.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';

describe('an instance that is to end', () => {
  let world: FleetWorld;
  beforeEach(async () => {
    world = await startFleetWorld();
  });
  afterEach(() => world.close());

  const calls = () => world.cloud.ledger.calls('TerminateInstances');
  const isOver = () => world.until('nothing is alive', () => world.alive().length === 0);
  const serve = async (count: number, quotaShare = 0.8): Promise<string[]> => {
    world.fleet({ aws: { quotaShare } }).start();
    const attempts = await world.demand(count);
    await world.until('all are assigned', async () => (await world.assigned()).length === count);
    return attempts;
  };

  it.each(['RequestLimitExceeded', 'InternalError', 'ExpiredToken'])(
    'is ended soon after EC2 answered %s, with a pause between the calls',
    async (code) => {
      const attempts = await serve(3);
      world.cloud.faults.failNext('TerminateInstances', { code }, 2);
      await world.end(attempts);
      await isOver();
      expect(calls().map(({ outcome }) => outcome)).toEqual([code, code, 'ok']);
      const [first, second] = calls().map(({ at }) => Date.parse(at));
      // A quarter of a second at least, in rounded milliseconds.
      expect(second! - first!).toBeGreaterThanOrEqual(248);
    },
  );

  it('is asked for again when the answer was lost, which does no harm', async () => {
    const attempts = await serve(3);
    world.cloud.faults.loseAnswer('TerminateInstances');
    await world.end(attempts);
    await isOver();
    await world.until('all are known to be over', async () => {
      const rows = await world.rows('SELECT 1 FROM instances WHERE terminated_at IS NULL');
      return rows.length === 0;
    });
    expect(world.cloud.ledger.instances()).toHaveLength(3);
  });

  it('does not wait for another that EC2 refuses', async () => {
    const attempts = await serve(30);
    const [ghost] = await world.rows<{ id: string }>(
      `INSERT INTO instances (id, launch_id, shape_key, state, retire_reason, retired_at)
       SELECT 'i-0fffffffffffffff0', id, shape_key, 'running', 'attempt-ended', clock_timestamp() FROM launches LIMIT 1
       RETURNING id`,
    );
    await world.end(attempts);
    await isOver();
    const outcomes = calls().map(({ outcome }) => outcome);
    expect(outcomes).toContain('InvalidInstanceID.NotFound');
    // Halving finds one of thirty in five steps of two calls each.
    expect(outcomes.length).toBeLessThanOrEqual(12);
    expect(ghost).toEqual({ id: 'i-0fffffffffffffff0' });
  });

  it('is asked for with growing pauses while EC2 denies it, which the health page tells, and goes once it is permitted', async () => {
    const [first, ...others] = await serve(6);
    const idOf = async (attempt: string | undefined) =>
      (await world.assigned()).find(({ attemptId }) => attemptId === attempt)?.instanceId ?? '';
    const id = await idOf(first);
    const refusals = (of: string) =>
      world.log.filter(
        ({ message, fields }) =>
          message === 'instances could not be terminated yet' && Object.values(fields).flat().includes(of),
      ).length;
    // The log says so before the row does, whose time would then overwrite the one that this test sets.
    const denied = async (times: number) => {
      await world.until(`it is denied ${times} times`, () => refusals(id) === times);
      await world.until('that is noted', async () => {
        const recent = `terminate_called_at > clock_timestamp() - interval '20 seconds'`;
        return (await world.rows(`SELECT 1 FROM instances WHERE id = $1 AND ${recent}`, [id])).length === 1;
      });
    };
    world.cloud.faults.denyAction('TerminateInstances');
    await world.end([first!]);
    await denied(1);
    await world.until('it is told', () => world.terminationTrouble?.includes(`${id}: permission-denied`) === true);

    for (const [triedFor, pause] of [
      [0, 30],
      [100, 100],
      [290, 290],
      [5_000, 300],
    ] as const) {
      const called = (secondsAgo: number) =>
        world.rows(
          `UPDATE instances SET terminate_called_at = clock_timestamp() - make_interval(secs => $2),
             retired_at = clock_timestamp() - make_interval(secs => $2) - make_interval(secs => $3) WHERE id = $1`,
          [id, secondsAgo, triedFor],
        );
      const before = refusals(id);
      await called(pause - 5);
      // Whoever looks for what is due takes this one, and leaves that.
      const other = others.pop()!;
      await world.end([other]);
      const otherId = await idOf(other);
      await world.until('another is denied', () => refusals(otherId) > 0);
      expect(refusals(id)).toBe(before);
      await called(pause + 1);
      world.test.signals.shapesDue();
      await denied(before + 1);
    }
    expect(world.terminationTrouble).toMatch(/^EC2 does not terminate i-\w+ and 4 more: permission-denied: /);
    world.cloud.faults.clear();
    await world.end(others);
    await world.until('nothing is alive', async () => {
      // Again and again: that a call was denied may be noted only now, with a pause of minutes.
      // In the program's order, which may be updating some of them itself.
      await world.rows(
        `WITH ordered AS (SELECT id FROM instances ORDER BY id FOR UPDATE)
         UPDATE instances SET terminate_called_at = NULL FROM ordered WHERE instances.id = ordered.id`,
      );
      world.test.signals.shapesDue();
      return world.alive().length === 0;
    });
    await world.until('it is well', () => world.terminationTrouble === null);
  });

  it('is asked for no more once EC2 shuts it down, however long that takes', async () => {
    await serve(1);
    const ending = `UPDATE instances SET state = 'shutting-down', retire_reason = 'attempt-ended',
      retired_at = clock_timestamp() - interval '1 hour', terminate_called_at = clock_timestamp() - interval '1 hour'
      WHERE id = $1 RETURNING id`;
    const [slow] = await world.assigned();
    expect(await world.rows(ending, [slow!.instanceId])).toHaveLength(1);
    const other = await world.demand(1);
    await world.until('the other is assigned', async () => (await world.assigned()).length === 2);
    await world.end(other);
    await world.until('the other is ended', () => calls().some(({ outcome }) => outcome === 'ok'));
    expect(calls().flatMap(({ instanceIds }) => instanceIds ?? [])).not.toContain(slow!.instanceId);
  });

  it('costs a token for each call, also when EC2 refuses them all and the batch is split and split again', async () => {
    const attempts = await serve(40, 0.2);
    world.cloud.faults.failNext('TerminateInstances', { code: 'InvalidParameterCombination', status: 400 }, 1_000);
    await world.end(attempts);
    await world.until('refused', async () => {
      const rows = await world.rows('SELECT 1 FROM instances WHERE terminate_called_at IS NOT NULL');
      return rows.length === 40;
    });
    expect(calls().length).toBeGreaterThan(10);
    expect(overdraft(calls(), { most: 20 + 1, perSecond: 1 })).toBeLessThanOrEqual(0);
    world.cloud.faults.clear();
  });
});
