import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { AgentLimits } from '../../src/agent/agent-limits.ts';
import { MOST_ANSWER_BYTES } from '../../src/docker/order-answer.ts';
import { ResultsService } from '../../src/agent/results.service.ts';
import type { Database, Queryable } from '../../src/database/database.ts';
import { wakeRows } from '../../src/database/wake.ts';
import { shapeKeyOf } from '../../src/deployments/shape-key.ts';
import { shapeSpecOf } from '../../src/deployments/shape-spec.ts';
import { NO_HOSTS } from '../../src/jobs/route-rules.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { JobPass } from '../../src/scheduler/job-pass.ts';
import { claimJobs, type ClaimedJob } from '../../src/scheduler/load-jobs.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';

const PREMISES = { cluster: 'test', domain: null, hostRules: NO_HOSTS, lateCallerSeconds: 33 };

describe('a job pass', () => {
  let test: TestDatabase;
  const errors: { job: ClaimedJob; error: unknown }[] = [];
  const noteError = (job: ClaimedJob, error: unknown) => void errors.push({ job, error });
  const newPass = () => new JobPass(test.database, test.signals, PREMISES, { onPlanError: noteError });

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

  it('notifies those who read the events of a pass that wrote some, and of no other', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    let notified = 0;
    const leave = test.signals.on('new-events', () => (notified += 1));
    await newPass().run();
    // Signals arrive a turn later.
    await turn();
    expect(notified).toBe(1);
    await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp()');
    expect((await newPass().run()).jobs).toBe(1);
    await turn();
    leave();
    expect(notified).toBe(1);
  });

  it('orders the first steps once the fleet has assigned an instance, and tells which instance', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    const ordered = heard('orders');
    let shapesDue = 0;
    const leave = test.signals.on('shapes', () => (shapesDue += 1));

    await newPass().run();

    expect(await ordered).toEqual(['i-1']);
    // Nothing is for the fleet. Signals arrive a turn later, one after the other.
    await turn();
    leave();
    expect(shapesDue).toBe(0);
    const orders = await test.database.query<{ purpose: string; number: number }>(
      'SELECT number, purpose FROM orders ORDER BY number',
    );
    expect(orders.map(({ number, purpose }) => `${number} ${purpose}`)).toEqual(['1 dead-man', '2 pull']);
    expect(await row('SELECT phase, assigned_at IS NOT NULL AS timed FROM attempts')).toEqual({
      phase: 'assigned',
      timed: true,
    });
  });

  it('does not blame agents for its own absence: they have time to come back from its start, and after each gap', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    let nowMs = 1_000_000;
    const pass = new JobPass(test.database, test.signals, PREMISES, { onPlanError: noteError, nowMs: () => nowMs });
    await pass.run();
    await assign(jobId, 'i-1');
    await pass.run();
    await test.database.query(`UPDATE orders SET created_at = created_at - interval '1 hour'`);
    await test.database.query(`UPDATE assignments SET assigned_at = assigned_at - interval '1 hour'`);
    const dueAgain = async () => {
      await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp()');
      const { nextPassAt } = await pass.run();
      expect(await row('SELECT phase FROM attempts')).toEqual({ phase: 'assigned' });
      return nextPassAt!.getTime();
    };
    const first = await dueAgain();
    nowMs += 1_000;
    expect(await dueAgain()).toBe(first);
    nowMs += 60_000;
    expect(await dueAgain()).toBeGreaterThan(first);
  });

  it('writes new shapes in the order of their keys, so that two passes never wait for each other in a circle', async () => {
    const types = ['t3.nano', 't3.micro', 't3.small', 't3.medium'];
    const definitions = new Map(
      types.map((type) => {
        const definition = { instance: { types: [type] } };
        return [shapeKeyOf(shapeSpecOf(JobDefinition.parse(definition))), definition];
      }),
    );
    const order = [...definitions.keys()].toSorted();
    // The first job that is claimed, and the first by its id, has the highest key; the others are in no order.
    const keys = [3, 0, 2, 1].map((at) => order[at]!);
    const ids = await Promise.all(keys.map((key) => insertJob(key.slice(0, 20))));
    for (const [at, id] of ids.toSorted().entries())
      await insertDeployment(id, 1, { definition: definitions.get(keys[at]!) });
    let pass: Promise<unknown> | undefined;
    await test.database.transaction(async (other) => {
      const insert = (key: string) =>
        other.query(`INSERT INTO shapes (key, spec, next_pass_at) VALUES ($1, '{}', clock_timestamp())`, [key]);
      await insert(order[0]!);
      pass = newPass().run();
      await blockedOnLock(test.database);
      for (const key of order.slice(1)) await insert(key);
    });
    await pass;
    expect(errors).toEqual([]);
    expect(await row('SELECT count(*)::int AS attempts FROM attempts')).toEqual({ attempts: 4 });
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
    // When the pass has decided, and is about to write when the job is due next.
    const database = watched(async (name) => {
      if (name !== 'update-jobs') return;
      wakeUp = test.database.query(wakeRows('jobs', 'id = $1'), [jobId]);
      await blockedOnLock(test.database);
    });
    await new JobPass(database, test.signals, PREMISES, { onPlanError: noteError }).run();
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

  describe('with one job at which all of its batch fails', () => {
    afterEach(() => test.database.query('DROP FUNCTION IF EXISTS refuse_poisoned CASCADE'));

    it.each([
      ['a value that Postgres refuses', `RAISE EXCEPTION 'no' USING ERRCODE = '22003'`],
      ['a statement that takes too long', `RAISE EXCEPTION 'no' USING ERRCODE = '57014'`],
      ['a transaction that was idle for too long', `RAISE EXCEPTION 'no' USING ERRCODE = '25P03'`],
    ])('(%s) puts off that one and goes on with the others', async (_what, refuse) => {
      for (let n = 0; n < 9; n++) await insertDeployment(await insertJob(n === 4 ? 'poisoned' : `job-${n}`), 1);
      await test.database.query(`
        CREATE FUNCTION refuse_poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.name = 'poisoned' AND NEW.status <> OLD.status THEN ${refuse}; END IF;
          RETURN NEW;
        END $$`);
      await test.database.query(
        `CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse_poisoned()`,
      );

      expect((await newPass().run()).jobs).toBe(9);

      expect(errors.map(({ job }) => job.name)).toEqual(['poisoned']);
      expect(await row(`SELECT count(*)::int AS planned FROM deployments WHERE status = 'deploying'`)).toEqual({
        planned: 8,
      });
      expect(await row(DUE)).toEqual({ due: 0 });
    });

    it.each([
      ['a value too large for our code', () => new RangeError('Invalid string length')],
      ['an answer of Postgres that does not come', () => new Error('Query read timeout')],
    ])('(%s) puts off that one, too', async (_what, fault) => {
      for (let n = 0; n < 9; n++) await insertDeployment(await insertJob(n === 4 ? 'poisoned' : `job-${n}`), 1);
      const database = watched(undefined, (name, rows) => {
        if (name !== 'claim-jobs' && rows.some((one) => (one as { name?: string }).name === 'poisoned')) throw fault();
      });
      expect((await new JobPass(database, test.signals, PREMISES, { onPlanError: noteError }).run()).jobs).toBe(9);
      expect(errors.map(({ job }) => job.name)).toEqual(['poisoned']);
      expect(await row(`SELECT count(*)::int AS planned FROM deployments WHERE status = 'deploying'`)).toEqual({
        planned: 8,
      });
    });

    it('is not what a lock or a lost connection tells: the batch is tried again as it is', async () => {
      await insertDeployment(await insertJob('web'), 1);
      await test.database.query(`
        CREATE FUNCTION refuse_poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE EXCEPTION 'no' USING ERRCODE = '40P01';
        END $$`);
      await test.database.query(
        `CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse_poisoned()`,
      );
      await expect(newPass().run()).rejects.toMatchObject({ code: '40P01' });
      expect(errors).toEqual([]);
      expect(await row(DUE)).toEqual({ due: 1 });
    });
  });

  it('puts off a job whose plan takes too much of the processor', async () => {
    await insertDeployment(await insertJob('slow'), 1);
    await insertDeployment(await insertJob('fast'), 1);
    let calls = 0;
    // Four looks at the clock: before all, before and after the first plan, after it. That plan took 300 ms.
    const usedMs = () => (calls++ < 2 ? 0 : 300);
    await new JobPass(test.database, test.signals, PREMISES, { onPlanError: noteError, usedMs }).run();
    expect(errors).toHaveLength(1);
    expect(String(errors[0]?.error)).toContain('300 ms of the processor');
    expect(await row(`SELECT count(*)::int AS planned FROM deployments WHERE status = 'deploying'`)).toEqual({
      planned: 1,
    });
    expect(
      await row(
        `SELECT next_pass_at > clock_timestamp() + interval '50 s' AS later FROM jobs WHERE id = '${errors[0]?.job.id}'`,
      ),
    ).toEqual({ later: true });
  });

  it('commits what it has planned when its time is over, and asks to be called again at once', async () => {
    for (let n = 0; n < 30; n++) await insertDeployment(await insertJob(`job-${n}`), 1);
    let usedMs = 0;
    const pass = new JobPass(test.database, test.signals, PREMISES, {
      onPlanError: noteError,
      usedMs: () => (usedMs += 100),
    });
    const { jobs, nextPassAt, now } = await pass.run();
    expect(jobs).toBeLessThan(15);
    expect(nextPassAt).toEqual(now);
    let done = jobs;
    for (let left = 10; left > 0 && done < 30; left--) done += (await pass.run()).jobs;
    expect(done).toBe(30);
    expect(errors).toEqual([]);
  });

  it('reads of what instances said no more than a page each, however much they said', async () => {
    const count = 20;
    for (let n = 0; n < count; n++) await insertDeployment(await insertJob(`job-${n}`), 1);
    await newPass().run();
    const jobs = await test.database.query<{ id: string }>('SELECT id FROM jobs');
    for (const [n, { id }] of jobs.entries()) await assign(id, `i-${n}`);
    await newPass().run();
    const results = new ResultsService(test.database, test.signals, new AgentLimits());
    const noise = Buffer.from('\n'.repeat(MOST_ANSWER_BYTES));
    const wrong = Buffer.from(`{"RepoDigests":[${'"nginx@evil",'.repeat(20_000)}""]}`);
    const measured: { bytes: number; parsed: number; largest: number }[] = [];
    for (let round = 0; round < 6; round++) {
      const open = await test.database.query<{ instance_id: string; number: number; purpose: string }>(
        `SELECT instance_id, number, purpose FROM orders WHERE answered_at IS NULL AND purpose NOT IN ('wait', 'follow-logs')`,
      );
      for (const { instance_id, number, purpose } of open) {
        const status = purpose === 'create' ? 201 : purpose === 'start' ? 204 : 200;
        const body = Readable.from([purpose === 'inspect-image' ? wrong : noise]);
        await results.store({ instanceId: instance_id, number, status, error: null, probeState: null, body });
      }
      measured.push(await measure());
    }
    expect(errors).toEqual([]);
    expect(await row(`SELECT string_agg(DISTINCT phase, ' ') AS phases FROM attempts`)).toEqual({ phases: 'starting' });
    for (const { bytes, parsed, largest } of measured) {
      expect(bytes).toBeLessThan(count * 8 * 1024);
      expect(parsed).toBeLessThan(count * 8 * 1024);
      expect(largest).toBeLessThan(4 * 1024);
    }
  });

  /** One pass: bytes of the orders it loads, characters it parses as JSON, and the longest of those. */
  async function measure(): Promise<{ bytes: number; parsed: number; largest: number }> {
    let bytes = 0;
    const counting = watched(undefined, (name, rows) => {
      if (name === 'load-orders') bytes += Buffer.byteLength(JSON.stringify(rows));
    });
    const parse = jest.spyOn(JSON, 'parse');
    try {
      await new JobPass(counting, test.signals, PREMISES, { onPlanError: noteError }).run();
      const lengths = parse.mock.calls.map(([text]) => text.length);
      return { bytes, parsed: lengths.reduce((a, b) => a + b, 0), largest: Math.max(0, ...lengths) };
    } finally {
      parse.mockRestore();
    }
  }

  /** The database, with what happens before and after each statement of a transaction. */
  function watched(
    before?: (name: string) => Promise<void>,
    after?: (name: string, rows: readonly unknown[]) => void,
  ): Database {
    const watch = (transaction: Queryable): Queryable => ({
      query: (...args) => transaction.query(...args),
      run: async (statement, values) => {
        await before?.(statement.name);
        const rows = await transaction.run(statement, values);
        after?.(statement.name, rows);
        return rows;
      },
    });
    const transaction = (work: (transaction: Queryable) => Promise<unknown>) =>
      test.database.transaction((inner) => work(watch(inner)));
    return Object.create(test.database, { transaction: { value: transaction } }) as Database;
  }

  it('plans by answers that a version before stored and did not read', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    await answered([['pull', 200, `${'\n'.repeat(1_000_000)}{"error":"manifest for web:1 not found"}`]]);
    await newPass().run();
    expect(await row('SELECT status, reason, message FROM deployments')).toEqual({
      status: 'failed',
      reason: 'image-not-found',
      message: 'web:1: manifest for web:1 not found',
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
    const { jobs } = await test.database.transaction((transaction) => claimJobs(transaction, PREMISES, 1));
    const orders = jobs[0]?.deployments[0]?.attempts[0]?.orders ?? [];
    expect(orders.map(({ number }) => number)).toEqual([1, ...Array.from({ length: 8 }, (_, index) => 2994 + index)]);
    expect(orders[0]?.answer).toEqual({});
  });

  it('replaces spot instances that were taken back one after the other with a pause from the notice of the last', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await test.database.query(`UPDATE deployments SET status = 'active', active_at = clock_timestamp()`);
    for (const number of [1, 2, 3]) {
      if (number > 1) await expectFresh(number);
      await assign(jobId, `i-${number}`);
      await test.database.query(
        `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, answered_at, result_status)
         SELECT s.instance_id, o.number, a.id, o.purpose, 'docker', '{}', clock_timestamp(), 200
         FROM attempts a JOIN assignments s ON s.attempt_id = a.id, (VALUES (1, 'watch-spot'), (2, 'restart-policy')) o (number, purpose)
         WHERE a.number = $1`,
        [number],
      );
      await test.database.query(
        `UPDATE attempts SET phase = 'healthy', healthy_at = clock_timestamp() WHERE number = $1`,
        [number],
      );
      // Two minutes later EC2 ends it.
      if (number < 3) await past(120);
      else await past(5);
      await test.database.query(`UPDATE instances SET state = 'terminated' WHERE id = $1`, [`i-${number}`]);
      await past(0);
      await newPass().run();
    }
    expect(await row('SELECT reason, message FROM deployments')).toEqual({
      reason: 'instance-terminated',
      message: expect.stringMatching(/^instance i-3: the instance was terminated; attempt 4 begins at /),
    });
    expect(
      await row(
        `SELECT extract(epoch FROM j.next_pass_at - o.answered_at)::float8 AS seconds, count(a)::int AS attempts
         FROM jobs j JOIN attempts a ON a.job_id = j.id, orders o
         WHERE o.instance_id = 'i-3' AND o.purpose = 'watch-spot' GROUP BY 1`,
      ),
    ).toEqual({ seconds: expect.closeTo(20, 2), attempts: 3 });
    await past(20);
    await newPass().run();
    await expectFresh(4);

    async function past(seconds: number): Promise<void> {
      await test.database.query(
        `UPDATE attempts SET healthy_at = healthy_at - $1::interval, ended_at = ended_at - $1::interval`,
        [`${seconds} s`],
      );
      await test.database.query(`UPDATE orders SET answered_at = answered_at - $1::interval`, [`${seconds} s`]);
      await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp()');
    }
    async function expectFresh(number: number): Promise<void> {
      expect(await row(`SELECT number FROM attempts WHERE phase = 'waiting'`)).toEqual({ number });
    }
  });

  it('loads when EC2 gave notice of an attempt that has ended, and takes no other answer for one', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await test.database.query(`UPDATE deployments SET status = 'active', active_at = clock_timestamp()`);
    const notices = [200, 500];
    for (const [index, status] of notices.entries()) {
      if (index > 0) await newPass().run();
      await assign(jobId, `i-${index + 1}`);
      await test.database.query(
        `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec, answered_at, result_status)
         SELECT $1, o.number, a.id, o.purpose, 'docker', '{}', timestamptz '2026-01-01' + o.number * interval '1 min', o.status
         FROM attempts a, (VALUES (1, 'watch-spot', $2::int), (2, 'wait', 200), (3, 'inspect-exit', 404)) o (number, purpose, status)
         WHERE a.number = $3`,
        [`i-${index + 1}`, status, index + 1],
      );
      await test.database.query(
        `UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() - interval '1 hour' WHERE number = $1`,
        [index + 1],
      );
      await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp()');
    }
    const { jobs } = await test.database.transaction((transaction) => claimJobs(transaction, PREMISES, 1));
    const ended = jobs[0]?.deployments[0]?.endedAttempts ?? [];
    expect(ended.map(({ number, noticedAt }) => [number, noticedAt])).toEqual([
      [1, new Date('2026-01-01T00:01:00Z')],
      [2, null],
    ]);
  });

  it('frees the name of a deleted job when its last instance is terminated, not before', async () => {
    const jobId = await insertJob('web');
    await insertDeployment(jobId, 1);
    await newPass().run();
    await assign(jobId, 'i-1');
    await test.database.query(`INSERT INTO job_secrets (job_id, version, sealed) VALUES ($1, 1, 'sealed')`, [jobId]);
    await test.database.query(`UPDATE jobs SET desired_state = 'deleted', next_pass_at = clock_timestamp()`);
    await newPass().run();
    expect(await row('SELECT status, deleted_at FROM jobs')).toEqual({ status: 'deleting', deleted_at: null });
    expect(await row('SELECT count(*)::int AS secrets FROM job_secrets')).toEqual({ secrets: 1 });
    expect(await row('SELECT phase, reason FROM attempts')).toEqual({ phase: 'ended', reason: 'delete-requested' });

    await test.database.query(`UPDATE instances SET state = 'terminated', terminated_at = clock_timestamp()`);
    await test.database.query(`UPDATE jobs SET next_pass_at = clock_timestamp()`);
    await newPass().run();
    expect(await row('SELECT deleted_at IS NOT NULL AS gone, next_pass_at FROM jobs')).toEqual({
      gone: true,
      next_pass_at: null,
    });
    expect(await row('SELECT count(*)::int AS secrets FROM job_secrets')).toEqual({ secrets: 0 });
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

  async function insertDeployment(
    jobId: string,
    number: number,
    { image = 'web:1', definition = {} } = {},
  ): Promise<void> {
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, deadline_at)
       VALUES ($1, $2, $3, $4, $5, 'api', clock_timestamp() + interval '15 min')`,
      [randomUUID(), jobId, number, image, JobDefinition.parse(definition)],
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

const DUE = `SELECT count(*)::int AS due FROM jobs WHERE next_pass_at <= clock_timestamp()`;
