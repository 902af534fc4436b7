/** Tables with passes: `next_pass_at` is when a row is due for its next one, null when nothing is expected. */
export type Wakeable = 'jobs' | 'shapes';

const KEYS: Readonly<Record<Wakeable, string>> = { jobs: 'id', shapes: 'key' };

/**
 * SQL assignment that makes rows of the table due now. The update also locks the row, so that a pass that has claimed
 * it meanwhile does not overwrite the change it has not read. After the commit, `signals.jobsDue()` or `.shapesDue()`
 * saves waiting for the next poll.
 */
export function dueNow(table: Wakeable): string {
  return `next_pass_at = LEAST(${table}.next_pass_at, clock_timestamp())`;
}

/**
 * SQL statement that makes the rows due now for which the condition holds; returns one row each. It locks them in the
 * order of their keys, so that two such statements never wait for each other.
 */
export function wakeRows(table: Wakeable, condition: string): string {
  const key = KEYS[table];
  return `
  UPDATE ${table} SET ${dueNow(table)}
  WHERE ${key} IN (SELECT ${key} FROM ${table} WHERE ${condition} ORDER BY ${key} FOR NO KEY UPDATE)
  RETURNING ${key}`;
}
