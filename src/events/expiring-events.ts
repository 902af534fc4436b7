import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

// From the first position on and without leaving one out, so that one number says what is gone: a long transaction may
// have written an older event at a later position.
const EVENTS = statement('retain-events', { values: [t.bigintValue, t.int] })(`
  WITH first AS (
    SELECT id, position, at < clock_timestamp() - make_interval(days => $2) AS is_old
    FROM events WHERE position IS NOT NULL ORDER BY position LIMIT $1
  ), deleted AS (
    DELETE FROM events WHERE id IN (
      SELECT id FROM first
      WHERE is_old AND NOT EXISTS (SELECT FROM first young WHERE NOT young.is_old AND young.position < first.position)
    )
    RETURNING position
  ), noted AS (
    UPDATE event_positions SET deleted_through = (SELECT max(position) FROM deleted) WHERE EXISTS (SELECT FROM deleted)
  )
  SELECT 1 FROM deleted`);

export const EXPIRING_EVENTS: ExpiringRows = {
  name: 'events',
  deleteSome: (transaction, most, { eventsDays }) => transaction.run(EVENTS, [most, eventsDays]),
};
