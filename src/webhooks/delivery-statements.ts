/** $1: a webhook that is disabled. What is on its way ends; the queue drops it when its turn comes. */
export const CANCEL_DELIVERIES = `
  UPDATE webhook_deliveries SET status = 'cancelled', next_attempt_at = NULL, settled_at = clock_timestamp()
  WHERE webhook_id = $1 AND status = 'pending'`;
