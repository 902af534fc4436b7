import { expiringRows } from '../database/expiring-rows.js';

export const EXPIRING_ANSWERS = expiringRows('answers', {
  table: 'idempotency_keys',
  key: 'caller, key',
  order: 'created_at',
  condition: 'created_at < clock_timestamp() - make_interval(days => $2)',
  // As the documentation promises a client that repeats a request.
  keptDays: 1,
});
