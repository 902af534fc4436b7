/**
 * A statement that writes when rows were last heard of. $1: ids, $2: how many seconds ago, one each.
 *
 * SKIP LOCKED: waiting for rows that others hold or write, in whatever order, could end in a deadlock; there is a next
 * time. @param returning of the row, as `t`
 */
export function notedAtSql(table: string, column: string, returning = ''): string {
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
