import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { DataSource } from 'typeorm';
import { createDataSource } from '../../src/schema/data-source.ts';
import { Database } from '../../src/database/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { Signals } from '../../src/database/signals.ts';

export type TestDatabase = {
  url: string;
  dataSource: DataSource;
  database: Database;
  signals: Signals;
  /** Closes the connections and drops the database; fails when someone else still holds one. */
  close(): Promise<void>;
};

/** An empty, migrated database of this test file's own. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const url = await createEmptyDatabase();
  const dataSource = createDataSource({ url });
  await dataSource.initialize();
  await migrate(dataSource);
  const database = new Database(dataSource);
  const signals = new Signals(database, url);
  await signals.start();
  return {
    url,
    dataSource,
    database,
    signals,
    close: async () => {
      await signals.stop();
      await dataSource.destroy();
      await dropDatabase(url);
    },
  };
}

export async function createEmptyDatabase(): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdministrator((client) => client.query(`CREATE DATABASE ${name}`));
  const url = new URL(administratorUrl());
  url.pathname = `/${name}`;
  return url.href;
}

export async function dropDatabase(url: string): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  await asAdministrator((client) => client.query(`DROP DATABASE ${name} WITH (FORCE)`));
}

/** Statements beside the program, with its schema. */
export type Queries = {
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  close(): Promise<void>;
};

/** Keeps its connections for as long as it is asked again and again: a new one costs Postgres more than most statements. */
export function openQueries(url: string): Queries {
  const pool = new pg.Pool({
    connectionString: url,
    max: 4,
    // Some tests wait until nobody has a connection any more.
    idleTimeoutMillis: 2_000,
    options: '-c search_path="scheduler-jobs"',
  });
  // Of a connection that is not in use: the next statement has another one, or says what is wrong.
  pool.on('error', () => undefined);
  return {
    query: async <Row extends object>(sql: string, values: readonly unknown[] = []) =>
      (await pool.query<Row>(sql, [...values])).rows,
    close: async () => pool.end(),
  };
}

/** One statement on a connection of its own, with the schema of the program. */
export async function queryDatabase<Row extends object>(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const queries = openQueries(url);
  try {
    return await queries.query<Row>(sql, values);
  } finally {
    await queries.close();
  }
}

async function asAdministrator(work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: administratorUrl() });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

function administratorUrl(): string {
  const url = process.env['TEST_DATABASE_URL'];
  if (!url) throw new Error('TEST_DATABASE_URL is not set: run through npm, test/support/postgres-setup.ts sets it');
  return url;
}
