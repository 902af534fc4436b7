import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { RateLimiter } from '../../src/auth/rate-limiter.ts';
import { MOST_BYTES_AT_ONCE, WriteBudget } from '../../src/auth/write-budget.ts';
import { Database, type Queryable } from '../../src/database/database.ts';
import { type Api, startApi } from '../support/api.ts';
import {
  createEmptyDatabase,
  createTestDatabase,
  dropDatabase,
  queryDatabase,
  type TestDatabase,
} from '../support/database.ts';
import { startStack, type Stack } from '../support/stack.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';

describe('the rate limit', () => {
  let stack: Stack;
  afterEach(() => stack.stop(), 60_000);

  it('is one for all processes, and says when to come again', async () => {
    // 60 a minute: one more each second while this runs.
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      replicas: 2,
      env: { ADMIN_TOKEN, RATE_LIMIT: '60' },
    });
    const startedAt = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const response = await fetch(`${stack.urls[n % 2]}/v1/jobs`, {
          headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
        });
        return {
          status: response.status,
          headers: response.headers,
          body: (await response.json()) as { type?: string },
        };
      }),
    );
    const seconds = (performance.now() - startedAt) / 1000;
    const served = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status === 429);
    expect(served.length + refused.length).toBe(200);
    expect(served.length).toBeGreaterThanOrEqual(60);
    expect(served.length).toBeLessThanOrEqual(60 + Math.ceil(seconds));

    const [{ headers, body }] = refused as [(typeof refused)[number]];
    expect(body.type).toBe('/problems/too-many-requests');
    expect(headers.get('ratelimit-policy')).toBe('"default";q=60;w=60');
    expect(headers.get('ratelimit')).toMatch(/^"default";r=0;t=\d+$/);
    expect(headers.get('retry-after')).toBe('1');
    expect(served[0]?.headers.get('ratelimit')).toMatch(/^"default";r=\d+;t=\d+$/);

    const health = await fetch(`${stack.url}/health/ready`);
    expect(health.status).toBe(200);
  }, 120_000);
});

describe('a bucket of requests', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  const statements = () => {
    let count = 0;
    const counted: Queryable = {
      query: (sql, values) => test.database.query(sql, values),
      run: (statement, values) => {
        count += 1;
        return test.database.run(statement, values);
      },
    };
    return { database: counted, count: () => count };
  };
  const ago = (caller: string, seconds: number) =>
    test.database.query(
      `UPDATE rate_limits SET updated_at = updated_at - make_interval(secs => $2) WHERE caller = $1`,
      [caller, seconds],
    );

  it('costs a statement per slice, and none while it is empty', async () => {
    const { database, count } = statements();
    const limiter = new RateLimiter(database, { requestsPerMinute: 1_000 });
    const caller = { id: 'many', requestsPerMinute: null };
    for (let n = 0; n < 1_000; n += 1) expect((await limiter.take(caller)).isAllowed).toBe(true);
    expect(count()).toBe(50);
    let allowed = 0;
    for (let n = 0; n < 1_000; n += 1) allowed += Number((await limiter.take(caller)).isAllowed);
    expect(count()).toBeLessThan(70 + allowed);
    expect(allowed).toBeLessThan(100);
  });

  it('fills again with time, and never beyond its size', async () => {
    const limiter = () => new RateLimiter(test.database, { requestsPerMinute: 10 });
    const caller = { id: 'filling', requestsPerMinute: null };
    const spend = async () => {
      const own = limiter();
      let allowed = 0;
      while ((await own.take(caller)).isAllowed) allowed += 1;
      return allowed;
    };
    expect(await spend()).toBe(10);
    expect(await limiter().take(caller)).toMatchObject({ isAllowed: false, limit: 10, remaining: 0, retrySeconds: 6 });
    await ago('filling', 12);
    expect(await spend()).toBe(2);
    await ago('filling', 3_600);
    expect(await spend()).toBe(10);
    await ago('filling', -3_600);
    expect(await spend()).toBe(0);
  });

  it('is each caller’s own, with its own limit', async () => {
    const limiter = new RateLimiter(test.database, { requestsPerMinute: 1 });
    const take = async (id: string, requestsPerMinute: number | null) =>
      (await limiter.take({ id, requestsPerMinute })).isAllowed;
    expect([await take('one', null), await take('one', null)]).toEqual([true, false]);
    expect([await take('two', 2), await take('two', 2), await take('two', 2)]).toEqual([true, true, false]);
  });

  it('gets back what is left of a slice that was kept too long', async () => {
    let now = 0;
    const limiter = new RateLimiter(test.database, { requestsPerMinute: 500 }, () => now);
    const caller = { id: 'slow', requestsPerMinute: null };
    expect(await limiter.take(caller)).toMatchObject({ remaining: 499 });
    expect(await limiter.take(caller)).toMatchObject({ remaining: 498 });
    now = 5_000;
    expect((await limiter.take(caller)).remaining).toBeGreaterThanOrEqual(497);
  });

  it('is not used up by many processes of which each is asked little', async () => {
    let now = 0;
    const caller = { id: 'spread', requestsPerMinute: null };
    const processes = Array.from(
      { length: 8 },
      () => new RateLimiter(test.database, { requestsPerMinute: 1_000 }, () => now),
    );
    let refused = 0;
    // Four minutes of 96 requests a minute.
    for (let round = 0; round < 48; round += 1) {
      for (const limiter of processes) refused += Number(!(await limiter.take(caller)).isAllowed);
      now += 5_000;
      await ago('spread', 5);
    }
    expect(refused).toBe(0);
  });
});

