/**
 * A statement that records when rows were last seen. $1: ids, $2: for each, how many seconds ago.
 *
 * SKIP LOCKED: waiting for rows that other transactions have locked, in whatever order, could end in a deadlock; there
 * is a next time. @param returning columns of the row `t`
 */
export function lastSeenSql(table: string, column: string, returning = ''): string {
  return `
    WITH noted AS (
      SELECT id, seconds FROM unnest($1::text[], $2::double precision[]) AS n (id, seconds)
    ), free AS (
      SELECT id FROM ${table} WHERE id = ANY ($1::text[]) FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE ${table} AS t
    SET ${column} = GREATEST(t.${column}, clock_timestamp() - make_interval(secs => noted.seconds))
    FROM noted JOIN free USING (id)
    WHERE t.id = noted.id${returning === '' ? '' : ` RETURNING ${returning}`}`;
}
