import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../../local/postgres.ts';

/** Starts one Postgres for a whole Jest run; TEST_DATABASE_URL (superuser) uses another one instead. */
export default async function setUp(): Promise<void> {
  if (process.env['TEST_DATABASE_URL']) return;
  const directory = await mkdtemp(join(tmpdir(), 'scheduler-api-test-'));
  const postgres = await startPostgres({ directory, isDisposable: true });
  process.env['TEST_DATABASE_URL'] = postgres.url;
  process.env['TEST_TEMPLATE_DATABASE'] = 'test_template';
  globalThis.stopTestPostgres = async () => {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  };
}

declare global {
  var stopTestPostgres: (() => Promise<void>) | undefined;
}
