import { inScopeSql } from '../auth/access-rules.js';
import { isForAdminsSql } from '../events/event-types.js';

/** A delivery that tells of no event, only that it arrived. */
export const PING_TYPE = 'webhook.ping';

/**
 * SQL: whether somebody may be told of the event of delivery `d`. What a webhook was made for says nothing of that: an
 * admin may have narrowed it since, and left its earlier deliveries to the team that has it now.
 * @param prefixes `$n` or a column: an array of text or null; @param isForAdmins a boolean
 */
export function mayTellSql(prefixes: string, isForAdmins: string): string {
  const isSeen = `${inScopeSql('d.job', prefixes)} AND (${isForAdmins} OR NOT ${isForAdminsSql('d.type')})`;
  return `(d.type = '${PING_TYPE}' OR COALESCE(${isSeen}, false))`;
}

/** SQL: whether webhook `w`, as it is now, would get the event of its delivery `d`. */
export const MAY_BE_SENT = mayTellSql('w.jobs', 'w.is_for_admins');

/** $1: a webhook that is disabled. What is on its way ends; the queue drops it when its turn comes. */
export const CANCEL_DELIVERIES = `
  UPDATE webhook_deliveries SET status = 'cancelled', next_attempt_at = NULL, settled_at = clock_timestamp()
  WHERE webhook_id = $1 AND status = 'pending'`;

/** $1: a webhook that was changed: its URL may be another one's by now, and it may be for fewer jobs. */
export const CANCEL_FOREIGN_DELIVERIES = `
  UPDATE webhook_deliveries d SET status = 'cancelled', next_attempt_at = NULL, settled_at = clock_timestamp()
  FROM webhooks w WHERE w.id = d.webhook_id AND w.id = $1 AND d.status = 'pending' AND NOT ${MAY_BE_SENT}`;
