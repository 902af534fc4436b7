import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const ANONYMOUS = { headers: { authorization: undefined } };

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
  const samples = async (): Promise<Map<string, number>> => {
    const { status, headers, text } = await api.request('GET', '/metrics', ANONYMOUS);
    expect(status).toBe(200);
    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  };

  it('tells of the process and of the fleet, without a token where METRICS says so', async () => {
    await test.database.query(
      `INSERT INTO instances (id, state, quarantined, retire_reason, retired_at) VALUES
         ('i-01', 'running', true, NULL, NULL), ('i-02', 'running', true, NULL, NULL),
         ('i-03', 'running', true, 'retired-by-operator', clock_timestamp()),
         ('i-04', 'shutting-down', false, 'idle-surplus', clock_timestamp() - interval '1 hour')`,
    );
    await test.database.query(
      `INSERT INTO owner (cluster, holder, epoch, expires_at) VALUES ('test', 'somebody', 7, clock_timestamp() + interval '1 minute')`,
    );
    const seen = await samples();
    expect(seen.get('process_resident_memory_bytes')).toBeGreaterThan(0);
    expect(Object.fromEntries([...seen].filter(([name]) => name.startsWith('scheduler_')))).toEqual({
      scheduler_fleet_up: 1,
      'scheduler_instances{state="pending"}': 0,
      'scheduler_instances{state="registered"}': 0,
      'scheduler_instances{state="assigned"}': 0,
      'scheduler_instances{state="retiring"}': 2,
      'scheduler_instances{state="quarantined"}': 2,
      scheduler_instances_orphaned: 1,
      scheduler_attempts_waiting: 0,
      'scheduler_launches_open{status="planned"}': 0,
      'scheduler_launches_open{status="unknown"}': 0,
      scheduler_owned: 1,
      scheduler_owner_epoch: 7,
    });
  });

  it('looks at Postgres once for scrapes close together, and says so when Postgres does not answer', async () => {
    await test.database.query(`DELETE FROM instances WHERE id = 'i-02'`);
    const read = async () => (await samples()).get('scheduler_instances{state="quarantined"}');
    const deadline = Date.now() + 20_000;
    const until = async (what: string, isTrue: () => Promise<boolean>) => {
      while (!(await isTrue())) if (Date.now() > deadline) throw new Error(`did not happen: ${what}`);
    };
    await until('it looks again', async () => (await read()) === 1);
    await test.database.query('ALTER TABLE owner RENAME TO hidden');
    try {
      expect(await read()).toBe(1);
      await until('it looks again', async () => (await samples()).get('scheduler_fleet_up') === 0);
      const names = [...(await samples()).keys()].filter((name) => name.startsWith('scheduler_'));
      expect(names).toEqual(['scheduler_fleet_up']);
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
});
