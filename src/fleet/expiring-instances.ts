import { type ExpiringRows, expiringRows } from '../database/expiring-rows.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Shape } from './shape.entity.js';

// Of a shape `s`. Attempts, launches and instances stay long after their end, and so does their shape.
const IS_UNUSED = `s.warm = 0 AND s.next_pass_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.shape_key = s.key)
  AND NOT EXISTS (SELECT 1 FROM launches l WHERE l.shape_key = s.key)
  AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.shape_key = s.key)`;

// Locked first: the deletion so sees what others committed before the lock.
const HOLD_SHAPES = statement('retain-shapes-held', { values: [t.bigintValue], row: columnsOf(Shape, 'key') })(
  `SELECT s.key FROM shapes s WHERE ${IS_UNUSED} ORDER BY s.key LIMIT $1 FOR UPDATE SKIP LOCKED`,
);

// Checked again: a job pass may have made an attempt of the shape before this lock. A later pass inserts the shape
// again.
const SHAPES = statement('retain-shapes', { values: [t.arrayOf(t.text)] })(
  `DELETE FROM shapes s WHERE s.key = ANY ($1::text[]) AND ${IS_UNUSED} RETURNING 1`,
);

export const EXPIRING_INSTANCES = expiringRows('instances', {
  table: 'instances',
  condition: `terminated_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM assignments s WHERE s.instance_id = instances.id)`,
});

export const EXPIRING_LAUNCHES = expiringRows('launches', {
  table: 'launches',
  condition: `settled_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.launch_id = launches.id)`,
});

export const EXPIRING_SHAPES: ExpiringRows = {
  name: 'shapes',
  deleteSome: async (transaction, most) => {
    const held = await transaction.run(HOLD_SHAPES, [most]);
    return await transaction.run(SHAPES, [held.map(({ key }) => key)]);
  },
};
