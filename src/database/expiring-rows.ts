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
  /** Deletes at most `$1` rows and returns one for each. */
  readonly sql: string;
  /** `$2` and further. */
  readonly values: (days: RetentionDays) => readonly number[];
  /**
   * Locks at most `$1` rows that are to be deleted and returns their `key`; `$1` of `sql` are these keys then. The deletion so
   * sees what others committed before the lock.
   */
  readonly held?: string;
};
