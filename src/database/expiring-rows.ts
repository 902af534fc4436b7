/** How long rows are kept that are of no use any more, in days. */
export type RetentionDays = {
  /** Of ended deployments, deleted jobs, terminated instances, settled launches, revoked and expired tokens. */
  readonly days: number;
  readonly eventsDays: number;
};

/** What of a feature's table expires; `retention` deletes it. */
export type ExpiringRows = {
  /** What is deleted, as the log names it: `rateLimits`. */
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
