import type { Queryable } from './database.js';

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
