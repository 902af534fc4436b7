import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Retention } from '../../src/retention/retention.ts';
import { SecretStore } from '../../src/secrets/secret-store.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** As startApi has it. */
const store = new SecretStore([createSecretKey(Buffer.alloc(32, 1))]);

describe('secrets of a job', () => {
  let api: Api;
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const make = (name: string, secrets: object, rest: object = {}) =>
    api.request('POST', '/v1/jobs', { body: { name, image: 'app:1', secrets, ...rest } });
  const patch = (name: string, body: object, headers = {}) =>
    api.request('PATCH', `/v1/jobs/${name}`, { body, headers });
  const deploy = (name: string, body: object) => api.request('POST', `/v1/jobs/${name}/deployments`, { body });

  it('are answered as names only, by the job and its deployments', async () => {
    const made = await make('shown', { B: 'b', A: 'a' });
    expect(made).toMatchObject({ status: 201, body: { secrets: ['A', 'B'] } });
    for (const path of ['', '?wait=0', '/deployments', '/deployments/1']) {
      const { text } = await api.request('GET', `/v1/jobs/shown${path}`);
      expect(text).toContain('"secrets":["A","B"]');
    }
    expect((await api.request('GET', '/v1/jobs/shown/deployments/1')).body).toMatchObject({ secretsVersion: 1 });
  });

  it('are changed one by one, removed by null, and all removed by null as a whole', async () => {
    await make('changed', { A: 'a', B: 'b' });
    expect((await patch('changed', { secrets: { B: 'b2', C: 'c', A: null } })).body).toMatchObject({
      secrets: ['B', 'C'],
    });
    expect(await valuesOf('changed')).toEqual({ B: 'b2', C: 'c' });
    expect((await patch('changed', { secrets: null })).body).toMatchObject({ secrets: [] });
    expect(await valuesOf('changed')).toBeUndefined();
  });

  it('get no new version by a patch that changes nothing', async () => {
    await make('same', { A: 'a' });
    await patch('same', { secrets: { A: 'a', B: null }, memoryMiB: 64 });
    expect(await versionsOf('same')).toEqual([1]);
    await patch('same', { secrets: {} });
    expect(await versionsOf('same')).toEqual([1]);
  });

  it('of a deployment stay those it was made with, through a rollback too', async () => {
    await make('kept', { A: 'one' });
    await patch('kept', { secrets: { A: 'two' } });
    await deploy('kept', { image: 'app:2' });
    await test.database.query(
      `UPDATE deployments SET active_at = clock_timestamp() WHERE job_id = (SELECT id FROM jobs WHERE name = 'kept')`,
    );
    const rolledBack = await api.request('POST', '/v1/jobs/kept/rollback', { body: { to: 1 } });
    expect(rolledBack).toMatchObject({ status: 202, body: { number: 3, secretsVersion: 1, secrets: ['A'] } });
    expect((await deploy('kept', {})).body).toMatchObject({ number: 4, secretsVersion: 2 });
  });

  it('given with a deployment are for this one only', async () => {
    await make('own', { A: 'a', B: 'b' });
    const own = await deploy('own', { secrets: { A: 'mine' } });
    expect(own).toMatchObject({ status: 202, body: { number: 2, secretsVersion: 2, secrets: ['A', 'B'] } });
    expect(await valuesOf('own', 2)).toEqual({ A: 'mine', B: 'b' });
    expect((await deploy('own', { secrets: null })).body).toMatchObject({ secretsVersion: null, secrets: [] });
    expect((await deploy('own', { image: 'app:3' })).body).toMatchObject({ secretsVersion: 1 });
  });

  it.each([
    ['in env as well', { secrets: { A: 'a' }, env: { A: 'x' } }, '#/secrets/A'],
    ['that are names', { secrets: ['A'] }, '#/secrets'],
    ['with a name that is none', { secrets: { 'A=B': 'a' } }, '#/secrets/A%3DB'],
    ['with a NUL in it', { secrets: { A: 'hush\0hush' } }, '#/secrets/A'],
    ['that are too large together', { secrets: { A: 'x'.repeat(32_768), B: 'x'.repeat(32_768) } }, '#/secrets'],
    ['that are too many', { secrets: Object.fromEntries(range(101).map((n) => [`A${n}`, ''])) }, '#/secrets'],
  ])('%s are refused', async (what, body, pointer) => {
    const name = what.toLowerCase().replaceAll(' ', '-');
    for (const answer of [await make('refused', {}, body), (await make(name, {}), await patch(name, body))]) {
      expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
      expect(answer.text).not.toContain('hush');
    }
  });

  it('and env that comes later do not meet in one name', async () => {
    await make('meet', { A: 'a' });
    for (const answer of [await patch('meet', { env: { A: 'x' } }), await deploy('meet', { env: { A: 'x' } })]) {
      expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer: '#/secrets/A' }] } });
    }
    expect((await patch('meet', { env: { A: 'x' }, secrets: { A: null } })).status).toBe(200);
  });

  it('are not lost between two changes at once', async () => {
    await make('race', { A: '' });
    await Promise.all(range(10).map((n) => patch('race', { secrets: { [`A${n}`]: String(n) } })));
    expect(Object.keys((await valuesOf('race')) ?? {})).toHaveLength(11);
  });

  it('are not shown by the answer to a body that is no JSON', async () => {
    const bodies = ['{"name":"a","secrets":{"A":"hush"}x', '{"secrets":{"A":"hush}', '{"A":"hush",}', '"hush'];
    for (const body of bodies) {
      const answer = await api.request('POST', '/v1/jobs', { body });
      expect(answer).toMatchObject({ status: 400, body: { type: '/problems/malformed-request' } });
      expect(answer.text).not.toMatch(/hus/);
    }
  });

  it('do not open in another row, and what they are of can be set anew', async () => {
    await make('mine', { A: 'mine' });
    await make('theirs', { A: 'theirs' });
    await test.database.query(`
      UPDATE job_secrets SET sealed = (
        SELECT sealed FROM job_secrets s JOIN jobs j ON j.id = s.job_id WHERE j.name = 'theirs'
      ) WHERE job_id = (SELECT id FROM jobs WHERE name = 'mine')`);
    expect(await patch('mine', { secrets: { B: 'b' } })).toMatchObject({ status: 409 });
    expect(await patch('mine', { secrets: null })).toMatchObject({ status: 200 });
    expect(await patch('mine', { secrets: { B: 'b' } })).toMatchObject({ status: 200, body: { secrets: ['B'] } });
  });

  it('are deleted once neither the job nor a deployment refers to them', async () => {
    await make('old', { A: '1' });
    await patch('old', { secrets: { A: '2' } });
    await patch('old', { secrets: { A: '3' } });
    expect(await versionsOf('old')).toEqual([1, 2, 3]);
    await new Retention(test.database, 30).run();
    expect(await versionsOf('old')).toEqual([1, 3]);
    await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE name = 'old'`);
    await new Retention(test.database, 30).run();
    expect(await versionsOf('old')).toEqual([]);
  });

  async function versionsOf(name: string): Promise<number[]> {
    const rows = await test.database.query<{ version: number }>(
      `SELECT s.version FROM job_secrets s JOIN jobs j ON j.id = s.job_id WHERE j.name = $1 ORDER BY s.version`,
      [name],
    );
    return rows.map(({ version }) => version);
  }

  async function valuesOf(name: string, version?: number) {
    const [row] = await test.database.query<{ jobId: string; version: number; sealed: Buffer }>(
      `SELECT s.job_id AS "jobId", s.version, s.sealed FROM job_secrets s JOIN jobs j ON j.id = s.job_id
       WHERE j.name = $1 AND s.version = COALESCE($2, j.secrets_version)`,
      [name, version ?? null],
    );
    return row && store.open(row);
  }
});

function range(length: number): number[] {
  return Array.from({ length }, (_, n) => n);
}
