import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LeaseLost, OwnerLease } from '../../src/ownership/owner-lease.ts';
import { overdraft } from '../support/call-rates.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';

describe('the owner', () => {
  let world: FleetWorld;
  beforeEach(async () => {
    world = await startFleetWorld();
  });
  afterEach(() => world.close());

  const leaseOf = (holder: string, now?: () => number) => new OwnerLease(world.test.database, 'test', holder, now);
  const expire = () => world.rows(`UPDATE owner SET expires_at = clock_timestamp() - interval '1 second'`);

  it('is one at a time, each with an epoch of its own', async () => {
    const [first, second] = [leaseOf('one'), leaseOf('two')];
    expect((await first.acquire())?.epoch).toBe('1');
    expect(await second.acquire()).toBeNull();
    expect(await first.renew({})).toBe(true);
    await expire();
    expect((await second.acquire())?.epoch).toBe('2');
    expect(await first.renew({})).toBe(false);
    expect(first.isHeld).toBe(false);
  });

  it('is one of many that ask together', async () => {
    const tenures = await Promise.all([1, 2, 3, 4, 5].map((n) => leaseOf(`process-${n}`).acquire()));
    expect(tenures.filter((tenure) => tenure !== null)).toHaveLength(1);
  });

  it('changes nothing once another has taken over', async () => {
    const stale = leaseOf('stale');
    await stale.acquire();
    await expire();
    await leaseOf('new').acquire();
    const write = stale.transaction((transaction) =>
      transaction.query(`INSERT INTO shapes (key, spec) VALUES ('stale', '{}')`),
    );
    await expect(write).rejects.toThrow(LeaseLost);
    expect(await world.rows('SELECT 1 FROM shapes')).toEqual([]);
  });

  it('is one for one tenure: what is under way under an earlier lease of the same process changes nothing', async () => {
    const earlier = leaseOf('one');
    await earlier.acquire();
    await expire();
    const later = leaseOf('one');
    await later.acquire();
    const write = earlier.transaction((transaction) =>
      transaction.query(`INSERT INTO shapes (key, spec) VALUES ('stale', '{}')`),
    );
    await expect(write).rejects.toThrow(LeaseLost);
    await expect(earlier.acquire()).rejects.toThrow('one tenure');
    expect(await later.renew({})).toBe(true);
    expect(await world.rows('SELECT 1 FROM shapes')).toEqual([]);
  });

  it('does not renew, and releases nothing, in the name of its successor', async () => {
    const stale = leaseOf('one');
    await stale.acquire();
    await expire();
    const next = leaseOf('two');
    await next.acquire();
    await stale.release({});
    expect(await stale.renew({})).toBe(false);
    expect(await next.renew({})).toBe(true);
  });

  it('holds off a take-over until its transaction is through', async () => {
    const lease = leaseOf('one');
    await lease.acquire();
    let isTakenOver = false;
    let takeOver: Promise<unknown> | undefined;
    await lease.transaction(async (transaction) => {
      takeOver = world.rows(`UPDATE owner SET epoch = epoch + 1`).then(() => (isTakenOver = true));
      await world.until('it waits for the lock', async () => {
        const waiting = await world.rows(
          `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
        );
        return waiting.length > 0;
      });
      await transaction.query('SELECT 1');
      expect(isTakenOver).toBe(false);
    });
    await takeOver;
    expect(isTakenOver).toBe(true);
  });

  it('is replaced at once when Postgres’s clock was set back, and its lease would last for hours', async () => {
    const dead = leaseOf('one');
    await dead.acquire();
    await world.rows(`UPDATE owner SET expires_at = expires_at + interval '3 hours'`);
    const next = await leaseOf('two').acquire();
    expect(next).toMatchObject({ epoch: '2', budgets: { kind: 'levels', tokens: {} } });
    expect(await dead.renew({})).toBe(false);
  });

  it('stops its effects by its own clock when Postgres does not answer', async () => {
    let now = 0;
    const lease = leaseOf('one', () => now);
    await lease.acquire();
    expect(lease.isHeld).toBe(true);
    now = 14_001;
    expect(lease.isHeld).toBe(false);
  });

  it('begins with full budgets the first time, empty ones after a crash, and those left after a release', async () => {
    const first = leaseOf('one');
    expect((await first.acquire())?.budgets).toEqual({ kind: 'full' });
    await first.renew({ RunInstances: 3 });
    await expire();
    const second = leaseOf('two');
    const crashed = await second.acquire();
    expect(crashed?.budgets).toEqual({ kind: 'levels', tokens: {}, elapsedMs: expect.any(Number) });
    await second.release({ RunInstances: 2.5 });
    const released = await leaseOf('three').acquire();
    expect(released?.budgets).toMatchObject({ kind: 'levels', tokens: { RunInstances: 2.5 } });
  });

  it('keeps to EC2’s quota of instances when it takes over from one that crashed after spending it', async () => {
    world.registers = false;
    const first = world.fleet();
    first.start();
    await world.demand(800);
    const launched = () => world.cloud.ledger.instances().length;
    await world.until('the first has spent its share', () => launched() === 800);
    await world.until('all is written', async () => (await world.rows('SELECT 1 FROM instances')).length === 800);
    await expire();
    world.fleet().start();
    await world.demand(200);
    await world.until('its successor has launched as well', () => launched() > 803);
    const calls = world.cloud.ledger.calls('RunInstances');
    expect(calls.map(({ outcome }) => outcome)).toEqual(calls.map(() => 'ok'));
    const share = { most: 800 + 1, perSecond: 1.6 };
    expect(overdraft(calls, share, ({ instanceIds }) => instanceIds?.length ?? 0)).toBeLessThanOrEqual(0);
  });

  it('hands over at once when it stops, and its successor goes on with its launches', async () => {
    const first = world.fleet();
    const second = world.fleet();
    first.start();
    await world.until('it has an owner', () => first.lease.isHeld);
    second.start();
    world.cloud.faults.throttle('RunInstances', 1_000);
    await world.demand(3);
    await world.until('a launch is written', async () => (await world.rows('SELECT 1 FROM launches')).length > 0);
    await first.stop();
    await world.until('all are assigned', async () => (await world.assigned()).length === 3);
    expect(second.lease.isHeld).toBe(true);
    expect(world.cloud.ledger.instances()).toHaveLength(3);
  });

  it('repeats what a crashed owner had called, byte for byte', async () => {
    world.registers = false;
    const first = world.fleet();
    world.cloud.faults.delayAnswer('RunInstances', 60_000);
    first.start();
    await world.demand(2);
    await world.until(
      'the call is out',
      () => world.cloud.ledger.instances().length === 1 || world.cloud.ledger.instances().length === 2,
    );
    // As if the process had been killed: the row says unknown, nobody holds the lease, nothing was settled.
    await expire();
    const second = world.fleet();
    second.start();
    await world.until('the launch is settled', async () => {
      const open = await world.rows(`SELECT 1 FROM launches WHERE status IN ('planned', 'unknown')`);
      return open.length === 0;
    });
    expect(world.cloud.ledger.instances()).toHaveLength(2);
    const launches = await world.rows('SELECT 1 FROM launches');
    const tokens = new Set(world.cloud.ledger.calls('RunInstances').map(({ clientToken }) => clientToken));
    expect(tokens.size).toBe(launches.length);
  });
});
