import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../../local/ports.ts';
import { type LogLine, startMain } from '../support/process.ts';
import { until } from '../../local/until.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const ANONYMOUS = { headers: { authorization: undefined } };

type Samples = ReadonlyMap<string, number>;

function samplesOf(text: string): Samples {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const LIMIT_MS = 20_000;

describe('/metrics', () => {
  let test: TestDatabase;
  let api: Api;
  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({
      databaseUrl: test.url,
      env: { ROLE: 'api', CLUSTER: 'test', ADMIN_TOKEN, METRICS: 'public' },
    });
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });
  const samples = async (): Promise<Samples> => {
    const { status, headers, text } = await api.request('GET', '/metrics', ANONYMOUS);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    return samplesOf(text);
  };

  it('tells of the process and of the fleet, without a token where METRICS says so', async () => {
    await test.database.query(
      `INSERT INTO instances (id, state, quarantined, retire_reason, retired_at) VALUES
         ('i-01', 'running', true, NULL, NULL), ('i-02', 'running', true, NULL, NULL),
         ('i-03', 'running', true, 'retired-by-operator', clock_timestamp()),
         ('i-04', 'shutting-down', false, 'idle-surplus', clock_timestamp() - interval '1 hour')`,
    );
    await test.database.query(
      `INSERT INTO owner (cluster, holder, epoch, expires_at, budgets)
       VALUES ('test', 'somebody', 7, clock_timestamp() + interval '1 minute', '{"RunInstances": 3.5}')`,
    );
    const seen = await samples();
    expect(seen.get('process_resident_memory_bytes{role="api"}')).toBeGreaterThan(0);
    expect(Object.fromEntries(seen)).toMatchObject({
      scheduler_fleet_up: 1,
      'scheduler_instances{state="pending"}': 0,
      'scheduler_instances{state="registered"}': 0,
      'scheduler_instances{state="assigned"}': 0,
      'scheduler_instances{state="retiring"}': 2,
      'scheduler_instances{state="quarantined"}': 2,
      scheduler_instances_orphaned: 1,
      scheduler_instances_lost: 0,
      scheduler_attempts_waiting: 0,
      'scheduler_launches_open{status="planned"}': 0,
      'scheduler_launches_open{status="unknown"}': 0,
      'scheduler_jobs{status="running"}': 0,
      'scheduler_deployments{status="queued"}': 0,
      'scheduler_agents{state="silent"}': 0,
      'scheduler_ec2_budget_tokens{bucket="RunInstances"}': 3.5,
      scheduler_addresses_up: 1,
      'scheduler_job_urls{state="no-domain"}': 0,
      'scheduler_job_hosts{state="missing"}': 0,
      scheduler_owned: 1,
      scheduler_owner_epoch: 7,
    });
  });

  it('looks at Postgres once for scrapes close together, and says so when Postgres does not answer', async () => {
    await test.database.query(`DELETE FROM instances WHERE id = 'i-02'`);
    const read = async () => (await samples()).get('scheduler_instances{state="quarantined"}');
    await until(async () => (await read()) === 1, LIMIT_MS);
    await test.database.query('ALTER TABLE owner RENAME TO hidden');
    try {
      expect(await read()).toBe(1);
      await until(async () => (await samples()).get('scheduler_fleet_up') === 0, LIMIT_MS);
      const names = [...(await samples()).keys()];
      expect(
        names.filter((name) => /^scheduler_(instances|launches|attempts_waiting|owne|ec2_budget)/.test(name)),
      ).toEqual([]);
      expect(names).toContain('scheduler_signals_connected');
    } finally {
      await test.database.query('ALTER TABLE hidden RENAME TO owner');
    }
  }, 30_000);

  it('asks for a token otherwise, of any role, but without a scope', async () => {
    const closed = await startApi({ databaseUrl: test.url, env: { ROLE: 'api', ADMIN_TOKEN } });
    try {
      const statusWith = async (fields: object) => {
        const made = await closed.request('POST', '/v1/tokens', { body: { name: 'x', role: 'viewer', ...fields } });
        const authorization = `Bearer ${(made.body as { token: string }).token}`;
        return (await closed.request('GET', '/metrics', { headers: { authorization } })).status;
      };
      expect((await closed.request('GET', '/metrics', ANONYMOUS)).status).toBe(401);
      expect(await statusWith({})).toBe(200);
      expect(await statusWith({ scope: ['team-a-'] })).toBe(403);
    } finally {
      await closed.close();
    }
  });

  it('counts requests by the pattern of their route, whatever paths are made up, and times those that answer at once', async () => {
    const made = await api.request('POST', '/v1/jobs', { body: { name: 'counted', kind: 'service' } });
    expect(made.status).toBe(201);
    for (const path of [
      '/v1/jobs/counted',
      '/v1/jobs/other',
      '/v1/jobs/counted?wait=1&until=settled',
      '/no/such?x=1',
    ]) {
      await api.request('GET', path);
    }
    await fetch(`${api.url}/v1/jobs`, { method: 'PROPFIND' }).then((answer) => answer.text());
    const seen = await samples();
    const of = (name: string, labels: string) => seen.get(`${name}{${labels}}`);
    const job = 'method="GET",route="/v1/jobs/:name"';
    expect(of('scheduler_http_requests_total', `${job},status="2xx"`)).toBe(2);
    expect(of('scheduler_http_requests_total', `${job},status="4xx"`)).toBe(1);
    expect(of('scheduler_http_request_duration_seconds_count', `${job},status="2xx"`)).toBe(1);
    expect(of('scheduler_http_requests_total', 'method="GET",route="unmatched",status="4xx"')).toBe(1);
    expect(of('scheduler_http_requests_total', 'method="POST",route="/v1/jobs",status="2xx"')).toBe(1);
    expect([...seen.keys()].filter((name) => /no.such|counted|PROPFIND/.test(name))).toEqual([]);
    // The scrape itself.
    expect(seen.get('scheduler_http_requests_in_flight')).toBe(1);
  });

  it('counts a request whose client hung up as one that has ended', async () => {
    const status = 'method="GET",route="/v1/jobs/:name/deployments/:number",status="4xx"';
    const made = await api.request('POST', '/v1/jobs', { body: { name: 'left', kind: 'service', image: 'x:1' } });
    expect(made.status).toBe(201);
    const inFlight = async () => (await samples()).get('scheduler_http_requests_in_flight');
    const leaving = new AbortController();
    const { signal } = leaving;
    const asked = api.request('GET', '/v1/jobs/left/deployments/1?wait=30&until=ended', { signal });
    await until(async () => (await inFlight()) === 2, LIMIT_MS);
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await until(async () => (await inFlight()) === 1, LIMIT_MS);
    expect((await samples()).get(`scheduler_http_requests_total{${status}}`)).toBe(1);
  });
});

