import type { ExpiringRows } from '../database/expiring-rows.js';

const INSTANCES = `
  DELETE FROM instances WHERE id IN (
    SELECT i.id FROM instances i
    WHERE i.terminated_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM assignments s WHERE s.instance_id = i.id)
    ORDER BY i.id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

const LAUNCHES = `
  DELETE FROM launches WHERE id IN (
    SELECT l.id FROM launches l
    WHERE l.settled_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.launch_id = l.id)
    ORDER BY l.id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`;

// Of a shape `s`. Attempts, launches and instances stay long after their end, and so does their shape.
const IS_UNUSED = `s.warm = 0 AND s.next_pass_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.shape_key = s.key)
  AND NOT EXISTS (SELECT 1 FROM launches l WHERE l.shape_key = s.key)
  AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.shape_key = s.key)`;

const HELD_SHAPES = `SELECT s.key FROM shapes s WHERE ${IS_UNUSED} ORDER BY s.key LIMIT $1 FOR UPDATE SKIP LOCKED`;

// Checked again: a job pass may have made an attempt of the shape before this lock. A later pass inserts the shape
// again.
const SHAPES = `DELETE FROM shapes s WHERE s.key = ANY ($1::text[]) AND ${IS_UNUSED} RETURNING 1`;

export const EXPIRING_INSTANCES: ExpiringRows = {
  name: 'instances',
  sql: INSTANCES,
  values: ({ days }) => [days],
};

export const EXPIRING_LAUNCHES: ExpiringRows = {
  name: 'launches',
  sql: LAUNCHES,
  values: ({ days }) => [days],
};

export const EXPIRING_SHAPES: ExpiringRows = {
  name: 'shapes',
  sql: SHAPES,
  values: () => [],
  held: HELD_SHAPES,
};
