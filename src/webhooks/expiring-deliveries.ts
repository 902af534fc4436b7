import { expiringRows } from '../database/expiring-rows.js';

export const EXPIRING_DELIVERIES = expiringRows('deliveries', {
  table: 'webhook_deliveries',
  order: 'created_at',
  // The queue gives a delivery up after some days, or forgets it after two weeks without any of us.
  condition: `created_at < clock_timestamp() - make_interval(days => $2)
      AND (status <> 'pending' OR created_at < clock_timestamp() - interval '15 days')`,
  // Long enough to look for what a receiver missed over a weekend; there is one for each event and webhook.
  keptDays: 7,
});
