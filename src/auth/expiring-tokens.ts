import { expiringRows } from '../database/expiring-rows.js';

export const EXPIRING_TOKENS = expiringRows('tokens', {
  table: 'tokens',
  condition: 'LEAST(revoked_at, expires_at) < clock_timestamp() - make_interval(days => $2)',
});

export const EXPIRING_RATE_LIMITS = expiringRows('rateLimits', {
  table: 'rate_limits',
  key: 'caller',
  condition: 'updated_at < clock_timestamp() - make_interval(days => $2)',
  // A bucket that was not used for a day is full, like one without a row.
  keptDays: 1,
});
