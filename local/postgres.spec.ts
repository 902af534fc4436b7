import { existsSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { startPostgres } from './postgres.ts';

describe('embedded Postgres', () => {
  const root = mkdtempSync(join(tmpdir(), 'postgres-spec-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('keeps its data between runs, and forgets it when the folder is removed', async () => {
    // As a clone in a private home folder, where the user Postgres runs as cannot look.
    const home = join(root, 'home');
    await mkdir(home, { mode: 0o700 });
    await chmod(root, 0o755);
    const directory = join(home, 'postgres');
    expect(await run(directory, 'CREATE TABLE kept (n int)')).toBe('ok');
    expect(await run(directory, 'SELECT n FROM kept')).toBe('ok');
    const elsewhere = process.getuid?.() === 0 ? readlinkSync(directory) : undefined;

    await rm(directory, { recursive: true });
    expect(await run(directory, 'SELECT n FROM kept')).toBe('relation "kept" does not exist');
    if (elsewhere !== undefined) {
      expect(existsSync(join(elsewhere, 'data', 'PG_VERSION'))).toBe(true);
      await rm(elsewhere, { recursive: true });
    }
  }, 60_000);
});

async function run(directory: string, sql: string): Promise<string> {
  const postgres = await startPostgres({ directory, isDisposable: true });
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  try {
    await client.query(sql);
    return 'ok';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await client.end();
    await postgres.stop();
  }
}
