import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { JobDefinition } from '../../src/jobs/job-definition.js';
import { JobPass } from '../../src/scheduler/job-pass.js';
import { claimJobs } from '../../src/scheduler/load-jobs.js';
import type { JobFacts } from '../../src/scheduler/plan-facts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

describe('a job pass', () => {
  let test: TestDatabase;
  const errors: { job: JobFacts; error: unknown }[] = [];
  const newPass = () => new JobPass(test.database, test.signals, 'test', (job, error) => errors.push({ job, error }));

  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());
  afterEach(async () => {
    errors.length = 0;
    await test.database.query('TRUNCATE jobs, instances, launches, shapes CASCADE');
  });

  it('gives a queued deployment an attempt, and wakes the fleet for its shape', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    const woken = heard('shapes');

    const { jobs, nextPassAt } = await newPass().run();

    expect(jobs).toBe(1);
    expect(nextPassAt?.getTime()).toBeGreaterThan(Date.now());
    expect(await row('SELECT status, started_at IS NOT NULL AS started FROM deployments')).toEqual({
      status: 'deploying',
      started: true,
    });
    expect(await row('SELECT number, phase, priority, reason FROM attempts')).toEqual({
      number: 1,
      phase: 'waiting',
      priority: 2,
      reason: 'waiting-for-instance',
    });
    expect(await row(`SELECT spec->>'market' AS market, next_pass_at <= clock_timestamp() AS due FROM shapes`)).toEqual(
      {
        market: 'on-demand',
        due: true,
      },
    );
    await woken;
  });

  it('orders the first steps once the fleet has assigned an instance, and tells which instance', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    const ordered = heard('orders');

    await newPass().run();

    expect(await ordered).toEqual(['i-1']);
    const orders = await test.database.query<{ purpose: string; number: number }>(
      'SELECT number, purpose FROM orders ORDER BY number',
    );
    expect(orders.map(({ number, purpose }) => `${number} ${purpose}`)).toEqual(['1 dead-man', '2 pull']);
    expect(await row('SELECT phase, assigned_at IS NOT NULL AS timed FROM attempts')).toEqual({
      phase: 'assigned',
      timed: true,
    });
  });

  it('is shared by several: every due job is planned by one of them', async () => {
    for (let n = 0; n < 120; n++) await insertDeployment(await insertJob(`job-${n}`), 1);
    const passes = await Promise.all(Array.from({ length: 6 }, () => newPass().run(40)));
    const rest = await newPass().run();
    expect(passes.reduce((sum, { jobs }) => sum + jobs, rest.jobs)).toBe(120);
    expect(await row('SELECT count(*)::int AS attempts, count(DISTINCT job_id)::int AS jobs FROM attempts')).toEqual({
      attempts: 120,
      jobs: 120,
    });
  });

  it('does not lose a wake-up that comes while it runs', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    let wakeUp: Promise<unknown> | undefined;
    await test.database.transaction(async (transaction) => {
      // As a pass does: the row is locked first …
      await transaction.query('SELECT 1 FROM jobs WHERE id = $1 FOR NO KEY UPDATE', [jobId]);
      wakeUp = test.database.query(
        'UPDATE jobs SET next_pass_at = LEAST(next_pass_at, clock_timestamp()) WHERE id = $1',
        [jobId],
      );
      // … and set to a time far away, while the other already waits for the lock.
      await until(async () => (await test.database.query(WAITING_FOR_A_LOCK)).length > 0);
      await transaction.query(`UPDATE jobs SET next_pass_at = clock_timestamp() + interval '1 hour' WHERE id = $1`, [
        jobId,
      ]);
    });
    await wakeUp;
    expect((await newPass().run()).jobs).toBe(1);
  });

  it('leaves a job whose plan throws for later and goes on with the others', async () => {
    const poisoned = await insertJob('poisoned');
    await insertDeployment(poisoned, 1, { image: 'NOT an image' });
    await newPass().run();
    await assign(poisoned, 'i-1');
    await insertDeployment(await insertJob('good'), 1);

    await newPass().run();

    expect(errors.map(({ job }) => job.name)).toEqual(['poisoned']);
    expect(
      await row(`SELECT next_pass_at > clock_timestamp() + interval '50 s' AS later FROM jobs WHERE name = 'poisoned'`),
    ).toEqual({
      later: true,
    });
    expect(await row(`SELECT status FROM jobs WHERE name = 'good'`)).toEqual({ status: 'deploying' });
  });

  it('puts off the one job whose plan Postgres refuses, and goes on with the others of its batch', async () => {
    const refused = await insertJob('refused');
    await insertDeployment(refused, 1);
    await newPass().run();
    await assign(refused, 'i-1');
    await answered([
      ['create', 201, '{}'],
      ['start', 204, ''],
      ['wait', 200, '{"StatusCode":99999999999}'],
      ['logs', 200, ''],
    ]);
    const good = await insertJob('good');
    await insertDeployment(good, 1);
    await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp()');

    expect((await newPass().run()).jobs).toBe(2);

    expect(errors.map(({ job }) => job.name)).toEqual(['refused']);
    expect(await row(`SELECT status FROM jobs WHERE name = 'good'`)).toEqual({ status: 'deploying' });
    expect(await row(`SELECT count(*)::int AS due FROM jobs WHERE next_pass_at <= clock_timestamp()`)).toEqual({
      due: 0,
    });
  });

  it('stores a message of Docker that was cut inside a character', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    await answered([['create', 400, JSON.stringify({ message: `${'x'.repeat(999)}😀\0` })]]);

    await newPass().run();

    expect(errors).toEqual([]);
    const deployment = await row('SELECT status, reason, length(message) AS length FROM deployments');
    expect(deployment).toEqual({ status: 'failed', reason: 'container-create-failed', length: 1000 });
  });

  it('loads of a long exit watch only what counts, and no image description once it is of no use', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    await answered([['pull', 200, 'x'.repeat(60_000)]]);
    await test.database.query(`UPDATE attempts SET phase = 'healthy'`);
    await test.database.query(
      `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, answered_at, result_status)
       SELECT 'i-1', n, (SELECT id FROM attempts), 'wait', 'docker', '{}', clock_timestamp(), 200 FROM generate_series(2, 3001) n`,
    );
    const { jobs } = await test.database.transaction((transaction) => claimJobs(transaction, 'test', 1));
    const orders = jobs[0]?.deployments[0]?.attempts[0]?.orders ?? [];
    expect(orders.map(({ number }) => number)).toEqual([1, ...Array.from({ length: 8 }, (_, index) => 2994 + index)]);
    expect(orders[0]?.body).toBeNull();
  });

  it('frees the name of a deleted job when its last instance is terminated, not before', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    await test.database.query(`UPDATE jobs SET desired_state = 'deleted', next_pass_at = clock_timestamp()`);
    await newPass().run();
    expect(await row('SELECT status, deleted_at FROM jobs')).toEqual({ status: 'deleting', deleted_at: null });
    expect(await row('SELECT phase, reason FROM attempts')).toEqual({ phase: 'ended', reason: 'delete-requested' });

    await test.database.query(`UPDATE instances SET state = 'terminated', terminated_at = clock_timestamp()`);
    await test.database.query(`UPDATE jobs SET next_pass_at = clock_timestamp()`);
    await newPass().run();
    expect(await row('SELECT deleted_at IS NOT NULL AS gone, next_pass_at FROM jobs')).toEqual({
      gone: true,
      next_pass_at: null,
    });
  });

  async function insertJob(name: string): Promise<string> {
    const id = randomUUID();
    await test.database.query(`INSERT INTO jobs (id, name, kind, definition) VALUES ($1, $2, 'service', $3)`, [
      id,
      name,
      JobDefinition.parse({}),
    ]);
    return id;
  }

  async function insertDeployment(jobId: string, number: number, { image = 'web:1' } = {}): Promise<void> {
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, deadline_at)
       VALUES ($1, $2, $3, $4, $5, 'api', clock_timestamp() + interval '15 min')`,
      [randomUUID(), jobId, number, image, JobDefinition.parse({})],
    );
    await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp() WHERE id = $1', [jobId]);
  }

  /** As the fleet does it. */
  async function assign(jobId: string, instanceId: string): Promise<void> {
    await test.database.query(`INSERT INTO instances (id, state, private_ip) VALUES ($1, 'running', '10.0.0.1')`, [
      instanceId,
    ]);
    await test.database.query(
      `WITH job AS (UPDATE jobs SET next_pass_at = clock_timestamp() WHERE id = $1)
       INSERT INTO assignments (attempt_id, instance_id)
       SELECT id, $2 FROM attempts WHERE job_id = $1 AND phase = 'waiting'`,
      [jobId, instanceId],
    );
  }

  /** Orders of the one attempt there is, taken and answered. */
  async function answered(orders: [purpose: string, status: number, body: string][]): Promise<void> {
    for (const [index, [purpose, status, body]] of orders.entries()) {
      await test.database.query(
        `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, taken_at, answered_at, result_status, result_body)
         SELECT 'i-1', $1, attempt_id, $2, 'docker', '{}', clock_timestamp(), clock_timestamp(), $3, $4
         FROM assignments WHERE instance_id = 'i-1'`,
        [index + 1, purpose, status, Buffer.from(body)],
      );
    }
  }

  async function row(sql: string): Promise<Record<string, unknown> | undefined> {
    const rows = await test.database.query<Record<string, unknown>>(sql);
    expect(rows).toHaveLength(1);
    return rows[0];
  }

  async function heard(channel: 'orders' | 'shapes'): Promise<readonly string[]> {
    return await new Promise((done) => {
      const leave = test.signals.on(channel, (keys) => {
        leave();
        done(keys);
      });
    });
  }
});

const WAITING_FOR_A_LOCK = `
  SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((done) => setTimeout(done, 5));
}
