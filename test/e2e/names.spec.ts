import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { SecretStore } from '../../src/secrets/secret-store.ts';
import { type Answer, type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** Names that JavaScript, JSON pointers, shells or Postgres might take for something else. */
const SPECIAL = [
  'constructor',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  '__defineGetter__',
  'then',
  'length',
];
const ODD = [
  'discovery.type',
  'xpack.security.enabled',
  'a-b',
  'a b',
  ' ',
  'a/b~c',
  '0',
  '$(id)',
  '"',
  '\\',
  '{}',
  'ü',
  '\n',
  '😀',
];

/** As startApi has it. */
const store = new SecretStore([createSecretKey(Buffer.alloc(32, 1))]);

describe('names that users choose', () => {
  let api: Api;
  let test: TestDatabase;
  let jobs = 0;
  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const errorsOf = ({ body }: Answer) =>
    (body as { errors: { pointer?: string; parameter?: string; detail: string }[] }).errors;
  const make = async (body: object) => {
    const name = `names-${(jobs += 1)}`;
    return {
      name,
      made: await api.request('POST', '/v1/jobs', { body: JSON.stringify({ name, image: 'x', ...body }) }),
    };
  };
  const sealedOf = async (name: string) => {
    const [row] = await test.database.query<{ jobId: string; version: number; sealed: Buffer }>(
      `SELECT s.job_id AS "jobId", s.version, s.sealed FROM job_secrets s JOIN jobs j ON j.id = s.job_id
       WHERE j.name = $1 AND s.version = j.secrets_version`,
      [name],
    );
    return row ? store.open(row) : {};
  };
  const envOf = async (name: string) => ((await api.request('GET', `/v1/jobs/${name}`)).body as { env: object }).env;

  const anyName = fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(...SPECIAL, ...ODD) },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }) },
  );
  const dockersName = anyName.filter((name) => !/[=\0]/.test(name) && name.isWellFormed() && name !== '__proto__');
  const map = fc.dictionary(
    dockersName,
    fc.string({ maxLength: 8 }).filter((text) => !text.includes('\0')),
    { maxKeys: 8 },
  );

  it('are kept to the letter as variables and as secrets: made, changed one by one, and overridden', async () => {
    await fc.assert(
      fc.asyncProperty(map, map, map, async (env, others, change) => {
        const secrets = Object.fromEntries(Object.entries(others).map(([name, value]) => [`secret ${name}`, value]));
        const { name, made } = await make({ env, secrets });
        expect([made.status, made.text]).toEqual([201, expect.any(String)]);
        expect(await envOf(name)).toEqual(env);
        expect(await sealedOf(name)).toEqual(secrets);
        // All that was there goes, by name; what comes is there.
        const gone = Object.fromEntries(Object.keys(env).map((key) => [key, null]));
        const patch = { env: { ...gone, ...change } };
        expect((await api.request('PATCH', `/v1/jobs/${name}`, { body: patch })).status).toBe(200);
        expect(await envOf(name)).toEqual(change);
        const deployed = await api.request('POST', `/v1/jobs/${name}/deployments`, { body: { env } });
        expect((deployed.body as { definition: { env: object } }).definition.env).toEqual({ ...change, ...env });
      }),
      { seed: 16, numRuns: 25 },
    );
  });

  it.each(['env', 'secrets'])(
    'of %s that Docker does not take are refused, each by name and with what is allowed',
    async (field) => {
      const { made } = await make({ [field]: { 'a=b': '', '': '', 'a\0': '', ['x'.repeat(257)]: '' } });
      expect(made.status).toBe(422);
      expect(errorsOf(made)).toEqual([
        {
          pointer: `#/${field}/a%3Db`,
          detail: 'the name must not contain «=»: any other character except NUL is allowed',
        },
        { pointer: `#/${field}/`, detail: 'the name must not be empty' },
        { pointer: `#/${field}/a%00`, detail: 'the name must not contain a NUL character or half a surrogate pair' },
        { pointer: `#/${field}/${'x'.repeat(257)}`, detail: 'the name must have at most 256 characters' },
      ]);
    },
  );

  it('are refused by name where no program of this kind could keep them, at any depth', async () => {
    for (const field of ['env', 'secrets']) {
      const body = `{"name":"proto","${field}":{"__proto__":"x","A":"a"}}`;
      const refused = await api.request('POST', '/v1/jobs', { body });
      expect([refused.status, errorsOf(refused)]).toEqual([
        400,
        [{ pointer: `#/${field}/__proto__`, detail: 'nothing can be named __proto__' }],
      ]);
    }
  });

  it.each(SPECIAL)('are no fields and no parameters: %s', async (name) => {
    const { made } = await make({ [name]: 'x' });
    expect([made.status, errorsOf(made)[0]?.pointer]).toEqual([422, `#/${name}`]);
    const { made: inside } = await make({ instance: { [name]: 'x' } });
    expect([inside.status, errorsOf(inside)[0]?.pointer]).toEqual([422, `#/instance/${name}`]);
    const listed = await api.request('GET', `/v1/jobs?${name}=1`);
    expect([listed.status, errorsOf(listed)[0]?.parameter]).toEqual([400, name]);
  });
});
