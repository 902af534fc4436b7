import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

/** As the documentation promises a client that repeats a request. */
const ANSWERS_KEPT_DAYS = 1;

const ANSWERS = statement('retain-answers', { values: [t.bigintValue, t.int] })(`
  DELETE FROM idempotency_keys WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY created_at LIMIT $1
    FOR UPDATE SKIP LOCKED
  )
  RETURNING 1`);

export const EXPIRING_ANSWERS: ExpiringRows = {
  name: 'answers',
  deleteSome: (transaction, most) => transaction.run(ANSWERS, [most, ANSWERS_KEPT_DAYS]),
};
