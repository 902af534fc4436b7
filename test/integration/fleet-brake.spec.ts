import { describe, expect } from '@jest/globals';
import { SPEC, startFleetWorld } from '../support/fleet-world.ts';
import { sideBySide } from '../support/side-by-side.ts';

// Launches that come to nothing: EC2 takes them and ends the instances before they register, or refuses them. Time passes
// by moving the rows back; what the fleet says is the next try is compared with the rows, and that it keeps to it as well. Several
// at once, each in a world of its own: most of it is waiting.
const launches = sideBySide(startWorld, ({ world }) => world.close());

describe('launches that come to nothing', () => {
  launches(
    'are held up from the second on, over a change of the owner, and follow once instances live',
    async ({ world, calls, verdict, holds, pass, called }) => {
      world.cloud.faults.endAtLaunch('Client.InternalError');
      const first = world.fleet();
      first.start();
      await world.demand(3);
      await holds(10);
      expect(await verdict()).toMatchObject({
        reason: 'instances-end-at-launch',
        message: expect.stringMatching(
          /^EC2 ended \d instances before they registered, the last one with Client.InternalError \(.*KMS/,
        ),
      });
      await first.stop();
      world.fleet().start();
      await world.until('another owner', async () => {
        const [owner] = await world.rows<{ epoch: string }>('SELECT epoch FROM owner');
        return owner?.epoch === '2';
      });
      expect(calls()).toHaveLength(2);
      expect(world.cloud.ledger.instances().length).toBe(4);

      await pass(10);
      await called(3);
      await holds(20);
      await pass(20);
      await called(4);
      await holds(40);
      // One at a time shows whether they live.
      expect(world.cloud.ledger.instances()).toHaveLength(6);
      world.cloud.faults.clear();
      await pass(40);
      await world.until('all are served', async () => (await world.assigned()).length === 3);
      expect(await verdict()).toEqual({ reason: null, message: null });
      expect(world.alive()).toHaveLength(3);
    },
  );

  launches('go to other types and subnets first', async ({ world, holds, pass }) => {
    world.cloud.faults.endAtLaunch('Server.InsufficientInstanceCapacity', 2);
    world.fleet().start();
    await world.demand(1, { ...SPEC, types: ['t3.small', 't3.medium'] });
    await holds(10);
    await pass(10);
    await world.until('it is served', async () => (await world.assigned()).length === 1);
    const launches = await world.launches();
    expect(new Set(launches.map(({ type, subnetId }) => `${type} in ${subnetId}`)).size).toBe(3);
  });

  launches('of agents that never register count as well', async ({ world, calls, verdict, holds }) => {
    world.registers = false;
    world.fleet().start();
    await world.demand(1);
    for (const losses of [1, 2]) {
      await world.until('it is launched', async () => {
        const rows = await world.rows('SELECT 1 FROM instances WHERE terminated_at IS NULL AND retire_reason IS NULL');
        return rows.length === 1;
      });
      await world.rows(
        `UPDATE instances SET launched_at = launched_at - interval '11 minutes' WHERE terminated_at IS NULL`,
      );
      await world.rows('UPDATE shapes SET next_pass_at = clock_timestamp()');
      await world.until(`${losses} are given up`, async () => {
        const rows = await world.rows(`SELECT 1 FROM instances WHERE retire_reason = 'never-registered'`);
        return rows.length === losses;
      });
    }
    await holds(10);
    expect((await verdict()).reason).toBe('instances-do-not-register');
    expect(calls()).toHaveLength(2);
  });

  launches(
    'are held up when EC2 denies them, and nobody is told whose role lacks what',
    async ({ world, calls, verdict, holds, pass, called }) => {
      world.cloud.faults.denyAction('RunInstances');
      world.fleet().start();
      for (const times of [1, 2]) {
        await world.demand(1);
        await called(times);
        await world.until('they are refused', async () => {
          const rows = await world.rows(
            `SELECT 1 FROM shapes JOIN attempts a ON a.shape_key = key
           WHERE verdict_is_final AND a.created_at <= verdict_at AND a.phase = 'waiting'`,
          );
          return rows.length === times;
        });
      }
      // As the job pass does with those a final verdict covers.
      await world.rows(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp()`);
      await world.demand(1);
      await holds(10);
      const { reason, message } = await verdict();
      expect(reason).toBe('permission-denied');
      expect(message).not.toMatch(/arn:aws|000000000000|Encoded/);
      expect(world.log).toContainEqual(
        expect.objectContaining({
          message: 'EC2 does not permit the launch',
          fields: expect.objectContaining({ said: expect.stringContaining('arn:aws:sts') }),
        }),
      );
      expect(calls()).toHaveLength(2);
      world.cloud.faults.clear();
      await pass(10);
      await world.until('it is served', async () => (await world.assigned()).length === 1);
    },
  );

  launches(
    'are no more than MAX_LAUNCHES_PER_MINUTE for all shapes, and the rest follows',
    async ({ world, calls, pass }) => {
      world.fleet({ fleet: { maxLaunchesPerMinute: 2 } }).start();
      for (const diskGiB of [31, 32, 33, 34]) await world.demand(1, { ...SPEC, diskGiB });
      await world.until('two are served, and the others told', async () => {
        const rows = await world.rows(`SELECT 1 FROM shapes WHERE verdict_reason = 'launches-per-minute-reached'`);
        return rows.length === 2 && (await world.assigned()).length === 2;
      });
      expect(calls()).toHaveLength(2);
      await pass(60);
      await world.until('all are served', async () => (await world.assigned()).length === 4);
      expect(await world.rows('SELECT 1 FROM shapes WHERE verdict_reason IS NOT NULL')).toEqual([]);
    },
  );

  launches(
    'leave some of a minute to who heals or has waited, whatever somebody deploys and cancels in a loop',
    async ({ world, calls }) => {
      world.fleet({ fleet: { maxLaunchesPerMinute: 8 } }).start();
      const cancelled = async (diskGiB: number) => {
        const before = calls().length;
        const ids = await world.demand(1, { ...SPEC, diskGiB });
        const told = `SELECT 1 FROM shapes s JOIN attempts a ON a.shape_key = s.key
        WHERE a.id = $1 AND s.verdict_reason = 'launches-per-minute-reached'`;
        await world.until(
          'it is launched or told',
          async () => calls().length > before || (await world.rows(told, [ids[0]])).length > 0,
        );
        await world.end(ids);
      };
      for (let n = 0; n < 12; n += 1) await cancelled(40 + n);
      expect(calls()).toHaveLength(6);
      const [healing = ''] = await world.demand(1, { ...SPEC, diskGiB: 60 });
      await world.rows('UPDATE attempts SET priority = 0 WHERE id = $1', [healing]);
      await world.rows('UPDATE shapes SET next_pass_at = clock_timestamp()');
      await world.until('it is served', async () =>
        (await world.assigned()).some(({ attemptId }) => attemptId === healing),
      );
    },
  );

  // The rows of what came after the backup are lost, EC2's instances are not.
  describe('after an older database was restored', () => {
    launches('begin at most one series anew', async ({ world, calls, holds, pass, called, forget }) => {
      world.cloud.faults.endAtLaunch('Client.InternalError');
      const before = world.fleet();
      before.start();
      await world.demand(1);
      await holds(10);
      await pass(10);
      await called(3);
      await holds(300);
      await before.stop();

      await forget(1);
      world.fleet().start();
      // One that is lost alone is replaced at once, as ever.
      await called(4);
      await holds(10);
      await pass(10);
      await called(5);
      // The fourth that the ceiling allows for one who waits is kept for the longest pause.
      await holds(300);
      expect(calls()).toHaveLength(5);
    });

    launches('are again no more than MAX_LAUNCHES_PER_MINUTE for all shapes', async ({ world, calls, forget }) => {
      const limits = { fleet: { maxLaunchesPerMinute: 2 } };
      const before = world.fleet(limits);
      before.start();
      for (const diskGiB of [31, 32, 33, 34]) await world.demand(1, { ...SPEC, diskGiB });
      await world.until('two are served', async () => (await world.assigned()).length === 2);
      await before.stop();

      await forget(0);
      world.fleet(limits).start();
      await world.until('two are told', async () => {
        const rows = await world.rows(`SELECT 1 FROM shapes WHERE verdict_reason = 'launches-per-minute-reached'`);
        return rows.length === 2 && (await world.assigned()).length === 2;
      });
      expect(calls()).toHaveLength(4);
      // Whatever was there before lives on.
      expect(await world.rows('SELECT 1 FROM instances WHERE quarantined')).toHaveLength(2);
      expect(world.alive()).toHaveLength(4);
    });

    launches(
      'are none beyond MAX_INSTANCES with those that EC2 has and nobody knows any more',
      async ({ world, verdict, forget }) => {
        const limits = { fleet: { maxInstances: 2 } };
        const before = world.fleet(limits);
        before.start();
        await world.demand(2);
        await world.until('two are served', async () => (await world.assigned()).length === 2);
        await before.stop();

        await forget(0);
        // The first look takes longer than a launch would.
        world.cloud.faults.delayAnswer('DescribeInstances', 1_500);
        world.fleet(limits).start();
        await world.until('they are told', async () => (await verdict()).reason === 'instance-limit-reached');
        expect(await world.rows('SELECT 1 FROM instances WHERE quarantined')).toHaveLength(2);
        expect(world.alive()).toHaveLength(2);
        expect(await world.rows('SELECT 1 FROM launches')).toEqual([]);
      },
    );
  });
});

async function startWorld() {
  const world = await startFleetWorld();
  const calls = () => world.cloud.ledger.calls('RunInstances');
  const verdict = async () => {
    const [row] = await world.rows<{ reason: string | null; message: string | null }>(
      'SELECT verdict_reason AS reason, verdict_message AS message FROM shapes ORDER BY key LIMIT 1',
    );
    return row ?? { reason: null, message: null };
  };
  const lastCalledAt = async () => {
    const [row] = await world.rows<{ at: Date }>(
      'SELECT coalesce(called_at, created_at) AS at FROM launches ORDER BY created_at DESC LIMIT 1',
    );
    return row?.at.getTime() ?? 0;
  };
  const holds = async (seconds: number) => {
    await world.until(`${seconds} s are to pass`, async () => {
      const told = /the next try is at (\S+)$/.exec((await verdict()).message ?? '')?.[1];
      return told !== undefined && Date.parse(told) === (await lastCalledAt()) + seconds * 1000;
    });
  };
  const pass = async (seconds: number) => {
    await world.rows(
      `UPDATE launches SET created_at = created_at - make_interval(secs => $1), called_at = called_at - make_interval(secs => $1)`,
      [seconds],
    );
    await world.rows('UPDATE shapes SET next_pass_at = clock_timestamp()');
  };
  const called = (times: number) => world.until(`${times} calls`, () => calls().length >= times);
  /** The rows of what came after the backup. */
  const forget = async (after: number) => {
    const lost = `(SELECT id FROM launches ORDER BY created_at OFFSET ${after})`;
    await world.rows(
      `DELETE FROM assignments WHERE instance_id IN (SELECT id FROM instances WHERE launch_id IN ${lost})`,
    );
    await world.rows(`DELETE FROM instances WHERE launch_id IN ${lost}`);
    await world.rows(`DELETE FROM launches WHERE id IN ${lost}`);
    await world.rows(
      `UPDATE shapes SET capacity = '{}', verdict_reason = NULL, verdict_message = NULL, verdict_at = NULL`,
    );
    await world.rows('UPDATE shapes SET next_pass_at = clock_timestamp()');
  };
  return { world, calls, verdict, holds, pass, called, forget };
}
