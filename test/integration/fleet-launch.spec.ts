import { createSecretKey } from 'node:crypto';
import { describe, expect } from '@jest/globals';
import { seal, unseal } from '../../src/secrets/sealed.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';
import { unpackUserData } from '../support/user-data.ts';
import { sideBySide } from '../support/side-by-side.ts';

// Every way to lose a launch, and what the cloud's own ledger shows at the end. Most of it is waiting: several at once, each
// in a world of its own.
const aLaunch = sideBySide(startWorld, ({ world }) => world.close());

describe('a launch', () => {
  aLaunch(
    'whose answer is lost is repeated with its token until the answer comes',
    async ({ world, outcomes, tokens, settled, statuses }) => {
      world.cloud.faults.loseAnswer('RunInstances', 2);
      world.registers = false;
      world.fleet().start();
      await world.demand(3);
      await settled();
      expect(outcomes()).toEqual(['answer-lost', 'answer-lost', 'ok']);
      expect(tokens()).toHaveLength(1);
      expect(world.cloud.ledger.instances()).toHaveLength(3);
      expect(await statuses()).toEqual(['planned', 'unknown', 'done']);
    },
  );

  aLaunch(
    'is repeated byte for byte by a program that would render another one by now',
    async ({ world, calls, tokens, called, expire }) => {
      world.registers = false;
      const old = world.fleet({}, '#!/bin/sh\n# agent 1\n');
      world.cloud.faults.delayAnswer('RunInstances', 60_000);
      old.start();
      await world.demand(2);
      await called(1);
      await expire();
      const fleet = { defaultAmi: 'ami-0fedcba9876543210', allowedSubnets: ['subnet-0fedcba9876543210'] };
      const upgraded = world.fleet(
        {
          agents: { url: 'http://127.0.0.1:4000', pins: [] },
          fleet: { ...fleet, maxLaunchesPerMinute: 60 },
        },
        '#!/bin/sh\n# agent 2\n',
      );
      upgraded.start();
      await world.until('the repeat is answered', async () => {
        const [launch] = await world.launches();
        return launch?.status === 'done';
      });
      // With other parameters EC2 would have answered IdempotentParameterMismatch.
      const [token] = tokens();
      const first = calls().filter(({ clientToken }) => clientToken === token);
      expect(first.map(({ outcome }) => outcome)).toEqual(['ok', 'ok']);
      const instances = world.cloud.ledger.instances().filter(({ clientToken }) => clientToken === token);
      const scripts = instances.map(({ userData }) => unpackUserData(userData));
      expect(scripts.map((script) => /# agent \d/.exec(script)?.[0])).toEqual(['# agent 1', '# agent 1']);
    },
  );

  aLaunch('stays unknown when its repeat is throttled', async ({ world, outcomes, called, settled, statuses }) => {
    world.cloud.faults.loseAnswer('RunInstances');
    world.registers = false;
    world.fleet().start();
    await world.demand(1);
    await called(1);
    world.cloud.faults.throttle('RunInstances', 1_000);
    await settled();
    expect(outcomes()[0]).toBe('answer-lost');
    expect(outcomes()).toContain('RequestLimitExceeded');
    expect(await statuses()).toEqual(['planned', 'unknown', 'done']);
    expect(world.cloud.ledger.instances()).toHaveLength(1);
  });

  aLaunch(
    'goes back to planned when its first call is throttled, and is called again with its token',
    async ({ world, outcomes, tokens, assigned, statuses }) => {
      world.cloud.faults.failNext('RunInstances', { code: 'RequestLimitExceeded' });
      world.fleet().start();
      await world.demand(1);
      await assigned(1);
      expect(outcomes()).toEqual(['RequestLimitExceeded', 'ok']);
      expect(tokens()).toHaveLength(1);
      expect(await statuses()).toEqual(['planned', 'unknown', 'planned', 'unknown', 'done']);
    },
  );

  aLaunch(
    'whose token EC2 knows with other parameters is adopted as soon as it can be seen, and not called again',
    async ({ world, outcomes, tokens, called, settled }) => {
      world.cloud.faults.delayVisibility(3_000);
      world.cloud.faults.loseAnswer('RunInstances');
      world.registers = false;
      world.fleet().start();
      await world.demand(1);
      await called(1);
      // No repeat before the row is another one.
      world.cloud.faults.throttle('RunInstances', 60_000);
      await rewriteInput(world);
      world.cloud.faults.clear();
      await settled();
      const answered = outcomes().filter((outcome) => outcome !== 'RequestLimitExceeded');
      expect(answered).toEqual(['answer-lost', 'IdempotentParameterMismatch']);
      expect(await world.rows('SELECT launch_id FROM instances')).toEqual([{ launch_id: tokens()[0] }]);
      expect(await world.launches()).toMatchObject([{ status: 'done' }]);
      expect(world.cloud.ledger.instances()).toHaveLength(1);
    },
  );

  aLaunch(
    'whose token is spent on nothing that can be seen is closed after the visibility window, and replaced',
    async ({ world, calls, tokens, assigned, age }) => {
      world.cloud.faults.failNext('RunInstances', { code: 'IdempotentParameterMismatch' });
      world.fleet().start();
      await world.demand(1);
      const isUnknown = async () => (await world.launches())[0]?.failure === 'token-mismatch';
      await world.until('it is looked for', isUnknown);
      const looks = world.cloud.ledger.calls('DescribeInstances').length;
      await world.until(
        'it is looked for again',
        () => world.cloud.ledger.calls('DescribeInstances').length > looks + 1,
      );
      expect(await world.launches()).toMatchObject([{ status: 'unknown', failure: 'token-mismatch' }]);
      expect(calls()).toHaveLength(1);
      await age('called_at', 2);
      await assigned(1);
      expect(await world.launches()).toMatchObject([
        { status: 'failed', failure: 'token-mismatch' },
        { status: 'done' },
      ]);
      expect(tokens()).toHaveLength(2);
      expect(world.cloud.ledger.instances()).toHaveLength(1);
    },
  );

  aLaunch(
    'whose instance was terminated before the answer is told apart, and replaced with a token of its own',
    async ({ world, outcomes, tokens, assigned, called }) => {
      world.cloud.faults.loseAnswer('RunInstances');
      world.registers = false;
      world.fleet().start();
      await world.demand(1);
      await called(1);
      world.cloud.faults.throttle('RunInstances', 500);
      const [lost] = world.cloud.ledger.instances();
      world.cloud.faults.kill(lost!.id);
      world.registers = true;
      await assigned(1);
      expect(outcomes()).toContain('IdempotentInstanceTerminated');
      expect(tokens()).toHaveLength(2);
      expect(world.alive()).toHaveLength(1);
      const rows = await world.rows(`SELECT id FROM instances WHERE terminated_at IS NOT NULL`);
      expect(rows).toEqual([{ id: lost!.id }]);
    },
  );

  aLaunch(
    'that brings a part, and loses the answer, is taken for what it brought; the rest is asked for elsewhere',
    async ({ world, assigned, settled }) => {
      world.cloud.faults.setCapacity({ subnet: 'us-west-2a' }, 3);
      world.cloud.faults.loseAnswer('RunInstances');
      world.fleet().start();
      await world.demand(8);
      await assigned(8);
      await settled();
      expect(world.cloud.ledger.instances()).toHaveLength(8);
      const zones = world.cloud.ledger.instances().map(({ spec }) => spec.availabilityZone);
      expect(zones.filter((zone) => zone === 'us-west-2a')).toHaveLength(3);
    },
  );

  aLaunch(
    'that EC2 answers with 500 for ever is given up for another one, and never while it may yet show up',
    async ({ world, calls, assigned, called, age }) => {
      world.cloud.faults.failNext('RunInstances', { code: 'InternalError' }, 1_000);
      world.fleet().start();
      await world.demand(1);
      await called(3);
      await age('created_at', 5);
      await world.until('it is only looked up', async () => {
        const [launch] = await world.launches();
        return launch?.tries === calls().length && world.cloud.ledger.calls('DescribeInstances').length > 2;
      });
      expect(await world.launches()).toMatchObject([{ status: 'unknown', reason: 'ec2-unavailable' }]);
      world.cloud.faults.clear();
      const before = calls().length;
      await age('called_at', 2);
      await assigned(1);
      const [given, next] = await world.launches();
      expect(given).toMatchObject({ status: 'failed', failure: 'unknown-outcome', reason: 'ec2-unavailable' });
      expect(next).toMatchObject({ status: 'done' });
      expect(next?.subnetId).not.toBe(given?.subnetId);
      expect(calls()).toHaveLength(before + 1);
      expect(world.cloud.ledger.instances()).toHaveLength(1);
    },
  );

  aLaunch(
    'counts the visibility window from its last call: what that one made is not taken for absent',
    async ({ world, outcomes, called, settled, age }) => {
      world.cloud.faults.failNext('RunInstances', { code: 'InternalError' });
      world.cloud.faults.delayVisibility(3_000);
      world.registers = false;
      world.fleet().start();
      const attempts = await world.demand(1);
      await called(1);
      // As if it had been called in vain for a long time before the call that took effect.
      world.cloud.faults.throttle('RunInstances', 60_000);
      await age('called_at', 10);
      world.cloud.faults.clear();
      world.cloud.faults.loseAnswer('RunInstances');
      await world.until('the answer is lost', () => outcomes().includes('answer-lost'));
      await world.end(attempts);
      await settled();
      expect(await world.launches()).toMatchObject([{ status: 'done' }]);
      const [instance] = world.cloud.ledger.instances();
      expect(await world.rows('SELECT id FROM instances')).toEqual([{ id: instance!.id }]);
    },
  );

  for (const [end, fault] of [
    ['answered', ({ cloud }: FleetWorld) => cloud.faults.delayAnswer('RunInstances', 1_500)],
    ['lost', ({ cloud }: FleetWorld) => cloud.faults.loseAnswer('RunInstances')],
  ] as const) {
    aLaunch(
      `nobody wants any more when its call is ${end} leaves nothing alive`,
      async ({ world, tokens, called, settled }) => {
        fault(world);
        world.fleet().start();
        world.registers = false;
        const attempts = await world.demand(2);
        await called(1);
        await world.end(attempts);
        await settled();
        expect(await world.rows('SELECT 1 FROM instances')).toHaveLength(2);
        await world.rows(`UPDATE instances SET launched_at = launched_at - interval '10 minutes'`);
        await world.rows(`UPDATE shapes SET next_pass_at = clock_timestamp()`);
        await world.until('nothing is alive', () => world.alive().length === 0);
        expect(tokens()).toHaveLength(1);
      },
    );
  }

  aLaunch(
    'closed with a part of its instances finds the others when they come late, and ends the surplus',
    async ({ world, tokens, assigned, called, age }) => {
      world.cloud.faults.loseAnswer('RunInstances');
      world.registers = false;
      world.fleet().start();
      await world.demand(3);
      await called(1);
      // One of three stays invisible, and the repeat is refused before the token is looked at.
      const [late] = world.cloud.ledger.instances();
      Object.assign(late!, { visibleAtMs: Infinity });
      world.cloud.faults.failNext('RunInstances', { code: 'InsufficientInstanceCapacity' });
      await world.until('two are found', async () => (await world.rows('SELECT 1 FROM instances')).length === 2);
      expect(await world.launches()).toMatchObject([{ status: 'unknown', failure: 'capacity' }]);
      await age('called_at', 2);
      await world.until(
        'it is closed, and one is launched elsewhere',
        () => world.cloud.ledger.instances().length === 4,
      );
      Object.assign(late!, { visibleAtMs: 0 });
      const ofFirst = () => world.rows('SELECT 1 FROM instances WHERE launch_id = $1', [tokens()[0]]);
      await world.until('the late one is found', async () => (await ofFirst()).length === 3, 25_000);
      expect(await world.rows('SELECT 1 FROM instances WHERE quarantined')).toEqual([]);
      // All register by now; nobody waits for the fourth.
      await world.rows(
        `UPDATE instances SET registered_at = clock_timestamp() - interval '1 minute', last_seen_at = clock_timestamp()`,
      );
      await world.rows('UPDATE shapes SET next_pass_at = clock_timestamp()');
      await assigned(3);
      await world.until('three are alive', () => world.alive().length === 3);
    },
    60_000,
  );

  aLaunch(
    'written with another ENCRYPTION_KEY is closed without a call, and replaced',
    async ({ world, calls, assigned, called }) => {
      world.cloud.faults.throttle('RunInstances', 60_000);
      const first = world.fleet();
      first.start();
      await world.demand(1);
      await called(1);
      await world.until('it is planned again', async () => (await world.launches())[0]?.status === 'planned');
      await first.stop();
      world.cloud.faults.clear();
      const before = calls().length;
      world.fleet({ encryptionKeys: [createSecretKey(Buffer.alloc(32, 2))] }).start();
      await assigned(1);
      expect(await world.launches()).toMatchObject([
        { status: 'failed', reason: 'launch-unreadable' },
        { status: 'done' },
      ]);
      expect(calls()).toHaveLength(before + 1);
    },
  );

  aLaunch(
    'that comes back under an owner that has changed meanwhile changes nothing',
    async ({ world, called, settled, expire }) => {
      world.registers = false;
      world.cloud.faults.delayAnswer('RunInstances', 2_500);
      const stale = world.fleet();
      stale.start();
      await world.demand(2);
      await called(1);
      await expire();
      world.fleet().start();
      await settled();
      const settledBy = await world.launches();
      const rows = await world.rows('SELECT n FROM history');
      await world.until('the stale owner has noticed', () =>
        world.log.some(({ message }) => message === 'ownership lost'),
      );
      expect(await world.launches()).toEqual(settledBy);
      expect(await world.rows('SELECT n FROM history')).toEqual(rows);
      expect(world.log.filter(({ message }) => message === 'instances launched')).toHaveLength(1);
      expect(world.cloud.ledger.instances()).toHaveLength(2);
    },
  );
});

/** A fleet's world that remembers each change of a launch, and looks at it. */
async function startWorld() {
  const world = await startFleetWorld();
  await world.rows(`CREATE TABLE history (n serial, id uuid, status text, failure text, reason text)`);
  await world.rows(
    `CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       INSERT INTO history (id, status, failure, reason) VALUES (NEW.id, NEW.status, NEW.failure, NEW.reason);
       RETURN NEW;
     END $$`,
  );
  await world.rows(
    'CREATE TRIGGER remember AFTER INSERT OR UPDATE ON launches FOR EACH ROW EXECUTE FUNCTION remember()',
  );
  const calls = () => world.cloud.ledger.calls('RunInstances');
  return {
    world,
    calls,
    outcomes: () => calls().map(({ outcome }) => outcome),
    tokens: () => [...new Set(calls().map(({ clientToken }) => clientToken))],
    assigned: (count: number) =>
      world.until(`${count} are assigned`, async () => (await world.assigned()).length === count),
    called: (times: number) => world.until(`called ${times} times`, () => calls().length >= times),
    settled: () =>
      world.until('every launch is settled', async () => {
        const launches = await world.launches();
        return launches.length > 0 && launches.every(({ status }) => status === 'done' || status === 'failed');
      }),
    expire: () => world.rows(`UPDATE owner SET expires_at = clock_timestamp() - interval '1 second'`),
    age: (column: 'called_at' | 'created_at', minutes: number) =>
      world.rows(`UPDATE launches SET ${column} = ${column} - make_interval(mins => $1)`, [minutes]),
    /** Statuses a launch went through, without repetitions. */
    statuses: async () => {
      const rows = await world.rows<{ status: string }>('SELECT status FROM history ORDER BY n');
      return rows.map(({ status }) => status).filter((status, at, all) => status !== all[at - 1]);
    },
  };
}

/** As a restored backup, or a fault of ours, would have it: the row no longer says what was called. */
async function rewriteInput(world: FleetWorld): Promise<void> {
  const keys = [createSecretKey(Buffer.alloc(32, 1))] as const;
  const [row] = await world.rows<{ id: string; input: Buffer }>('SELECT id, input FROM launches');
  const input = JSON.parse(unseal(keys, row!.input, row!.id)) as { InstanceType: string };
  const other = seal(keys, JSON.stringify({ ...input, InstanceType: 't3.medium' }), row!.id);
  await world.rows('UPDATE launches SET input = $1', [other]);
}
