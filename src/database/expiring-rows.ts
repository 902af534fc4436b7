import type { Queryable } from './database.js';
import { statement, t } from './statement.js';

/** For how many days rows are kept that are no longer needed. */
export type RetentionDays = {
  /** Of ended deployments, deleted jobs, terminated instances, settled launches, revoked and expired tokens. */
  readonly days: number;
  readonly eventsDays: number;
};

/** Rows of a feature's table that expire; `retention` deletes them. */
export type ExpiringRows = {
  /** The name of these rows in the log, like `rateLimits`. */
  readonly name: string;
  /** @returns one for each row deleted, at most so many */
  readonly deleteSome: (transaction: Queryable, most: number, days: RetentionDays) => Promise<readonly unknown[]>;
};

type Expiry = {
  readonly table: string;
  readonly key?: string;
  readonly order?: string;
  readonly condition: string;
  readonly keptDays?: number;
};

/**
 * Rows of a table for which the condition holds, of which $2 is a number of days: `keptDays`, by default those of the
 * settings. Locked ones are left for the next time.
 */
export function expiringRows(
  name: string,
  { table, key = 'id', order = key, condition, keptDays }: Expiry,
): ExpiringRows {
  const expired = statement(`retain-${name}`, { values: [t.bigintValue, t.int] })(`
  DELETE FROM ${table} WHERE (${key}) IN (
    SELECT ${key} FROM ${table} WHERE ${condition} ORDER BY ${order} LIMIT $1 FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);
  return { name, deleteSome: (transaction, most, { days }) => transaction.run(expired, [most, keptDays ?? days]) };
}