describe('what a token leaves behind', () => {
  it('is bounded in bytes: kept answers, versions of secrets, definitions and events together', async () => {
    const test = await createTestDatabase();
    const api = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    try {
      const limits = { maxJobs: 1, maxInstances: 0 };
      const made = await api.request('POST', '/v1/tokens', {
        body: { name: 'x', role: 'deployer', scope: ['x-'], ...limits },
      });
      const { id, token } = made.body as { id: string; token: string };
      const authorization = `Bearer ${token}`;
      const change = (method: string, path: string, body: object, key: string) =>
        api.request(method, path, { body, headers: { authorization, 'idempotency-key': key } });
      const env = Object.fromEntries(['A', 'B', 'C'].map((name) => [name, 'x'.repeat(29_000)]));
      expect((await change('POST', '/v1/jobs', { name: 'x-1', env }, 'first')).status).toBe(201);
      api.app.get(WriteBudget, { strict: false }).take(id, MOST_BYTES_AT_ONCE - 8 * 1_048_576);
      const statuses: number[] = [];
      for (let n = 0; n < 200 && statuses.at(-1) !== 429; n += 1) {
        // Another value each time: another version.
        const secrets = { S: `${n}`.padEnd(29_000, 'x') };
        statuses.push((await change('PATCH', '/v1/jobs/x-1', { secrets }, `key-${n}`)).status);
      }
      expect(statuses.at(-1)).toBe(429);
      // Each 85 KiB of an answer, which is kept as well.
      expect(statuses.length).toBeGreaterThan(40);
      expect(statuses.length).toBeLessThan(70);
      const [size] = await test.database.query<{ bytes: string }>(`
        SELECT pg_total_relation_size('idempotency_keys') + pg_total_relation_size('job_secrets')
          + pg_total_relation_size('events') + pg_total_relation_size('jobs') AS bytes`);
      expect(Number(size!.bytes)).toBeLessThan(16 * 1_048_576);
      // Reading goes on, and so do others.
      expect((await api.request('GET', '/v1/jobs/x-1', { headers: { authorization } })).status).toBe(200);
      expect((await api.request('PATCH', '/v1/jobs/x-1', { body: { secrets: null } })).status).toBe(200);
      const refused = await change('PATCH', '/v1/jobs/x-1', { env: null }, 'last');
      expect(refused).toMatchObject({ status: 429, body: { type: '/problems/too-many-requests' } });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      await api.close();
      await test.close();
    }
  }, 120_000);
});

describe('wrong tokens', () => {
  let api: Api;
  let databaseUrl: string;
  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN, ROLE: 'api', TRUST_PROXY: 'loopback' } });
  });
  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });
  const from = (address: string, token: string) =>
    api.request('GET', '/v1/jobs', { headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': address } });

  it('end in 429 for their own address, and right ones of it go on', async () => {
    const made = await api.request('POST', '/v1/tokens', { body: { name: 'right', role: 'viewer' } });
    const { token } = made.body as { token: string };
    const statuses: number[] = [];
    for (let n = 0; n < 22; n += 1) statuses.push((await from('192.0.2.1', `guess-${n}`)).status);
    expect(statuses).toEqual([...Array<number>(20).fill(401), 429, 429]);
    // One that this process has not seen yet, and the operator's.
    for (const right of [token, ADMIN_TOKEN]) expect((await from('192.0.2.1', right)).status).toBe(200);
    const refused = await from('192.0.2.1', 'guess-23');
    expect(refused).toMatchObject({ status: 429, body: { type: '/problems/too-many-requests' } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await from('192.0.2.2', 'guess-23')).status).toBe(401);
  });

  it('take one connection to the database, however many are guessed at once', async () => {
    const database = api.app.get(Database);
    const run = database.run.bind(database);
    let under = 0;
    let most = 0;
    const spy = jest.spyOn(database, 'run').mockImplementation(async (statement, values) => {
      if (statement.name !== 'get-tokens') return await run(statement, values);
      most = Math.max(most, (under += 1));
      return await run(statement, values).finally(() => (under -= 1));
    });
    try {
      const guesses = Array.from({ length: 200 }, (_, n) => `sch_${String(n).padStart(8, '0')}_${'0'.repeat(64)}`);
      const answers = await Promise.all(guesses.map((guess, n) => from(`198.51.100.${n % 4}`, guess)));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401, 429]));
      expect(most).toBe(1);
    } finally {
      spy.mockRestore();
    }
  });

  it('that were right once shut out nobody: the tokens of a company may all end on one day', async () => {
    const of = async (name: string) =>
      (await api.request('POST', '/v1/tokens', { body: { name, role: 'viewer' } })).body as {
        id: string;
        token: string;
      };
    const made = await Promise.all(Array.from({ length: 30 }, (_, n) => of(`ci-${n}`)));
    for (const { id } of made) await api.request('DELETE', `/v1/tokens/${id}`);
    for (const { token } of made) expect((await from('192.0.2.4', token)).status).toBe(401);
    expect((await from('192.0.2.4', ADMIN_TOKEN)).status).toBe(200);
  });

  it('that are always the same shut out nobody', async () => {
    for (let n = 0; n < 30; n += 1) expect((await from('192.0.2.3', 'a-revoked-one')).status).toBe(401);
    expect((await from('192.0.2.3', ADMIN_TOKEN)).status).toBe(200);
  });
});

