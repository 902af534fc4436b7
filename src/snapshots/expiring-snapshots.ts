import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

// Deletes only our rows; those that stay belong to snapshots that are still in EC2.
const SNAPSHOTS = statement('retain-snapshots', { values: [t.bigintValue, t.int] })(`
  DELETE FROM snapshots WHERE id IN (
    SELECT id FROM snapshots
    WHERE state IN ('failed', 'deleted') AND changed_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);

export const EXPIRING_SNAPSHOTS: ExpiringRows = {
  name: 'snapshots',
  deleteSome: (transaction, most, { days }) => transaction.run(SNAPSHOTS, [most, days]),
};
