import { expiringRows } from '../database/expiring-rows.js';

// Deletes only our rows; those that stay belong to snapshots that are still in EC2.
export const EXPIRING_SNAPSHOTS = expiringRows('snapshots', {
  table: 'snapshots',
  condition: `state IN ('failed', 'deleted') AND changed_at < clock_timestamp() - make_interval(days => $2)`,
});
