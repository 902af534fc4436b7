import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Tokens } from '../../src/auth/tokens.ts';
import { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { EventSource } from '../support/event-source.ts';
import { until } from '../../local/until.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';

type Token = { id: string; token: string; lastUsedAt: string | null; revokedAt: string | null };
type Page = { items: { id: string; name: string }[]; nextCursor: string | null };

describe('tokens', () => {
  let api: Api;
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const make = async (fields: object): Promise<Token> =>
    (await api.request('POST', '/v1/tokens', { body: { name: 'test', ...fields } })).body as Token;
  const as = (token: string, method: string, path: string, body?: object) =>
    api.request(method, path, { headers: { authorization: `Bearer ${token}` }, ...(body && { body }) });
  const read = async (id: string) => (await api.request('GET', `/v1/tokens/${id}`)).body as Token;

  it('are shown once, and kept as a hash', async () => {
    const body = { name: 'ci', role: 'deployer', scope: ['team-a-'], maxJobs: 3, expiresInDays: 30 };
    const made = await api.request('POST', '/v1/tokens', { body });
    const { token, ...shown } = made.body as Token;
    expect(made.status).toBe(201);
    expect(made.headers.get('location')).toBe(`/v1/tokens/${shown.id}`);
    expect(made.headers.get('cache-control')).toBe('no-store');
    expect(token).toMatch(new RegExp(`^sch_${shown.id}_[0-9a-f]{64}$`));
    expect(shown).toMatchObject({ name: 'ci', role: 'deployer', scope: ['team-a-'], maxJobs: 3, revokedAt: null });
    expect((await api.request('GET', `/v1/tokens/${shown.id}`)).body).toEqual(shown);
    expect((await api.request('GET', '/v1/tokens')).text).not.toContain(token);
    const rows = await test.database.query<{ row: string }>(
      `SELECT t::text || encode(t.hash, 'escape') AS row FROM tokens t`,
    );
    expect(rows).toHaveLength(1);
    expect(rows[0]?.row).not.toContain(token.slice(13));
  });

  it.each([
    ['no name', { role: 'viewer' }, '#/name'],
    ['a role that is none', { name: 'x', role: 'god' }, '#/role'],
    ['an empty scope', { name: 'x', role: 'viewer', scope: [] }, '#/scope'],
    ['a scope no job can be in', { name: 'x', role: 'viewer', scope: ['Team'] }, '#/scope/0'],
    ['a scope for one who could widen it', { name: 'x', role: 'admin', scope: ['a'] }, '#/scope'],
    ['a token of its own', { name: 'x', role: 'viewer', token: 'mine' }, '#/token'],
  ])('with %s are refused', async (_what, body, pointer) => {
    const { status, body: problem } = await api.request('POST', '/v1/tokens', { body });
    expect(status).toBe(422);
    expect(problem).toMatchObject({ errors: [{ pointer }] });
  });

  it('may do what their role says', async () => {
    const [viewer, deployer, admin] = await Promise.all(
      ['viewer', 'deployer', 'admin'].map(async (role) => (await make({ role })).token),
    );
    expect((await as(viewer!, 'GET', '/v1/jobs')).status).toBe(200);
    const refused = await as(viewer!, 'POST', '/v1/jobs', { name: 'a' });
    expect(refused).toMatchObject({ status: 403, body: { type: '/problems/forbidden' } });
    expect(refused.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope", scope="deployer"');
    expect((await as(deployer!, 'POST', '/v1/jobs', { name: 'a' })).status).toBe(201);
    expect((await as(deployer!, 'GET', '/v1/tokens')).status).toBe(403);
    expect((await as(admin!, 'GET', '/v1/tokens')).status).toBe(200);
  });

  it('are listed newest first, page by page', async () => {
    await test.database.query('DELETE FROM tokens');
    for (const name of ['1', '2', '3', '4', '5']) await make({ name, role: 'viewer' });
    const names: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page = (await api.request('GET', `/v1/tokens?limit=2${cursor && `&cursor=${cursor}`}`)).body as Page;
      names.push(...page.items.map(({ name }) => name));
      cursor = page.nextCursor;
    }
    expect(names).toEqual(['5', '4', '3', '2', '1']);
    expect((await api.request('GET', '/v1/tokens?cursor=x')).status).toBe(400);
    expect((await api.request('GET', '/v1/tokens/00000000')).body).toMatchObject({ type: '/problems/token-not-found' });
    expect((await api.request('DELETE', '/v1/tokens/00000000')).status).toBe(404);
  });

  it('do nothing any more once they are revoked, in another process as well', async () => {
    const other = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    try {
      const { id, token } = await make({ role: 'viewer' });
      const headers = { authorization: `Bearer ${token}` };
      const statuses = () =>
        Promise.all([api, other].map(async (one) => (await one.request('GET', '/v1/jobs', { headers })).status));
      expect(await statuses()).toEqual([200, 200]);
      const revoked = await api.request('DELETE', `/v1/tokens/${id}`);
      expect(revoked).toMatchObject({ status: 200, body: { id, revokedAt: expect.any(String) } });
      await until(async () => (await statuses()).every((status) => status === 401), 5_000);
      expect((await api.request('DELETE', `/v1/tokens/${id}`)).body).toEqual(revoked.body);
    } finally {
      await other.close();
    }
  });

  it('do nothing any more once they have expired', async () => {
    const { id, token } = await make({ role: 'viewer', expiresInDays: 1 });
    await test.database.query(`UPDATE tokens SET expires_at = clock_timestamp() - interval '1 s' WHERE id = $1`, [id]);
    expect((await as(token, 'GET', '/v1/jobs')).status).toBe(401);
  });

  it('that are almost right are wrong', async () => {
    const { token } = await make({ role: 'viewer' });
    const last = token.endsWith('0') ? '1' : '0';
    expect((await as(`${token.slice(0, -1)}${last}`, 'GET', '/v1/jobs')).status).toBe(401);
    expect((await as(token, 'GET', '/v1/jobs')).status).toBe(200);
  });

  it('tell when they were last used, within seconds and without a statement per request', async () => {
    const { id, token } = await make({ role: 'viewer' });
    const writes = jest.spyOn(api.app.get(Tokens), 'flush');
    const startedAt = performance.now();
    for (let n = 0; n < 20; n += 1) await as(token, 'GET', '/v1/jobs');
    await until(async () => (await read(id)).lastUsedAt !== null, 15_000);
    expect(Date.now() - Date.parse((await read(id)).lastUsedAt!)).toBeLessThan(15_000);
    expect(writes.mock.calls.length).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 10_000);
  });

  it('are noted again when their use could not be written', async () => {
    const { id, token } = await make({ role: 'viewer' });
    const deaf = { on: () => () => false, onReconnect: () => () => false };
    const tokens = new Tokens(test.database, deaf);
    await tokens.identify(token);
    const failing = jest.spyOn(test.database, 'run').mockRejectedValueOnce(new Error('away'));
    await expect(tokens.flush()).rejects.toThrow('away');
    failing.mockRestore();
    await tokens.beforeApplicationShutdown();
    expect((await read(id)).lastUsedAt).not.toBeNull();
  });

  it('end what is open for them within five seconds where the signal was lost: streams, and requests that wait', async () => {
    await api.request('POST', '/v1/jobs', { body: { name: 'watched', image: 'app:1' } });
    // A stream begins behind what has its position: an event that gets one later belongs to it.
    const isQuiet = () => test.database.query('SELECT 1 FROM events WHERE position IS NULL');
    await until(async () => (await isQuiet()).length === 0, 10_000);
    const [revoked, expired, living] = await Promise.all(['a', 'b', 'c'].map(() => make({ role: 'viewer' })));
    const headersOf = ({ token }: Token) => ({ authorization: `Bearer ${token}` });
    const events = (token: Token) => EventSource.open(`${api.url}/v1/events`, { headers: headersOf(token) });
    const logs = (token: Token) =>
      EventSource.open(`${api.url}/v1/jobs/watched/logs?follow=true`, { headers: headersOf(token) });
    const streams = await Promise.all([events(revoked!), logs(revoked!), events(expired!)]);
    const other = await events(living!);
    const wait = (token: Token, path: string) =>
      api.request('GET', `/v1/jobs/watched${path}`, { headers: headersOf(token) });
    const [forJob, forDeployment] = ['?wait=60&until=stopped', '/deployments/1?wait=60&until=ended'] as const;
    const waiting = [wait(revoked!, forJob), wait(revoked!, forDeployment), wait(expired!, forJob)];
    const stillWaiting = wait(living!, forJob);
    const waiter = api.app.get(ChangeWaiter, { strict: false });
    await until(() => Promise.resolve(waiter.size >= 4), 10_000);
    // One that leaves takes nothing of what is done for the others along.
    (await events(living!)).close();
    const startedAt = performance.now();
    await test.database.query('UPDATE tokens SET revoked_at = clock_timestamp() WHERE id = $1', [revoked!.id]);
    await test.database.query('UPDATE tokens SET expires_at = clock_timestamp() WHERE id = $1', [expired!.id]);
    expect(await Promise.all(streams.map((stream) => stream.next()))).toEqual([undefined, undefined, undefined]);
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([401, 401, 401]);
    // Five seconds of a machine that has time; they would wait for a minute.
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    // Others notice nothing.
    await test.database.query(`UPDATE jobs SET status = 'stopped' WHERE name = 'watched'`);
    test.signals.jobsChanged();
    expect((await stillWaiting).status).toBe(200);
    await api.request('DELETE', '/v1/jobs/watched');
    expect(await other.next()).toMatchObject({ event: 'job.delete-requested' });
    other.close();
  }, 30_000);

  it('follow 64 streams at once, and others as many: what one job prints is written once for each of them', async () => {
    const [one, other] = await Promise.all([make({ role: 'viewer' }), make({ role: 'viewer', scope: ['a'] })]);
    const follow = ({ token }: Token) =>
      EventSource.open(`${api.url}/v1/events`, { headers: { authorization: `Bearer ${token}` } });
    const streams = await Promise.all(Array.from({ length: 64 }, () => follow(one)));
    const headers = { authorization: `Bearer ${one.token}`, accept: 'text/event-stream' };
    const refused = await api.request('GET', '/v1/events', { headers });
    expect(refused).toMatchObject({ status: 429, body: { type: '/problems/too-many-requests' } });
    expect(refused.headers.get('retry-after')).toBe('5');
    // Nothing else of it, and nobody else, is refused.
    expect((await as(one.token, 'GET', '/v1/events')).status).toBe(200);
    streams.push(await follow(other));
    streams.shift()!.close();
    await until(async () => {
      const again = await follow(one).catch(() => undefined);
      if (again) streams.push(again);
      return again !== undefined;
    }, 10_000);
    for (const stream of streams) stream.close();
  }, 30_000);

  it('are looked up once in five seconds, and where the signal was lost that is how late a revocation is', async () => {
    const { id, token } = await make({ role: 'viewer' });
    let now = 0;
    const deaf = { on: () => () => false, onReconnect: () => () => false };
    const tokens = new Tokens(test.database, deaf, () => now);
    expect(await tokens.identify(token)).toMatchObject({ id, role: 'viewer' });
    await test.database.query('UPDATE tokens SET revoked_at = clock_timestamp() WHERE id = $1', [id]);
    now = 4_999;
    expect(await tokens.identify(token)).toMatchObject({ id });
    now = 5_000;
    expect(await tokens.identify(token)).toBe('ended');
  });
});

