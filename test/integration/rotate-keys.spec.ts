import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { headerOf, type Keys, seal, unseal } from '../../src/secrets/sealed.ts';
import { Registries } from '../../src/registries/registries.ts';
import { rotateKeys } from '../../src/key-rotation/rotate-keys.ts';
import { SEALED_COLUMNS } from '../../src/key-rotation/sealed-columns.ts';
import { SecretStore } from '../../src/secrets/secret-store.ts';
import { openSecrets, sealSecret } from '../../src/webhooks/webhook-secrets.ts';
import { insertAgent } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const [first, second] = [1, 2].map((byte) => createSecretKey(Buffer.alloc(32, byte)));
const OLD: Keys = [first!];
const NEW: Keys = [second!];
const BOTH: Keys = [second!, first!];
/** Several batches. */
const ROWS = 250;

describe('rotating keys', () => {
  let test: TestDatabase;
  let jobId: string;

  beforeAll(async () => {
    test = await createTestDatabase();
    ({ jobId } = await insertAgent(test.database));
  });
  afterAll(() => test.close());

  beforeEach(async () => {
    await test.database.query('TRUNCATE job_secrets, idempotency_keys');
    for (let version = 1; version <= ROWS; version++) await insertSecrets(version, OLD);
  });

  it('knows every column that holds sealed values', async () => {
    const rows = await test.database.query<{ name: string }>(
      `SELECT table_name || '.' || column_name AS name FROM information_schema.columns
       WHERE table_schema = 'scheduler-jobs' AND data_type = 'bytea'`,
    );
    const sealed = SEALED_COLUMNS.map(({ table, column }) => `${table}.${column}`);
    const hashes = ['instances.token_hash', 'launches.secret_hash', 'tokens.hash', 'idempotency_keys.fingerprint'];
    const unsealed = ['orders.result_body', 'log_chunks.content'];
    expect(rows.map(({ name }) => name).sort()).toEqual([...sealed, ...hashes, ...unsealed].sort());
  });

  it('seals everything with the first key, so that the old one is not needed any more', async () => {
    const context = 'idempotency key me k 1';
    await test.database.query(
      `INSERT INTO idempotency_keys (caller, key, fingerprint, answer) VALUES ('me', 'k 1', '', $1), ('me', 'k 2', '', NULL)`,
      [seal(OLD, 'kept', context)],
    );
    const [launch] = await test.database.query<{ id: string }>('SELECT id FROM launches');
    await test.database.query('UPDATE launches SET input = $1', [seal(OLD, 'input', launch!.id)]);

    await new Registries(test.database, OLD).put('example.com', { username: 'u', password: 'p' });

    const webhook = '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11';
    await test.database.query(
      `INSERT INTO webhooks (id, url, description, events, created_by, is_for_admins, sealed, previous_sealed)
       VALUES ($1, '', '', '{*}', '', false, $2, $3)`,
      [webhook, sealSecret(OLD, webhook, 'whsec_now'), sealSecret(OLD, webhook, 'whsec_before')],
    );

    const rotated = await rotate(BOTH);
    expect(rotated.failures).toEqual([]);
    expect(rotated.columns).toEqual({
      'job_secrets.sealed': [ROWS, 0],
      'idempotency_keys.answer': [1, 0],
      'registries.sealed': [1, 0],
      'webhooks.sealed': [1, 0],
      'webhooks.previous_sealed': [1, 0],
      'launches.input': [1, 0],
    });

    expect(await new Registries(test.database, NEW).authOf('example.com')).toBeDefined();
    const store = new SecretStore(NEW);
    for (const row of await secrets()) expect(store.open(row)).toEqual({ A: String(row.version) });
    const [{ answer } = { answer: Buffer.alloc(0) }] = await test.database.query<{ answer: Buffer }>(
      `SELECT answer FROM idempotency_keys WHERE key = 'k 1'`,
    );
    expect(unseal(NEW, answer, context)).toBe('kept');
    const [{ input } = { input: Buffer.alloc(0) }] = await test.database.query<{ input: Buffer }>(
      'SELECT input FROM launches',
    );
    expect(unseal(NEW, input, launch!.id)).toBe('input');
    const [signing] = await test.database.query<{ secrets: Buffer[] }>(
      'SELECT ARRAY[sealed, previous_sealed] AS secrets FROM webhooks',
    );
    expect(openSecrets(NEW, webhook, signing!.secrets)).toEqual(['whsec_now', 'whsec_before']);
    expect((await rotate(BOTH)).columns['job_secrets.sealed']).toEqual([0, 0]);
  });

  it('goes on where it was stopped', async () => {
    let statements = 0;
    const stopping = Object.create(test.database, {
      transaction: {
        value: (work: never) => {
          if (++statements > 1) throw new Error('stopped');
          return test.database.transaction(work);
        },
      },
    }) as typeof test.database;
    await expect(rotateKeys(stopping, BOTH, () => undefined)).rejects.toThrow('stopped');
    expect(await sealedBy(NEW)).toBe(100);
    expect((await rotate(BOTH)).columns['job_secrets.sealed']).toEqual([ROWS - 100, 0]);
    expect(await sealedBy(NEW)).toBe(ROWS);
  });

  it('leaves what no key opens, names it, and does the rest', async () => {
    const { failures, columns } = await rotate(NEW);
    expect(columns['job_secrets.sealed']).toEqual([0, ROWS]);
    expect(failures).toHaveLength(ROWS);
    expect(failures).toContain(`secrets ${jobId} 7`);
    await insertSecrets(ROWS + 1, [createSecretKey(Buffer.alloc(32, 3))]);
    expect(await rotate(BOTH)).toMatchObject({
      failures: [`secrets ${jobId} ${ROWS + 1}`],
      columns: { 'job_secrets.sealed': [ROWS, 1] },
    });
  });

  it('does not wait for a row that somebody holds, and says that it is left', async () => {
    await test.database.transaction(async (transaction) => {
      await transaction.query('SELECT 1 FROM job_secrets WHERE version = 5 FOR UPDATE');
      expect((await rotate(BOTH)).columns['job_secrets.sealed']).toEqual([ROWS - 1, 1]);
    });
    expect((await rotate(BOTH)).columns['job_secrets.sealed']).toEqual([1, 0]);
  });

  async function rotate(keys: Keys) {
    const failures: string[] = [];
    const rotated = await rotateKeys(test.database, keys, (context) => failures.push(context));
    return {
      failures,
      columns: Object.fromEntries(rotated.map(({ column, resealed, left }) => [column, [resealed, left]])),
    };
  }

  async function insertSecrets(version: number, keys: Keys): Promise<void> {
    const sealed = seal(keys, JSON.stringify({ A: String(version) }), `secrets ${jobId} ${version}`);
    await test.database.query('INSERT INTO job_secrets (job_id, version, sealed) VALUES ($1, $2, $3)', [
      jobId,
      version,
      sealed,
    ]);
  }

  async function secrets() {
    return await test.database.query<{ jobId: string; version: number; sealed: Buffer }>(
      'SELECT job_id AS "jobId", version, sealed FROM job_secrets',
    );
  }

  async function sealedBy([key]: Keys): Promise<number> {
    return (await secrets()).filter(({ sealed }) => sealed.subarray(0, 5).equals(headerOf(key))).length;
  }
});
