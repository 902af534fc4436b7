import type { EventType } from './event-types.js';

/** SQL expressions for the columns of new events. A column that is left out is null; `cause` and `data` are then empty. */
export type EventColumns = {
  /** A type, or an expression for one of several. */
  readonly type: EventType | { readonly sql: string };
  readonly actor: string;
  readonly cause?: string;
  readonly jobId?: string;
  readonly job?: string;
  readonly deployment?: string;
  readonly attempt?: string;
  readonly instance?: string;
  readonly data?: string;
};

/**
 * SQL statement, or the content of a CTE, that writes an event for each row of `from`. It belongs into the statement or
 * the transaction of the change it records, under the lock of the row that changes. After the commit:
 * `signals.eventsWritten()`.
 * @param from what follows the columns of a SELECT, as `FROM changed WHERE …`
 */
export function insertEvents({ type, ...columns }: EventColumns, from: string): string {
  const values = { type: typeof type === 'string' ? `'${type}'` : type.sql, ...columns };
  const names = Object.keys(values).map((name) => (name === 'jobId' ? 'job_id' : name));
  return `INSERT INTO events (${names.join(', ')}) SELECT ${Object.values(values).join(', ')} ${from}`;
}
