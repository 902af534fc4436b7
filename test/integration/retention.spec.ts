import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { appendEvents } from '../../src/events/append-events.ts';
import { Sequencer } from '../../src/events/sequencer.ts';
import { Retention } from '../../src/retention/retention.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('retention', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  it('deletes what is too old and keeps what is young, alive, referred to or among the last 50', async () => {
    const web = await insertJob('web', { deployments: 60, daysAgo: 40 });
    await insertJob('fresh', { deployments: 60, daysAgo: 2 });
    await insertJob('gone-long-ago', { deployments: 3, daysAgo: 40, isDeleted: true });
    await insertJob('gone-lately', { deployments: 3, daysAgo: 2, isDeleted: true });
    // The oldest deployment of the job still serves.
    await test.database.query(
      `UPDATE deployments SET ended_at = NULL, status = 'active' WHERE job_id = $1 AND number = 1`,
      [web],
    );
    await test.database.query(
      `UPDATE attempts SET phase = 'healthy', ended_at = NULL
       WHERE deployment_id = (SELECT id FROM deployments WHERE job_id = $1 AND number = 1)`,
      [web],
    );

    const deleted = await new Retention(test.database, 30).run();

    expect(await numbersOf('web')).toEqual([1, ...range(11, 60)]);
    expect(await numbersOf('fresh')).toEqual(range(1, 60));
    expect(await names()).toEqual(['fresh', 'gone-lately', 'web']);
    expect(deleted).toMatchObject({ deployments: 9, jobs: 1, instances: 12, launches: 12 });
    const [left] = await test.database.query<Record<string, number>>(`
      SELECT (SELECT count(*)::int FROM instances) AS instances, (SELECT count(*)::int FROM launches) AS launches,
        (SELECT count(*)::int FROM attempts) AS attempts, (SELECT count(*)::int FROM orders) AS orders`);
    // Orders stay a day after the end of their attempt: those of the one that serves are left.
    expect(left).toEqual({ instances: 114, launches: 114, attempts: 114, orders: 2 });
  });

  it('deletes old events from the first on, and notes how far; a position is never given again', async () => {
    await test.database.query('TRUNCATE events');
    await test.database.query(
      `INSERT INTO events (type, actor, at, position)
       SELECT 'job.created', 'admin', clock_timestamp() - make_interval(days => (ARRAY[100, 100, 95, 3, 100, 2])[n]), n
       FROM generate_series(1, 6) AS n
       UNION ALL SELECT 'job.created', 'admin', clock_timestamp() - interval '100 days', NULL`,
    );
    await test.database.query('UPDATE event_positions SET last = 6');
    const { events } = await new Retention(test.database, 36_000, 90).run();
    expect(events).toBe(3);
    const [bounds] = await test.database.query(
      'SELECT last::int, deleted_through::int AS deleted FROM event_positions',
    );
    expect(bounds).toEqual({ last: 6, deleted: 3 });
    // The one between the young ones has its turn with them; the one without a position was read by nobody yet.
    const left = await test.database.query(`SELECT position::int FROM events ORDER BY id`);
    expect(left.map(({ position }) => position as number | null)).toEqual([4, 5, 6, null]);
    await new Sequencer(test.database, test.signals).run();
    await test.database.query(`UPDATE events SET at = at - interval '100 days'`);
    expect((await new Retention(test.database, 36_000, 90).run()).events).toBe(4);
    expect(await test.database.query('SELECT last::int, deleted_through::int AS deleted FROM event_positions')).toEqual(
      [{ last: 7, deleted: 7 }],
    );
    await appendEvents(test.database, [{ type: 'job.created', actor: 'admin' }]);
    await new Sequencer(test.database, test.signals).run();
    expect(await test.database.query('SELECT position::int FROM events')).toEqual([{ position: 8 }]);
  });

  it('does nothing twice, and nothing while another process does it', async () => {
    const nothing = { orders: 0, deployments: 0, jobs: 0, instances: 0, launches: 0 };
    expect(await new Retention(test.database, 30).run()).toMatchObject(nothing);
    await test.database.transaction(async (transaction) => {
      await transaction.query('SELECT pg_advisory_xact_lock(7246013)');
      expect(await new Retention(test.database, 1).run()).toMatchObject(nothing);
    });
    expect((await new Retention(test.database, 1).run()).deployments).toBeGreaterThan(0);
  });

  it('forgets the exits of a container that still serves, but for the last one and the last looks', async () => {
    await test.database.query(`DELETE FROM jobs`);
    const steady = await insertJob('steady', { deployments: 1, daysAgo: 0 });
    await test.database.query(`UPDATE attempts SET phase = 'healthy', ended_at = NULL WHERE job_id = $1`, [steady]);
    await test.database.query(
      `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, answered_at)
       SELECT 'steady-1', n, id, (ARRAY['wait', 'inspect-container', 'inspect-exit', 'probe'])[1 + n % 4], 'docker', '{}',
         clock_timestamp() - interval '3 days'
       FROM attempts, generate_series(3, 14) AS n WHERE job_id = $1`,
      [steady],
    );

    await new Retention(test.database, 30).run();

    const left = await test.database.query(
      `SELECT purpose, array_agg(number ORDER BY number) AS numbers FROM orders GROUP BY purpose ORDER BY purpose`,
    );
    expect(left).toEqual([
      { purpose: 'inspect-container', numbers: [13] },
      { purpose: 'inspect-exit', numbers: [14] },
      { purpose: 'probe', numbers: [3, 7, 11] },
      { purpose: 'start', numbers: [1, 2] },
      { purpose: 'wait', numbers: [12] },
    ]);
  });

  it('forgets old attempts of a service that never gets well, with their instances, but not the last 20', async () => {
    await test.database.query(`DELETE FROM jobs`);
    const sick = await insertJob('sick', { deployments: 60, daysAgo: 40 });
    await test.database.query(
      `UPDATE attempts a SET deployment_id = first.id, number = d.number + 1
       FROM deployments d, deployments first
       WHERE a.job_id = $1 AND d.id = a.deployment_id AND first.job_id = $1 AND first.number = 1`,
      [sick],
    );
    await test.database.query(`DELETE FROM deployments WHERE job_id = $1 AND number > 1`, [sick]);
    await test.database.query(`UPDATE deployments SET status = 'active', ended_at = NULL WHERE job_id = $1`, [sick]);
    // EC2 has not ended the instance of attempt 3, and attempt 4 ended only just now.
    await test.database.query(`UPDATE instances SET terminated_at = NULL WHERE id = 'sick-2'`);
    await test.database.query(`UPDATE attempts SET ended_at = clock_timestamp() WHERE job_id = $1 AND number = 4`, [
      sick,
    ]);

    expect(await new Retention(test.database, 30).run()).toMatchObject({ deployments: 0, attempts: 38 });

    const attempts = await test.database.query<{ number: number }>('SELECT number FROM attempts ORDER BY number');
    expect(attempts.map(({ number }) => number)).toEqual([3, 4, ...range(42, 61)]);
    const instances = await test.database.query(`SELECT id FROM instances WHERE id LIKE 'sick-%'`);
    expect(instances).toHaveLength(22);
  });

  it('keeps a deployment for as long as one of its instances lives: the fleet finds it by its attempt', async () => {
    await test.database.query(`DELETE FROM jobs`);
    await insertJob('left', { deployments: 60, daysAgo: 40 });
    await test.database.query(`UPDATE instances SET terminated_at = NULL WHERE id = 'left-3'`);
    await new Retention(test.database, 30).run();
    expect(await numbersOf('left')).toEqual([3, ...range(11, 60)]);

    await test.database.query(`UPDATE instances SET terminated_at = clock_timestamp() WHERE id = 'left-3'`);
    await new Retention(test.database, 30).run();
    expect(await numbersOf('left')).toEqual(range(11, 60));
  });

  it('keeps deliveries of webhooks for a week, and those on their way a little longer', async () => {
    await test.database.query(`
      WITH hook AS (
        INSERT INTO webhooks (id, url, description, events, sealed, created_by, is_for_admins)
        VALUES (gen_random_uuid(), '', '', '{*}', '', '', false) RETURNING id
      )
      INSERT INTO webhook_deliveries (id, webhook_id, type, body, status, created_at)
      SELECT gen_random_uuid(), hook.id, days || ' ' || status, '', status, clock_timestamp() - make_interval(days => days)
      FROM hook, unnest('{6,8,14,16}'::int[]) AS days, unnest('{pending,delivered,failed}'::text[]) AS status`);
    expect(await new Retention(test.database, 30).run()).toMatchObject({ deliveries: 7 });
    const left = await test.database.query<{ type: string }>('SELECT type FROM webhook_deliveries ORDER BY type');
    expect(left.map(({ type }) => type).join()).toBe('14 pending,6 delivered,6 failed,6 pending,8 pending');
  });

  it('forgets kept answers and full buckets after a day, tokens some time after their end', async () => {
    await test.database.query(`
      INSERT INTO idempotency_keys (caller, key, fingerprint, created_at)
      SELECT 'admin', n::text, '', clock_timestamp() - make_interval(hours => n) FROM generate_series(1, 48) n`);
    await test.database.query(`
      INSERT INTO rate_limits (caller, available, granted, updated_at)
      SELECT n::text, 1, 1, clock_timestamp() - make_interval(hours => n) FROM generate_series(20, 30) n`);
    await test.database.query(`
      INSERT INTO tokens (id, name, hash, role, revoked_at, expires_at) VALUES
        ('revoked-old', '', '', 'viewer', now() - interval '31 days', NULL),
        ('revoked-lately', '', '', 'viewer', now() - interval '1 day', now() - interval '1 hour'),
        ('expired-old', '', '', 'viewer', NULL, now() - interval '31 days'),
        ('alive', '', '', 'viewer', NULL, now() + interval '1 day'),
        ('for-ever', '', '', 'viewer', NULL, NULL)`);

    expect(await new Retention(test.database, 30).run()).toMatchObject({ answers: 25, rateLimits: 7, tokens: 2 });

    const keys = await test.database.query<{ oldest: number }>('SELECT max(key::int) AS oldest FROM idempotency_keys');
    expect(keys).toEqual([{ oldest: 23 }]);
    const tokens = await test.database.query('SELECT id FROM tokens ORDER BY id');
    expect(tokens).toEqual([{ id: 'alive' }, { id: 'for-ever' }, { id: 'revoked-lately' }]);
  });

  it('deletes shapes that no attempt, launch, instance or spare needs any more', async () => {
    await insertJob('shaped', { deployments: 1, daysAgo: 40 });
    await test.database.query(`
      INSERT INTO shapes (key, spec, warm, next_pass_at)
      SELECT key, '{}', warm, CASE WHEN is_due THEN clock_timestamp() END
      FROM (VALUES ('unused-1', 0, false), ('unused-2', 0, false), ('warm', 1, false), ('due', 0, true), ('launch', 0, false),
        ('instance', 0, false), ('attempt', 0, false)) AS v (key, warm, is_due)`);
    await test.database.query(`
      INSERT INTO launches (id, shape_key, epoch, input, count, image_id, instance_type, market, secret_hash, status, settled_at)
      VALUES (gen_random_uuid(), 'launch', 1, '', 1, 'ami-1', 't3.small', 'on-demand', 'x', 'done', now())`);
    await test.database.query(
      `INSERT INTO instances (id, shape_key, state) VALUES ('i-shaped', 'instance', 'running')`,
    );
    await test.database.query(`UPDATE attempts SET shape_key = 'attempt'
      WHERE id = (SELECT a.id FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.name = 'shaped')`);
    expect((await new Retention(test.database, 36_000).run()).shapes).toBe(2);
    const left = await test.database.query<{ key: string }>(`SELECT key FROM shapes WHERE key <> 'shape' ORDER BY key`);
    expect(left.map(({ key }) => key)).toEqual(['attempt', 'due', 'instance', 'launch', 'warm']);
    await test.database.query(`DELETE FROM instances WHERE id = 'i-shaped'`);
  });

  it('leaves a shape alone that a pass is about to launch instances of, and does not wait for its end', async () => {
    await new Retention(test.database, 36_000).run();
    await test.database.query(`INSERT INTO shapes (key, spec) VALUES ('wanted', '{}')`);
    await test.database.transaction(async (pass) => {
      await pass.query(`UPDATE shapes SET next_pass_at = clock_timestamp() WHERE key = 'wanted'`);
      const deleted = new Retention(test.database, 36_000).run().then(({ shapes }) => shapes);
      expect(await Promise.race([deleted, blockedOnLock(test.database).then(() => 'waits')])).toBe(0);
    });
  });

  type JobOptions = { deployments: number; daysAgo: number; isDeleted?: boolean };

  /** With an ended attempt, an instance, a launch and two orders a deployment. */
  async function insertJob(name: string, { deployments, daysAgo, isDeleted = false }: JobOptions): Promise<string> {
    const id = randomUUID();
    const definition = JobDefinition.parse({});
    await test.database.query(
      `INSERT INTO jobs (id, name, kind, definition, deployment_count, deleted_at)
       VALUES ($1, $2, 'service', $3, $4, CASE WHEN $5 THEN clock_timestamp() - make_interval(days => $6) END)`,
      [id, name, definition, deployments, isDeleted, daysAgo],
    );
    await test.database.query(`INSERT INTO shapes (key, spec) VALUES ('shape', '{}') ON CONFLICT DO NOTHING`);
    await test.database.query(
      `WITH made AS (
         SELECT number, gen_random_uuid() AS deployment_id, gen_random_uuid() AS attempt_id, gen_random_uuid() AS launch_id,
           $2::text || '-' || number AS instance_id, clock_timestamp() - make_interval(days => $5) AS at
         FROM generate_series(1, $3::int) AS number
       ), deployed AS (
         INSERT INTO deployments (id, job_id, number, image, definition, trigger, status, ended_at)
         SELECT deployment_id, $1, number, 'web:1', $4, 'api', 'superseded', at FROM made
       ), tried AS (
         INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority, phase, ended_at)
         SELECT attempt_id, $1, deployment_id, 1, 'shape', 2, 'ended', at FROM made
       ), launched AS (
         INSERT INTO launches (id, shape_key, epoch, input, count, image_id, instance_type, market, secret_hash, status, settled_at)
         SELECT launch_id, 'shape', 1, '', 1, 'ami-1', 't3.small', 'on-demand', uuid_send(launch_id), 'done', at FROM made
       ), ran AS (
         INSERT INTO instances (id, launch_id, state, terminated_at)
         SELECT instance_id, launch_id, 'terminated', at FROM made
       ), assigned AS (
         INSERT INTO assignments (attempt_id, instance_id) SELECT attempt_id, instance_id FROM made
       )
       INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, answered_at)
       SELECT instance_id, n, attempt_id, 'start', 'docker', '{}', at FROM made, generate_series(1, 2) AS n`,
      [id, name, deployments, definition, daysAgo],
    );
    return id;
  }

  async function numbersOf(job: string): Promise<number[]> {
    const rows = await test.database.query<{ number: number }>(
      'SELECT d.number FROM deployments d JOIN jobs j ON j.id = d.job_id WHERE j.name = $1 ORDER BY d.number',
      [job],
    );
    return rows.map(({ number }) => number);
  }

  async function names(): Promise<string[]> {
    const rows = await test.database.query<{ name: string }>('SELECT name FROM jobs ORDER BY name');
    return rows.map(({ name }) => name);
  }
});

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
