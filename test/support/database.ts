import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { DataSource } from 'typeorm';
import { createDataSource } from '../../src/schema/data-source.ts';
import { Database } from '../../src/database/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { Signals } from '../../src/database/signals.ts';

/** Of the administrator’s database: others of the same number, in databases of tests, are not the same lock. */
const TEMPLATE_LOCK = 1;

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
  const url = await createMigratedDatabase();
  const dataSource = createDataSource({ url });
  await dataSource.initialize();
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
  const name = newName();
  await asAdministrator((client) => client.query(`CREATE DATABASE ${name}`));
  return urlOf(name);
}

/**
 * A copy of a database that the first test file of the run migrates: a fifth of what migrating takes, and a test run
 * makes some three hundred. On a server of the user's own each is migrated, as nobody would drop that one.
 */
export async function createMigratedDatabase(): Promise<string> {
  const template = process.env['TEST_TEMPLATE_DATABASE'];
  if (template === undefined) {
    const url = await createEmptyDatabase();
    await migrateDatabase(url);
    return url;
  }
  const name = newName();
  await asAdministrator(async (client) => {
    // Until this connection ends: one worker migrates, and nobody copies while another is connected.
    await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template]);
    if (rowCount === 0) {
      const unfinished = `${template}_unfinished`;
      await client.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`);
      await client.query(`CREATE DATABASE ${unfinished}`);
      await migrateDatabase(urlOf(unfinished));
      await client.query(`ALTER DATABASE ${unfinished} RENAME TO ${template}`);
    }
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
  });
  return urlOf(name);
}

async function migrateDatabase(url: string): Promise<void> {
  const dataSource = createDataSource({ url });
  await dataSource.initialize();
  try {
    await migrate(dataSource);
  } finally {
    await dataSource.destroy();
  }
}

const newName = (): string => `test_${randomBytes(6).toString('hex')}`;

function urlOf(name: string): string {
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