describe('/metrics of a process with workers', () => {
  it('answers for all of them, whichever is asked, and no counter drops when one is killed', async () => {
    const test = await createTestDatabase();
    const port = await freePort();
    const program = startMain({
      DATABASE_URL: test.url,
      ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
      PORT: String(port),
      WEB_CONCURRENCY: '2',
      AWS_REGION: 'us-west-2',
      // Nobody answers there: EC2 is asked in vain.
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
    });
    try {
      const isWorker = ({ message, role }: LogLine) => message === 'listening' && role === 'api';
      const workers: number[] = [];
      const nextWorker = async () => {
        const { pid } = await program.line((line) => isWorker(line) && !workers.includes(line.pid));
        workers.push(pid);
        return pid;
      };
      const [first] = [await nextWorker(), await nextWorker()];
      const loops = await program.line(({ message, role }) => message === 'running' && role === 'scheduler');

      // Each connection is given to the next worker; connections are not kept, so that both are asked.
      const get = async (path: string) => {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
        expect(answer.status).toBe(200);
        return await answer.text();
      };
      const scrape = async () => samplesOf(await get('/metrics'));
      const JOBS = 'scheduler_http_requests_total{method="GET",route="/v1/jobs",status="2xx"}';
      for (let n = 0; n < 10; n += 1) await get('/v1/jobs');
      const untilSeen = async (what: string, isTrue: (seen: Samples) => boolean) => {
        let seen: Samples = new Map();
        const isSeen = async (): Promise<boolean> => isTrue((seen = await scrape()));
        await until(isSeen, 30_000, () => `did not happen: ${what}`);
        return seen;
      };
      const seen = await untilSeen('the loops ran', (now) => (now.get('scheduler_owned') ?? 0) === 1);
      expect(seen.get(JOBS)).toBe(10);
      expect((await scrape()).get(JOBS)).toBe(10);
      expect(seen.get('scheduler_workers_silent')).toBe(0);
      // Of the process without HTTP, which no scrape reaches.
      expect(seen.get('scheduler_loop_runs_total{loop="job-pass",outcome="ok"}')).toBeGreaterThan(0);
      expect(seen.get('scheduler_loop_alive{loop="job-pass"}')).toBe(1);
      expect(seen.get('process_resident_memory_bytes{role="scheduler"}')).toBeGreaterThan(0);
      expect(seen.get('process_resident_memory_bytes{role="api"}')).toBeGreaterThan(0);
      // Ten of each worker; but what Postgres tells is told once.
      expect(seen.get('scheduler_postgres_connections_max{role="api"}')).toBe(20);
      expect(seen.get('scheduler_owner_epoch')).toBe(1);
      await untilSeen('EC2 was asked', (now) =>
        now.has('scheduler_ec2_calls_total{action="DescribeInstances",outcome="unknown-outcome"}'),
      );

      process.kill(first, 'SIGKILL');
      await nextWorker();
      const after = await scrape();
      expect(after.get(JOBS)).toBe(10);
      for (let n = 0; n < 4; n += 1) await get('/v1/jobs');
      expect((await scrape()).get(JOBS)).toBe(14);

      const runs = 'scheduler_loop_runs_total{loop="job-pass",outcome="ok"}';
      process.kill(loops.pid, 'SIGSTOP');
      try {
        const without = await untilSeen(
          'the stopped one is missed',
          (now) => now.get('scheduler_workers_silent') === 1,
        );
        expect(without.get(JOBS)).toBe(14);
        expect(without.get(runs)).toBeGreaterThanOrEqual(after.get(runs) ?? Infinity);
        expect(without.has('process_resident_memory_bytes{role="scheduler"}')).toBe(false);
      } finally {
        process.kill(loops.pid, 'SIGCONT');
      }
    } finally {
      program.process.kill('SIGTERM');
      await program.ended;
      await test.close();
    }
  }, 120_000);
});
