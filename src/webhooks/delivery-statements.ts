import { inScopeSql } from '../auth/access-rules.js';
import { statement, t } from '../database/statement.js';
import { isForAdminsSql } from '../events/event-types.js';

/** The type of a delivery without an event, which only shows that deliveries arrive. */
export const PING_TYPE = 'webhook.ping';

/**
 * SQL: whether a caller or a webhook may have the event of delivery `d`. That a delivery exists does not imply it: an
 * admin may have narrowed the webhook since, and the team that has it now must not see its earlier deliveries.
 * @param prefixes `$n` or a column: an array of text or null; @param isForAdmins a boolean
 */
export function mayReceiveSql(prefixes: string, isForAdmins: string): string {
  const isSeen = `${inScopeSql('d.job', prefixes)} AND (${isForAdmins} OR NOT ${isForAdminsSql('d.type')})`;
  return `(d.type = '${PING_TYPE}' OR COALESCE(${isSeen}, false))`;
}

/** SQL: whether webhook `w`, as it is now, would get the event of its delivery `d`. */
export const MAY_BE_SENT = mayReceiveSql('w.jobs', 'w.is_for_admins');

/** $1: a webhook that is disabled. What is on its way ends; the queue drops it when its turn comes. */
export const CANCEL_DELIVERIES = statement('webhook-cancel-deliveries', { values: [t.uuid], isPrepared: false })(`
  UPDATE webhook_deliveries SET status = 'cancelled', next_attempt_at = NULL, settled_at = clock_timestamp()
  WHERE webhook_id = $1 AND status = 'pending'`);

/** $1: a webhook that was changed: its URL may be another one's by now, and it may be for fewer jobs. */
export const CANCEL_FOREIGN_DELIVERIES = statement('webhook-cancel-foreign-deliveries', {
  values: [t.uuid],
  isPrepared: false,
})(`
  UPDATE webhook_deliveries d SET status = 'cancelled', next_attempt_at = NULL, settled_at = clock_timestamp()
  FROM webhooks w WHERE w.id = d.webhook_id AND w.id = $1 AND d.status = 'pending' AND NOT ${MAY_BE_SENT}`);
