import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

/** Long enough to look for what a receiver missed over a weekend; there is one for each event and webhook. */
const DELIVERIES_KEPT_DAYS = 7;

// The queue gives a delivery up after some days, or forgets it after two weeks without any of us.
const DELIVERIES = statement('retain-deliveries', { values: [t.bigintValue, t.int] })(`
  DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries
    WHERE created_at < clock_timestamp() - make_interval(days => $2)
      AND (status <> 'pending' OR created_at < clock_timestamp() - interval '15 days')
    ORDER BY created_at LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);

export const EXPIRING_DELIVERIES: ExpiringRows = {
  name: 'deliveries',
  deleteSome: (transaction, most) => transaction.run(DELIVERIES, [most, DELIVERIES_KEPT_DAYS]),
};
