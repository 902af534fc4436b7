import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

/** A bucket that was not used for a day is full, like one without a row. */
const RATE_LIMITS_KEPT_DAYS = 1;

const TOKENS = statement('retain-tokens', { values: [t.bigintValue, t.int] })(`
  DELETE FROM tokens WHERE id IN (
    SELECT id FROM tokens
    WHERE LEAST(revoked_at, expires_at) < clock_timestamp() - make_interval(days => $2)
    ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);

const RATE_LIMITS = statement('retain-rateLimits', { values: [t.bigintValue, t.int] })(`
  DELETE FROM rate_limits WHERE caller IN (
    SELECT caller FROM rate_limits
    WHERE updated_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY caller LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);

export const EXPIRING_TOKENS: ExpiringRows = {
  name: 'tokens',
  deleteSome: (transaction, most, { days }) => transaction.run(TOKENS, [most, days]),
};

export const EXPIRING_RATE_LIMITS: ExpiringRows = {
  name: 'rateLimits',
  deleteSome: (transaction, most) => transaction.run(RATE_LIMITS, [most, RATE_LIMITS_KEPT_DAYS]),
};
