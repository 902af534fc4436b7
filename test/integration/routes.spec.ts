import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RouteLookup } from '../../src/ingress/route-lookup.ts';
import type { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { applyJobPlans } from '../../src/scheduler/apply-job-plans.ts';
import { JobPass } from '../../src/scheduler/job-pass.ts';
import { claimJobs } from '../../src/scheduler/load-jobs.ts';
import { planJob } from '../../src/scheduler/plan/plan-job.ts';
import { wakeMisplaced } from '../../src/scheduler/wake-misplaced.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const DOMAIN = 'jobs.test';
const HOST = `web.${DOMAIN}`;
/** Of a setting that is not the default. */
const LATE_CALLER_SECONDS = 41;
const PREMISES = {
  ...{ cluster: 'test', domain: DOMAIN, hostRules: { domains: ['own.test'], reserved: ['api.own.test'] } },
  lateCallerSeconds: LATE_CALLER_SECONDS,
};
const PORTS = { ports: [{ container: 8080, host: 80 }] };

const NO_WAITER = { wait: () => Promise.resolve() } as unknown as ChangeWaiter;

describe('names that lead to jobs', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());
  afterEach(() => test.database.query('TRUNCATE jobs, instances, launches, shapes CASCADE'));

  const lookup = () => new RouteLookup(test.database, NO_WAITER, undefined).find(HOST);
  /** What a process that knows the domain finds; that is of the jobs' names for each other, too. */
  const coming = (host: string, domain = DOMAIN) =>
    new RouteLookup(test.database, NO_WAITER, {
      ...{ scheme: 'http:', domain: DOMAIN, port: '', hostRules: PREMISES.hostRules },
      private: { scheme: 'http:', domain: 'jobs.internal', port: '' },
    }).find(`${host}.${domain}`);
  const owner = async () =>
    (await test.database.query('SELECT job_id FROM routes WHERE host = $1 AND removed_at IS NULL', [HOST]))[0];

  it('are known from the first deployment on, and lead where the pass says', async () => {
    const job = await insertJob('web');
    expect(await lookup()).toBeUndefined();
    const attempt = await deploy(job);
    await pass();
    expect(await lookup()).toMatchObject({ jobId: job, target: null, holdSeconds: 10 });
    await run(await attempt(), { ip: '10.0.0.9' });
    await test.database.query('UPDATE attempts SET routed_port = 80');
    await test.database.query('UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments)');
    expect(await lookup()).toEqual({
      jobId: job,
      holdSeconds: 10,
      allow: [],
      target: { address: '10.0.0.9:80', job: 'web', deployment: 1 },
    });
    // As a version before this one leaves it.
    for (const phase of ['stopping', 'ended']) {
      await test.database.query('UPDATE attempts SET phase = $1', [phase]);
      expect((await lookup())?.target).toBeNull();
    }
    await test.database.query(`UPDATE attempts SET phase = 'healthy'`);
    await test.database.query('UPDATE jobs SET active_deployment_id = NULL');
    expect((await lookup())?.target).toBeNull();
    await test.database.query('UPDATE routes SET removed_at = clock_timestamp()');
    expect(await lookup()).toBeUndefined();
  });

  it('let callers wait for a job that no pass has seen yet, and for one whose name was another job’s until now', async () => {
    const job = await insertJob('web');
    expect(await coming('web')).toBeUndefined();
    await deploy(job);
    await test.database.query(`UPDATE jobs SET status = 'deploying'`);
    const waits = { jobId: job, target: null, holdSeconds: 10, allow: [] };
    expect(await coming('web')).toEqual(waits);
    expect(await coming('web', 'jobs.internal')).toEqual(waits);
    for (const name of ['other', 'www.web']) expect(await coming(name)).toBeUndefined();
    expect(await coming('web', 'elsewhere.test')).toBeUndefined();
    await test.database.query(`INSERT INTO routes (host, job_id, removed_at) VALUES ($1, $2, clock_timestamp())`, [
      HOST,
      await insertJob('former', { isGone: true }),
    ]);
    expect(await coming('web')).toEqual(waits);
    const settings = { holdSeconds: 3, allow: ['10.0.0.0/8'] };
    await test.database.query(`UPDATE jobs SET definition = jsonb_set(definition, '{route}', $1)`, [settings]);
    expect(await coming('web')).toEqual({ ...waits, ...settings });
  });

  it.each([
    ['has no port', { definition: JobDefinition.parse({}) }],
    ['wants no URL', { definition: JobDefinition.parse({ ...PORTS, route: false }) }],
    ['has a name that is kept', { name: 'web--7' }],
    ['is not to run', { desired_state: 'stopped' }],
    ['failed', { status: 'failed' }],
    ['is deleted', { deleted_at: new Date() }],
  ])('let nobody wait for a job that %s', async (_, columns) => {
    await deploy(await insertJob('web'));
    const { name = 'web', ...others } = { status: 'deploying', name: 'web', ...columns } as Record<string, unknown>;
    for (const [column, value] of Object.entries({ ...others, name })) {
      await test.database.query(`UPDATE jobs SET ${column} = $1`, [value]);
    }
    expect(await coming(String(name))).toBeUndefined();
  });

  it.each([
    ['is launched by then', {}, null],
    ['was there before, and only its end is not seen yet', { launchedAt: '-1 hour' }, '10.0.0.9:80'],
    ['has ended', { state: 'terminated' }, '10.0.0.9:80'],
    ['has it in another network', { zone: 'us-west-2b' }, '10.0.0.9:80'],
  ] as const)('lead to an instance whose address another one has too that %s', async (_, other, address) => {
    const job = await insertJob('web');
    const attempt = await deploy(job);
    await pass();
    await run(await attempt(), { ip: '10.0.0.9' });
    await test.database.query(`UPDATE instances SET availability_zone = 'us-west-2a'`);
    await test.database.query('UPDATE attempts SET routed_port = 80');
    await test.database.query('UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments)');
    expect((await lookup())?.target?.address).toBe('10.0.0.9:80');
    const {
      state = 'running',
      launchedAt = '1 minute',
      zone = 'us-west-2a',
    } = other as Partial<Record<string, string>>;
    await test.database.query(
      `INSERT INTO instances (id, state, private_ip, availability_zone, launched_at, terminated_at)
       VALUES ('i-other', $1, '10.0.0.9', $2, clock_timestamp() + $3::interval, CASE WHEN $1 = 'terminated' THEN clock_timestamp() END)`,
      [state, zone, launchedAt],
    );
    expect((await lookup())?.target?.address ?? null).toBe(address);
  });

  it('are for the callers of the deployment that serves, whatever the next one will say', async () => {
    const job = await insertJob('web');
    await deploy(job);
    await pass();
    const allows = async (table: string, allow: string[] | null) => {
      await test.database.query(`UPDATE ${table} SET definition = jsonb_set(definition, '{route}', $1::jsonb)`, [
        JSON.stringify({ holdSeconds: 10, ...(allow && { allow }) }),
      ]);
      return (await lookup())?.allow;
    };
    // Nothing serves: what the job says holds.
    expect(await allows('jobs', ['10.0.0.0/8'])).toEqual(['10.0.0.0/8']);
    await test.database.query('UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments)');
    expect((await lookup())?.allow).toEqual([]);
    expect(await allows('deployments', ['10.1.0.0/16', '::/0'])).toEqual(['10.1.0.0/16', '::/0']);
    expect(await allows('jobs', null)).toEqual(['10.1.0.0/16', '::/0']);
    await test.database.query(`UPDATE deployments SET definition = definition || '{"route": false}'`);
    expect((await lookup())?.allow).toEqual([]);
  });

  it('let nobody wait who may not call', async () => {
    const job = await insertJob('web');
    await deploy(job);
    await pass();
    await test.database.query(`UPDATE jobs SET status = 'deploying'`);
    let waits = 0;
    const waiter = { wait: () => Promise.resolve(void (waits += 1)) } as unknown as ChangeWaiter;
    const routes = new RouteLookup(test.database, waiter, undefined);
    const hold = async (from: string) => {
      await routes.await(HOST, { not: '', from }, new AbortController().signal);
      return waits;
    };
    expect(await hold('')).toBe(1);
    await test.database.query(`UPDATE jobs SET definition = jsonb_set(definition, '{route,allow}', '["10.0.0.0/8"]')`);
    // An nginx of the previous version does not say who calls.
    expect([await hold(''), await hold('11.0.0.1'), await hold('10.0.0.1')]).toEqual([1, 1, 2]);
  });

  it('are given to another job once no ingress can have an answer that leads to the former one', async () => {
    const [former, next] = [await insertJob('web', { isGone: true }), await insertJob('web')];
    await test.database.query('INSERT INTO routes (host, job_id) VALUES ($1, $2)', [HOST, former]);
    await deploy(next);
    // The one who has it is never asked to give it up.
    await pass();
    expect(await owner()).toEqual({ job_id: former });
    for (const [seconds, isGiven] of [
      [0, false],
      [LATE_CALLER_SECONDS - 5, false],
      [LATE_CALLER_SECONDS, true],
    ] as const) {
      await test.database.query(
        'UPDATE routes SET removed_at = clock_timestamp() - make_interval(secs => $1::double precision)',
        [seconds],
      );
      await pass();
      expect(await owner()).toEqual(isGiven ? { job_id: next } : undefined);
    }
    expect((await lookup())?.jobId).toBe(next);
  });

  it('of its own are one job’s at a time, and go to another one half a minute after it gave them up', async () => {
    const [first, second] = [await insertJob('web'), await insertJob('shop')];
    const own = ['a.own.test', 'b.own.test', 'api.own.test', 'a.other.test'];
    await deploy(first, own);
    await deploy(second, ['b.own.test', 'c.own.test']);
    await pass([first]);
    await pass([second]);
    expect(await hostsOf(first)).toEqual(['a.own.test', 'b.own.test', HOST]);
    expect(await hostsOf(second)).toEqual(['c.own.test', `shop.${DOMAIN}`]);
    await test.database.query(`UPDATE deployments SET definition = definition || '{"route": {}}' WHERE job_id = $1`, [
      first,
    ]);
    await pass([first]);
    await pass([second]);
    expect([await hostsOf(first), await hostsOf(second)]).toEqual([[HOST], ['c.own.test', `shop.${DOMAIN}`]]);
    await test.database.query(`UPDATE routes SET removed_at = removed_at - interval '${LATE_CALLER_SECONDS} s'`);
    await pass([second]);
    expect(await hostsOf(second)).toEqual(['b.own.test', 'c.own.test', `shop.${DOMAIN}`]);
    expect((await new RouteLookup(test.database, NO_WAITER, undefined).find('b.own.test'))?.jobId).toBe(second);
  });

  it('of two jobs that each want the other’s change over without a deadlock', async () => {
    const [first, second] = [await insertJob('web'), await insertJob('shop')];
    await deploy(first, ['b.own.test']);
    await deploy(second, ['a.own.test']);
    await test.database.query(`INSERT INTO routes (host, job_id) VALUES ('a.own.test', $1), ('b.own.test', $2)`, [
      first,
      second,
    ]);
    // Both have read what they have before either writes.
    await Promise.all([pass([first]), pass([second])]);
    expect([await hostsOf(first), await hostsOf(second)]).toEqual([[HOST], [`shop.${DOMAIN}`]]);
    await test.database.query(`UPDATE routes SET removed_at = removed_at - interval '${LATE_CALLER_SECONDS} s'`);
    await Promise.all([pass([first]), pass([second])]);
    expect([await hostsOf(first), await hostsOf(second)]).toEqual([
      ['b.own.test', HOST],
      ['a.own.test', `shop.${DOMAIN}`],
    ]);
  });

  it('that two jobs want in one pass go to one of them', async () => {
    const jobs = [await insertJob('web'), await insertJob('shop')];
    for (const job of jobs) await deploy(job, ['a.own.test']);
    await pass();
    expect((await Promise.all(jobs.map(hostsOf))).flat().toSorted()).toEqual(['a.own.test', `shop.${DOMAIN}`, HOST]);
  });

  it('are told in events as the job got them, which is not always what it wanted', async () => {
    const [first, second] = [await insertJob('web'), await insertJob('shop')];
    const told = (job: string) =>
      test.database.query('SELECT data FROM events WHERE job_id = $1 AND type LIKE $2 ORDER BY id', [job, 'route.%']);
    await deploy(first, ['a.own.test']);
    await pass([first]);
    await deploy(second, ['a.own.test', 'b.own.test']);
    await pass([second]);
    await pass([second]);
    const got = ['b.own.test', `shop.${DOMAIN}`];
    expect(await told(second)).toEqual([{ data: { added: got, removed: [], hosts: got } }]);
    await test.database.query(`UPDATE jobs SET desired_state = 'deleted' WHERE id = $1`, [first]);
    await pass([first]);
    expect((await told(first)).at(-1)).toEqual({ data: { added: [], removed: ['a.own.test', HOST], hosts: [] } });
    await test.database.query(`UPDATE routes SET removed_at = removed_at - interval '${LATE_CALLER_SECONDS} s'`);
    await pass([second]);
    const all = ['a.own.test', ...got];
    expect((await told(second)).slice(1)).toEqual([{ data: { added: ['a.own.test'], removed: [], hosts: all } }]);
  });

  it('and their targets count as left from the end of a pass on, which Postgres takes back where no commit follows', async () => {
    const job = await insertJob('web');
    const attempt = await deploy(job);
    await pass();
    await run(await attempt(), { ip: '10.0.0.9' });
    await test.database.query(`UPDATE attempts SET phase = 'healthy', routed_port = 80`);
    await test.database.query('UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments)');
    await test.database.query(`UPDATE jobs SET desired_state = 'deleted', next_pass_at = clock_timestamp()`);
    await test.database.transaction(async (transaction) => {
      const { now, jobs } = await claimJobs(transaction, PREMISES, 1);
      const planned = jobs.map((one) => ({ job: one, plan: planJob(one, now, new Date(0)) }));
      const [late] = await transaction.query<{ at: Date }>('SELECT clock_timestamp() AS at FROM pg_sleep(0.05)');
      await applyJobPlans(transaction, planned);
      const [left] = await transaction.query<{ attempt: boolean; host: boolean }>(
        `SELECT a.routed_port IS NULL AND a.unrouted_at > $1 AS attempt, r.removed_at > $1 AS host
         FROM attempts a, routes r WHERE r.host = $2`,
        [late?.at, HOST],
      );
      expect(left).toEqual({ attempt: true, host: true });
      expect(await transaction.query('SHOW idle_in_transaction_session_timeout')).toEqual([
        { idle_in_transaction_session_timeout: '2s' },
      ]);
    });
    expect(await test.database.query('SHOW idle_in_transaction_session_timeout')).not.toEqual([
      { idle_in_transaction_session_timeout: '2s' },
    ]);
  });

  it('are given back at once to the job that had them', async () => {
    const job = await insertJob('web');
    await test.database.query('INSERT INTO routes (host, job_id, removed_at) VALUES ($1, $2, clock_timestamp())', [
      HOST,
      job,
    ]);
    await deploy(job);
    await pass();
    expect(await owner()).toEqual({ job_id: job });
  });

  it('are given to another job also where a version that knew no names deleted the one that had them', async () => {
    const [former, next] = [await insertJob('web', { isGone: true }), await insertJob('web')];
    await test.database.query('INSERT INTO routes (host, job_id) VALUES ($1, $2)', [HOST, former]);
    await test.database.query(`UPDATE jobs SET deleted_at = deleted_at - interval '1 minute' WHERE id = $1`, [former]);
    await deploy(next);
    await pass();
    expect(await owner()).toEqual({ job_id: next });
  });

  it.each([
    ['leads there', `routed_port = 80, phase = 'healthy'`, 'now'],
    ['led there until it was lost', `routed_port = 80, ended_at = clock_timestamp() - interval '35 s'`, 'ended_at'],
    ['led there half a minute ago', `unrouted_at = clock_timestamp() - interval '35 s'`, 'unrouted_at'],
    ['led there a minute ago', `unrouted_at = clock_timestamp() - interval '60 s'`, null],
    ['led there, and was lost a minute ago', `routed_port = 80, ended_at = clock_timestamp() - interval '60 s'`, null],
    ['never led there', 'unrouted_at = NULL', null],
  ] as const)('keep an address that EC2 gives again while the name of another job %s', async (_, change, since) => {
    const [former, next] = [await insertJob('former', { isGone: true }), await insertJob('web')];
    const old = await (await deploy(former))();
    await run(old, { ip: '10.0.0.9', state: 'terminated' });
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp()`);
    await test.database.query(`UPDATE attempts SET ${change}`);
    const attempt = await deploy(next);
    await pass();
    await run(await attempt(), { ip: '10.0.0.9' });
    await test.database.query('UPDATE jobs SET next_pass_at = clock_timestamp() WHERE id = $1', [next]);
    const { jobs, now } = await test.database.transaction((transaction) => claimJobs(transaction, PREMISES, 1));
    const at = jobs[0]?.deployments[0]?.attempts[0]?.instance?.addressFreeAt ?? null;
    if (since === null) return expect(at).toBeNull();
    const [row] = await test.database.query<{ at: Date }>(
      `SELECT ${since === 'now' ? '$2::timestamptz' : since} + make_interval(secs => ${LATE_CALLER_SECONDS}) AS at
       FROM attempts WHERE id = $1 AND $2::timestamptz IS NOT NULL`,
      [old, now],
    );
    const lateMs = (at?.getTime() ?? 0) - (row?.at.getTime() ?? 0);
    // Of an address that is led to now the time is that of the statement.
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThan(since === 'now' ? 10_000 : 1);
    return undefined;
  });

  it('make jobs due at a start with another domain, and no other jobs', async () => {
    const names = ['placed', 'elsewhere', 'missing', 'off', 'gone'];
    const ids = await Promise.all(names.map((name) => insertJob(name, { isGone: name === 'gone' })));
    const [placed, elsewhere, , off] = ids;
    await test.database.query(`UPDATE jobs SET definition = definition || '{"route": false}' WHERE id = $1`, [off]);
    await test.database.query(
      `INSERT INTO routes (host, job_id) VALUES ('placed.${DOMAIN}', $1), ('elsewhere.old', $2)`,
      [placed, elsewhere],
    );
    const due = async (domain: string | null): Promise<string[]> => {
      await test.database.query('UPDATE jobs SET next_pass_at = NULL');
      await wakeMisplaced(test.database, domain);
      const rows = await test.database.query<{ name: string }>(
        'SELECT name FROM jobs WHERE next_pass_at IS NOT NULL ORDER BY name',
      );
      return rows.map(({ name }) => name);
    };
    expect(await due(DOMAIN)).toEqual(['elsewhere', 'missing']);
    // Which hosts of its own a job may have depends on further settings.
    await test.database.query(
      `UPDATE jobs SET definition = jsonb_set(definition, '{route,hosts}', '["a.own.test"]') WHERE id = $1`,
      [placed],
    );
    expect(await due(DOMAIN)).toEqual(['elsewhere', 'missing', 'placed']);
    expect(await due(null)).toEqual(['elsewhere', 'placed']);
  });

  const hostsOf = async (job: string): Promise<string[]> => {
    const rows = await test.database.query<{ host: string }>(
      'SELECT host FROM routes WHERE job_id = $1 AND removed_at IS NULL ORDER BY host',
      [job],
    );
    return rows.map(({ host }) => host);
  };

  /** @param jobs default: all that are left */
  const pass = async (jobs: string[] | null = null): Promise<void> => {
    await test.database.query(
      `UPDATE jobs SET next_pass_at = clock_timestamp() WHERE deleted_at IS NULL AND ($1::uuid[] IS NULL OR id = ANY($1))`,
      [jobs],
    );
    const onPlanError = (_: unknown, error: unknown): never => {
      throw error;
    };
    await new JobPass(test.database, test.signals, PREMISES, { onPlanError }).run();
  };

  async function insertJob(name: string, { isGone = false } = {}): Promise<string> {
    const id = randomUUID();
    await test.database.query(
      `INSERT INTO jobs (id, name, kind, definition, deleted_at)
       VALUES ($1, $2, 'service', $3, CASE WHEN $4 THEN clock_timestamp() END)`,
      [id, name, JobDefinition.parse(PORTS), isGone],
    );
    return id;
  }

  /** @returns the id of its attempt: made here for a job that no pass looks at any more */
  async function deploy(jobId: string, hosts: string[] = []): Promise<() => Promise<string>> {
    const id = randomUUID();
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, deadline_at)
       VALUES ($1, $2, 1, 'web:1', $3, 'api', clock_timestamp() + interval '15 min')`,
      [id, jobId, JobDefinition.parse({ ...PORTS, route: { hosts } })],
    );
    return async () => {
      await test.database.query(
        `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, phase, priority)
         VALUES ($1, $2, $3, 1, 'shape', 'waiting', 2) ON CONFLICT DO NOTHING`,
        [randomUUID(), jobId, id],
      );
      const [attempt] = await test.database.query<{ id: string }>('SELECT id FROM attempts WHERE deployment_id = $1', [
        id,
      ]);
      return attempt?.id ?? '';
    };
  }

  async function run(attemptId: string, { ip, state = 'running' }: { ip: string; state?: string }): Promise<void> {
    const instance = `i-${attemptId.slice(0, 8)}`;
    await test.database.query('INSERT INTO instances (id, state, private_ip) VALUES ($1, $2, $3)', [
      instance,
      state,
      ip,
    ]);
    await test.database.query('INSERT INTO assignments (attempt_id, instance_id) VALUES ($1, $2)', [
      attemptId,
      instance,
    ]);
  }
});