describe('MAX_JOBS', () => {
  let api: Api;
  let databaseUrl: string;
  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ROLE: 'api', MAX_JOBS: '5' } });
  });
  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it('holds however many come at once', async () => {
    const names = Array.from({ length: 20 }, (_, n) => `job-${n}`);
    const answers = await Promise.all(names.map((name) => api.request('POST', '/v1/jobs', { body: { name } })));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(5);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(15);
    const { items } = (await api.request('GET', '/v1/jobs')).body as { items: unknown[] };
    expect(items).toHaveLength(5);
  });
});

describe('maxInstances of a token', () => {
  let api: Api;
  let databaseUrl: string;
  let headers: Record<string, string>;
  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    // Nobody carries anything out: what is asked for stays on its way.
    api = await startApi({ databaseUrl, env: { ROLE: 'api', ADMIN_TOKEN } });
    const token = { name: 'ci', role: 'deployer', scope: ['team-'], maxInstances: 3 };
    const made = (await api.request('POST', '/v1/tokens', { body: token })).body as { token: string };
    expect(made).toMatchObject({ maxInstances: 3 });
    headers = { authorization: `Bearer ${made.token}` };
  });
  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });
  const make = (name: string, image?: string) =>
    api.request('POST', '/v1/jobs', { body: { name, ...(image !== undefined && { image }) }, headers });
  const reached = { status: 409, body: { type: '/problems/instance-limit-reached' } };

  it('holds however many ask at once, for jobs and for deployments', async () => {
    for (const name of ['team-a', 'team-b', 'team-c']) expect((await make(name)).status).toBe(201);
    // Between the count and the commit there is time for others to count: without turns all would find room.
    await queryDatabase(
      databaseUrl,
      `CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$`,
    );
    await queryDatabase(
      databaseUrl,
      `CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON deployments DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION pause()`,
    );
    const answers = await Promise.all([
      ...['team-a', 'team-b', 'team-c'].flatMap((name) =>
        [1, 2].map(() => api.request('POST', `/v1/jobs/${name}/deployments`, { body: { image: 'nginx' }, headers })),
      ),
      ...Array.from({ length: 20 }, (_, n) => make(`team-new-${n}`, 'nginx')),
    ]);
    expect(answers.filter(({ status }) => status < 300)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(23);
    for (const refused of answers.filter(({ status }) => status === 409)) expect(refused).toMatchObject(reached);
    await queryDatabase(databaseUrl, 'DROP TRIGGER pause ON deployments');
  });

  it('is not reached by a job without an image, nor by what changes nothing', async () => {
    expect((await make('team-idle')).status).toBe(201);
    const { items } = (await api.request('GET', '/v1/jobs?status=deploying', { headers })).body as {
      items: { name: string }[];
    };
    for (const { name } of items)
      expect((await api.request('POST', `/v1/jobs/${name}/start`, { headers })).status).toBe(202);
  });

  it('leaves nothing of what it refused, and room when something is cancelled', async () => {
    expect(await make('team-last', 'nginx')).toMatchObject(reached);
    expect((await api.request('GET', '/v1/jobs/team-last')).status).toBe(404);
    const { items } = (await api.request('GET', '/v1/jobs?status=deploying', { headers })).body as {
      items: { name: string; latestDeployment: number }[];
    };
    const [first] = items;
    await api.request('POST', `/v1/jobs/${first?.name}/deployments/${first?.latestDeployment}/cancel`, { headers });
    expect((await make('team-last', 'nginx')).status).toBe(201);
    expect(await make('team-one-more', 'nginx')).toMatchObject(reached);
  });

  it('is of that token: another one is not held up by it', async () => {
    expect((await api.request('POST', '/v1/jobs', { body: { name: 'team-other', image: 'nginx' } })).status).toBe(201);
    expect(await make('team-g', 'nginx')).toMatchObject(reached);
  });
});
