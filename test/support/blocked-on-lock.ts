import type { Queryable } from '../../src/database/database.ts';
import { until } from '../../local/until.ts';

const BLOCKED = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;

/** Whether a session of this database waits for a lock. */
export async function isBlockedOnLock(database: Queryable): Promise<boolean> {
  return (await database.query(BLOCKED)).length > 0;
}

/** Until so many other sessions of this database wait for a lock. */
export async function blockedOnLock(database: Queryable, sessions = 1): Promise<void> {
  await until(async () => (await database.query(BLOCKED)).length >= sessions);
}
