import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { freePort } from '../../local/ports.ts';
import { alive, remove, settled } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { type StallingProxy, startStallingProxy } from '../support/stalling-proxy.ts';
import { until } from '../../local/until.ts';

const DEFINITION = { kind: 'service', image: 'hello-web:1', rollout: { stableSeconds: 0, drainSeconds: 0 } };
/** Any number nobody else locks. */
const LOCK = 4711;

// The program is killed between any two steps of a launch; the next one goes on from the rows.
describe('kill -9 in a launch', () => {
  let stack: Stack;
  let database: pg.Client;
  let proxy: StallingProxy;
  /** What there was before the test. */
  let before: { launches: string[]; instances: number; calls: number };
  beforeAll(async () => {
    const port = await freePort();
    proxy = await startStallingProxy(port);
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      cloud: { port, quotas: 'ec2' },
      env: { AWS_ENDPOINT_URL: proxy.url },
    });
    database = new pg.Client({ connectionString: stack.databaseUrl });
    await database.connect();
    await database.query(`SET search_path = "scheduler-jobs"`);
  }, 60_000);
  beforeEach(async () => {
    before = { launches: [], instances: 0, calls: 0 };
    before = {
      launches: (await launches()).map(({ id }) => id),
      instances: started(),
      calls: tokensOfCalls().length,
    };
  });
  afterAll(async () => {
    await database.end();
    await stack.stop();
    await proxy.close();
  }, 60_000);

  /** Stops the program in the middle of a statement, for as long as the lock is held. */
  const stopAt = async (event: string, condition: string): Promise<void> => {
    await database.query(`SELECT pg_advisory_lock(${LOCK})`);
    await database.query(
      `CREATE OR REPLACE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         PERFORM pg_advisory_xact_lock(${LOCK}); RETURN NEW;
       END $$`,
    );
    await database.query(
      `CREATE TRIGGER stop_here BEFORE ${event} ON launches FOR EACH ROW WHEN (${condition}) EXECUTE FUNCTION stop_here()`,
    );
  };
  const isStopped = async (): Promise<boolean> => {
    const { rowCount } = await database.query(
      `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = ${LOCK} AND NOT granted`,
    );
    return rowCount === 1;
  };
  const goOn = async (): Promise<void> => {
    await database.query(`SELECT pg_advisory_unlock_all()`);
    await database.query('DROP TRIGGER IF EXISTS stop_here ON launches');
  };
  const launches = async () => {
    const { rows } = await database.query<{ id: string; status: string }>('SELECT id, status FROM launches');
    return rows.filter(({ id }) => !before.launches.includes(id));
  };
  const started = (): number => stack.cloud.ledger.instances().length - before.instances;
  const isEffective = (): boolean => started() === 1;
  const tokensOfCalls = () =>
    stack.cloud.ledger
      .calls('RunInstances')
      .map(({ clientToken }) => clientToken)
      .slice(before.calls);

  const POINTS: [string, { prepare: () => unknown; isThere: () => boolean | Promise<boolean>; found: string[] }][] = [
    ['before the row is written', { prepare: () => stopAt('INSERT', 'true'), isThere: () => isStopped(), found: [] }],
    [
      'after the row, before it is marked as called',
      {
        prepare: () => stopAt('UPDATE', `NEW.status = 'unknown' AND OLD.status = 'planned'`),
        isThere: () => isStopped(),
        found: ['planned'],
      },
    ],
    [
      'after the mark, before the call reaches EC2',
      { prepare: () => proxy.stall('RunInstances'), isThere: () => proxy.stalled() === 1, found: ['unknown'] },
    ],
    [
      'after the call took effect, before its answer',
      {
        prepare: () => stack.cloud.faults.delayAnswer('RunInstances', 60_000),
        isThere: isEffective,
        found: ['unknown'],
      },
    ],
    [
      'after the answer, before it is written',
      { prepare: () => stopAt('UPDATE', `NEW.status = 'done'`), isThere: () => isStopped(), found: ['unknown'] },
    ],
  ];
  it.each(POINTS)(
    '%s: one launch, one instance, active',
    async (_, { prepare, isThere, found }) => {
      await prepare();
      await stack.call('POST', '/v1/jobs', { name: 'web', ...DEFINITION });
      await until(isThere);
      await stack.kill(0);
      await goOn();
      const left = await launches();
      expect(left.map(({ status }) => status)).toEqual(found);
      // Or the next owner would wait for the end of the dead one's lease.
      await database.query('UPDATE owner SET expires_at = clock_timestamp()');
      await stack.restart(0);

      expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active', attempt: 1 });
      await until(async () => (await launches()).every(({ status }) => status === 'done'));
      const after = await launches();
      expect(after).toHaveLength(1);
      if (left[0]) expect(after[0]?.id).toBe(left[0].id);
      expect(new Set(tokensOfCalls())).toEqual(new Set([after[0]?.id]));
      expect(started()).toBe(1);
      await remove(stack, 'web');
      expect(alive(stack)).toEqual([]);
    },
    120_000,
  );

  it('of a job that is deleted while nobody is there: nothing is left alive', async () => {
    stack.cloud.faults.delayAnswer('RunInstances', 60_000);
    await stack.call('POST', '/v1/jobs', { name: 'web', ...DEFINITION });
    await until(isEffective);
    // What DELETE does, in time to be accepted, and the kill before anything else happens.
    await stack.call('DELETE', '/v1/jobs/web');
    await stack.kill(0);
    await database.query('UPDATE owner SET expires_at = clock_timestamp()');
    await stack.restart(0);
    await until(async () => (await stack.status('GET', '/v1/jobs/web')) === 404);
    await until(() => alive(stack).length === 0, 90_000);
    expect(started()).toBe(1);
    expect((await launches()).map(({ status }) => status)).toEqual(['done']);
  }, 180_000);
});
