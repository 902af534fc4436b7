import type { Queryable } from '../../src/database/database.js';

/** Until another session of this database waits for a lock. */
export async function blockedOnLock(database: Queryable): Promise<void> {
  for (;;) {
    const waiting = await database.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (waiting.length > 0) return;
    await new Promise((done) => setTimeout(done, 5));
  }
}