describe('a token with a scope', () => {
  let api: Api;
  let test: TestDatabase;
  let scoped: Record<string, string>;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    for (const name of ['a-1', 'a-2', 'a-3', 'b-1', 'c-1', 'c-2'])
      await api.request('POST', '/v1/jobs', { body: { name, image: 'app:1' } });
    const body = { name: 'team', role: 'deployer', scope: ['a-', 'c-2'], maxJobs: 5 };
    const { token } = (await api.request('POST', '/v1/tokens', { body })).body as Token;
    scoped = { authorization: `Bearer ${token}` };
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const ask = (method: string, path: string, body?: object) =>
    api.request(method, path, { headers: scoped, ...(body && { body }) });

  it('sees the jobs of its scope, page by page', async () => {
    const first = (await ask('GET', '/v1/jobs?limit=2')).body as Page;
    expect(first.items.map(({ name }) => name)).toEqual(['a-1', 'a-2']);
    const second = (await ask('GET', `/v1/jobs?limit=2&cursor=${first.nextCursor}`)).body as Page;
    expect(second.items.map(({ name }) => name)).toEqual(['a-3', 'c-2']);
    expect(second.nextCursor).toBeNull();
  });

  it.each([
    ['GET', '/v1/jobs/b-1'],
    ['PATCH', '/v1/jobs/b-1'],
    ['DELETE', '/v1/jobs/b-1'],
    ['POST', '/v1/jobs/b-1/stop'],
    ['GET', '/v1/jobs/b-1/deployments'],
    ['GET', '/v1/jobs/b-1/deployments/1'],
    ['POST', '/v1/jobs/c-1/deployments'],
    ['POST', '/v1/jobs/c-1/deployments/1/cancel'],
    ['POST', '/v1/jobs/c-1/rollback'],
    ['POST', '/v1/jobs/c-1/restart'],
    ['POST', '/v1/jobs/c-1/start'],
  ])('%s %s: not there, as if it were not', async (method, path) => {
    const there = await ask(method, path, method === 'GET' ? undefined : {});
    const missing = await ask(method, path.replace(/[bc]-1/, 'b-9'), method === 'GET' ? undefined : {});
    expect(there).toMatchObject({ status: 404, body: { type: '/problems/job-not-found' } });
    expect({ ...(there.body as object), instance: '' }).toEqual({ ...(missing.body as object), instance: '' });
  });

  it('changes jobs of its scope', async () => {
    expect((await ask('PATCH', '/v1/jobs/a-1', { memoryMiB: 64 })).status).toBe(200);
    expect((await ask('POST', '/v1/jobs/c-2/deployments', { image: 'app:2' })).status).toBe(202);
  });

  it('makes jobs of its scope only, taken names of others included', async () => {
    for (const name of ['b-1', 'b-2']) {
      const refused = await ask('POST', '/v1/jobs', { name });
      expect(refused).toMatchObject({
        status: 403,
        body: { type: '/problems/forbidden', errors: [{ pointer: '#/name' }] },
      });
      expect(refused.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope"');
    }
    expect((await ask('POST', '/v1/jobs', { name: 'a-4' })).status).toBe(201);
  });

  it('makes no more than it may', async () => {
    expect(await ask('POST', '/v1/jobs', { name: 'a-5' })).toMatchObject({
      status: 409,
      body: { type: '/problems/job-limit-reached' },
    });
    // The operator may: the limit is the token's.
    expect((await api.request('POST', '/v1/jobs', { body: { name: 'a-5' } })).status).toBe(201);
    expect(await ask('POST', '/v1/jobs', { name: 'a-1' })).toMatchObject({
      body: { type: '/problems/job-name-taken' },
    });
  });

  it('sees instances of its jobs, and not the fleet', async () => {
    await test.database.query(`INSERT INTO shapes (key, spec) VALUES ('s', '{}')`);
    for (const name of ['a-1', 'b-1', 'a-2']) {
      await test.database.query(
        `WITH i AS (INSERT INTO instances (id, state, assigned) VALUES ('i-' || $1::text, 'running', true) RETURNING id),
         a AS (INSERT INTO attempts (id, deployment_id, job_id, shape_key, number, priority)
               SELECT gen_random_uuid(), d.id, j.id, 's', 1, 1
               FROM jobs j JOIN deployments d ON d.job_id = j.id AND d.number = 1 WHERE j.name = $1 RETURNING id)
         INSERT INTO assignments (attempt_id, instance_id) SELECT a.id, i.id FROM a, i`,
        [name],
      );
    }
    await test.database.query(`INSERT INTO instances (id, state) VALUES ('i-spare', 'running')`);
    const { items } = (await ask('GET', '/v1/instances')).body as Page;
    expect(items.map(({ id }) => id)).toEqual(['i-a-1', 'i-a-2']);
    expect(((await api.request('GET', '/v1/instances')).body as Page).items).toHaveLength(4);
    expect(await ask('GET', '/v1/fleet')).toMatchObject({ status: 403, body: { type: '/problems/forbidden' } });
  });
});
