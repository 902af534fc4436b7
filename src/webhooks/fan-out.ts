import { inScopeSql } from '../auth/access-rules.js';
import type { Database, Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { visibleTypes } from '../events/event-types.js';
import { type EventFilter, readForward } from '../events/read-events.js';
import type { DeliveryQueue } from './delivery-queue.js';
import { WebhookDelivery } from './webhook-delivery.entity.js';

/** Read in one transaction; each makes a row for each webhook that wants it. */
const EVENTS = 200;
const DELIVERIES = 1_000;

const EVERYTHING: EventFilter = { job: null, deployment: null, types: null, scope: null };

/**
 * Makes a delivery of each event for each webhook that wants it, and hands deliveries to the queue. Each is one
 * transaction with the row that records it, so that a crash loses and repeats nothing. Any number of processes may try.
 */
export class FanOut {
  constructor(
    private readonly database: Database,
    private readonly queue: Pick<DeliveryQueue, 'add'>,
  ) {}

  /** All there is now. @returns deliveries that were queued */
  async run(): Promise<number> {
    for (let isBehind = true; isBehind;) isBehind = await this.database.transaction(deliverEvents);
    let total = 0;
    for (let count = DELIVERIES; count === DELIVERIES; total += count) {
      count = await this.database.transaction((transaction) => this.#queueDeliveries(transaction));
    }
    return total;
  }

  async #queueDeliveries(transaction: Queryable): Promise<number> {
    const deliveries = await transaction.run(TO_QUEUE, [DELIVERIES]);
    if (deliveries.length > 0) await this.queue.add(transaction, deliveries);
    return deliveries.length;
  }
}

/** @returns whether there may be more */
async function deliverEvents(transaction: Queryable): Promise<boolean> {
  const [cursor] = await transaction.run(CURSOR, []);
  // Another process is doing it.
  if (!cursor) return false;
  const { events, reached, isAtEnd } = await readForward(transaction, EVERYTHING, cursor.position, EVENTS);
  if (reached !== cursor.position) await transaction.run(MOVE, [reached]);
  if (events.length > 0) {
    await transaction.run(DELIVER, [
      events.map(({ position }) => position),
      events.map(({ at }) => at),
      events.map(({ type }) => type),
      events.map(({ job }) => job),
      events.map((event) => JSON.stringify(event)),
      events.map(({ type }) => visibleTypes([type as never], false)?.length === 0),
    ]);
  }
  return !isAtEnd;
}

const CURSOR = statement('webhooks-cursor', { row: { position: t.double } })(
  `SELECT position::float8 AS position FROM webhook_cursor FOR NO KEY UPDATE SKIP LOCKED`,
);

const MOVE = statement('webhooks-move', { values: [t.bigintValue] })(`UPDATE webhook_cursor SET position = $1`);

// In the order of positions, so that they are tried in that order where nothing is in the way. Times have milliseconds
// here. A webhook is held while its deliveries are made: one that is being deleted is waited for, and skipped.
const DELIVER = statement('webhooks-deliver', {
  values: [
    t.arrayOf(t.bigintValue),
    t.arrayOf(t.timestamptzText),
    t.arrayOf(t.text),
    t.arrayOf(t.nullable(t.text)),
    t.arrayOf(t.text),
    t.arrayOf(t.bool),
  ],
})(`
  WITH held AS (SELECT * FROM webhooks WHERE enabled FOR KEY SHARE)
  INSERT INTO webhook_deliveries (id, webhook_id, position, type, job, body)
  SELECT gen_random_uuid(), w.id, e.position, e.type, e.job, e.body
  FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::boolean[])
    AS e (position, at, type, job, body, is_for_admins)
  JOIN held w ON date_trunc('milliseconds', w.created_at) <= e.at AND (w.is_for_admins OR NOT e.is_for_admins)
    AND ${inScopeSql('e.job', 'w.jobs')}
    AND EXISTS (
      SELECT 1 FROM unnest(w.events) AS wanted
      WHERE wanted IN ('*', e.type) OR (right(wanted, 2) = '.*' AND starts_with(e.type, left(wanted, -1))))
  ORDER BY e.position`);

const TO_QUEUE = statement('webhooks-queue', {
  values: [t.bigintValue],
  row: columnsOf(WebhookDelivery, 'id', 'webhookId'),
})(`
  UPDATE webhook_deliveries SET queued = true
  WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE NOT queued ORDER BY created_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
  )
  RETURNING id, webhook_id AS "webhookId"`);
