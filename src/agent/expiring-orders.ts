import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

/** Orders are needed while their attempt runs, and for diagnosis afterwards; most rows of the database are orders. */
const ORDERS_KEPT_DAYS = 1;

const ORDERS = statement('retain-orders', { values: [t.bigintValue, t.int] })(`
  DELETE FROM orders WHERE (instance_id, number) IN (
    SELECT o.instance_id, o.number FROM attempts a JOIN orders o ON o.attempt_id = a.id
    WHERE a.phase = 'ended' AND a.ended_at < clock_timestamp() - make_interval(days => $2)
    UNION ALL
    -- A container that crashes once in a while makes two orders or three each time, for as long as its attempt serves. The latest
    -- of each kind stays: the planner goes on from it, and numbers go up from the highest.
    SELECT o.instance_id, o.number FROM orders o
    WHERE o.purpose IN ('wait', 'inspect-container', 'inspect-exit') AND o.answered_at < clock_timestamp() - make_interval(days => $2)
      AND o.number < (SELECT max(number) FROM orders x WHERE x.attempt_id = o.attempt_id AND x.purpose = o.purpose)
    LIMIT $1
  )
  RETURNING 1`);

export const EXPIRING_ORDERS: ExpiringRows = {
  name: 'orders',
  deleteSome: (transaction, most) => transaction.run(ORDERS, [most, ORDERS_KEPT_DAYS]),
};
