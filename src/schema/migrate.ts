import type { DataSource } from 'typeorm';
import pg from 'pg';
import { installQueue } from '../webhooks/delivery-queue.js';
import { SCHEMA } from './data-source.js';
import { ADVISORY_LOCKS } from '../database/advisory-locks.js';

/** Applies what is missing, under an advisory lock so that several starting processes do it once. */
export async function migrate(dataSource: DataSource): Promise<string[]> {
  const lock = await holdLock(dataSource);
  try {
    await dataSource.query(`CREATE SCHEMA IF NOT EXISTS "${SCHEMA}"`);
    const applied = await dataSource.runMigrations();
    await installQueue((dataSource.options as { url: string }).url);
    return applied.map((migration) => migration.name);
  } finally {
    await lock.end();
  }
}

export async function hasPendingMigrations(dataSource: DataSource): Promise<boolean> {
  return await dataSource.showMigrations();
}

/** On a connection of its own: a session lock, released by the server even if this process dies. */
async function holdLock(dataSource: DataSource): Promise<pg.Client> {
  const { url } = dataSource.options as { url: string };
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  // Its loss needs no reaction: the migration has connections of its own, and fails with them.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT pg_advisory_lock($1)', [ADVISORY_LOCKS.migration]);
    return client;
  } catch (error) {
    await client.end();
    throw error;
  }
}
