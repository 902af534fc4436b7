import { Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller.js';
import { Database, type Queryable } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { appendEvents } from '../events/append-events.js';
import { currentAuthor } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { decodeCursor, exactTimeSql, type Page, pageColumns, pageSql, TimeCursor, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import type { DeliveryResponse, ListDeliveries } from './delivery.schema.js';
import { visibilityValues, visibilityTypes } from './visibility.js';
import { WebhookDelivery } from './webhook-delivery.entity.js';
import { MAY_BE_SENT, mayReceiveSql, PING_TYPE } from './delivery-statements.js';
import { findWebhook, holdWebhook, UUID } from './webhooks.service.js';

/** Of one webhook, in a minute: each is a row for a week. */
const MOST_PINGS = 10;
const PINGS_SECONDS = 60;

/**
 * Deliveries as clients see them, and those that clients request. Of a webhook that a caller may see there may be
 * deliveries it may not: those from before an admin narrowed it.
 */
@Injectable()
export class DeliveriesService {
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
  ) {}

  /** The newest first. @throws Problem webhook-not-found */
  async list(webhookId: string, query: ListDeliveries, caller: Caller): Promise<Page<DeliveryResponse>> {
    const { limit, cursor, status = null } = query;
    await findWebhook(this.database, webhookId, caller);
    const [before, id] = cursor === undefined ? [null, null] : decodeCursor(cursor, TimeCursor);
    const rows = await this.database.run(LIST, [webhookId, ...visibilityValues(caller), status, before, id, limit + 1]);
    return toPage(rows, limit, (row) => [row.exactCreatedAt, row.id], toDelivery);
  }

  /** @throws Problem webhook-not-found, delivery-not-found */
  async get(webhookId: string, id: string, caller: Caller): Promise<DeliveryResponse> {
    await findWebhook(this.database, webhookId, caller);
    const [row] = UUID.test(id) ? await this.database.run(GET, [webhookId, ...visibilityValues(caller), id]) : [];
    return toDelivery(row ?? notFound());
  }

  /** A delivery without an event. @throws Problem webhook-not-found, webhook-disabled, too-many-requests */
  async ping(webhookId: string, caller: Caller): Promise<DeliveryResponse> {
    return await this.#send(webhookId, caller, async (transaction) => {
      const body = JSON.stringify(pingOf(webhookId));
      const [row] = await transaction.run(PING, [webhookId, body, MOST_PINGS, PINGS_SECONDS]);
      if (!row) {
        throw new Problem(
          'too-many-requests',
          `A webhook may be pinged ${MOST_PINGS} times in ${PINGS_SECONDS} seconds.`,
          {
            retryAfterSeconds: PINGS_SECONDS,
          },
        );
      }
      await recordEvent(transaction, 'webhook.pinged', { webhook: webhookId });
      return row;
    });
  }

  /** The same id and body once more; one that is on its way already stays so. @throws Problem */
  async redeliver(webhookId: string, id: string, caller: Caller): Promise<DeliveryResponse> {
    return await this.#send(webhookId, caller, async (transaction) => {
      const values = [webhookId, ...visibilityValues(caller), id] as const;
      const [row] = UUID.test(id) ? await transaction.run(REDELIVER, values) : [];
      if (!row && UUID.test(id) && (await transaction.run(GET, values)).length > 0) {
        throw new Problem('conflict', 'The webhook is not for this event any more, so it is not sent again.');
      }
      if (row) await recordEvent(transaction, 'webhook.redelivered', { webhook: webhookId, delivery: id });
      return row;
    });
  }

  async #send(
    webhookId: string,
    caller: Caller,
    write: (transaction: Queryable) => Promise<DeliveryRow | undefined>,
  ): Promise<DeliveryResponse> {
    const delivery = await this.database.transaction(async (transaction) => {
      const { enabled } = await holdWebhook(transaction, webhookId, caller);
      if (!enabled) throw new Problem('webhook-disabled', 'Nothing is sent while the webhook is disabled.');
      return toDelivery((await write(transaction)) ?? notFound());
    });
    this.signals.deliveriesWritten();
    return delivery;
  }
}

async function recordEvent(transaction: Queryable, type: EventType, data: { webhook: string; delivery?: string }) {
  await appendEvents(transaction, [{ ...currentAuthor(), type, data }]);
}

/** In the form of an event, but without a position: a ping is none. */
function pingOf(webhookId: string) {
  return {
    position: null,
    at: new Date().toISOString(),
    type: PING_TYPE,
    job: null,
    deployment: null,
    attempt: null,
    instance: null,
    ...currentAuthor(),
    data: { webhook: webhookId },
  };
}

const SHOWN = {
  ...columnsOf(WebhookDelivery, 'id', 'position', 'type', 'job', 'status', 'attempts', 'fault', 'answerStatus'),
  ...columnsOf(WebhookDelivery, 'latencyMs', 'attemptedAt', 'nextAttemptAt', 'createdAt', 'settledAt'),
} as const;
const ROW = { ...SHOWN, exactCreatedAt: t.text } as const;

type DeliveryRow = RowOf<typeof ROW>;

function toDelivery(row: DeliveryRow): DeliveryResponse {
  return {
    id: row.id,
    position: row.position === null ? null : Number(row.position),
    type: row.type,
    job: row.job,
    status: row.status,
    attempts: row.attempts,
    fault: row.fault,
    answerStatus: row.answerStatus,
    latencyMs: row.latencyMs,
    attemptedAt: row.attemptedAt?.toISOString() ?? null,
    nextAttemptAt: row.nextAttemptAt?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
    settledAt: row.settledAt?.toISOString() ?? null,
  };
}

function notFound(): never {
  throw new Problem('delivery-not-found', 'There is no such delivery of this webhook.');
}

const COLUMNS = `${selectList(SHOWN)}, ${exactTimeSql('created_at')} AS "exactCreatedAt"`;

// $2 and $3 are those of `visibilityValues`.
const VISIBLE = mayReceiveSql('$2', '$3::boolean');

const LIST = statement('webhook-delivery-list', {
  values: [
    t.uuid,
    ...visibilityTypes,
    t.nullable(t.text),
    t.nullable(t.timestamptzText),
    t.nullable(t.uuid),
    t.bigintValue,
  ],
  row: { ...ROW, ...pageColumns },
  isPrepared: false,
})(
  pageSql(
    `SELECT ${COLUMNS} FROM webhook_deliveries d
    WHERE webhook_id = $1 AND ${VISIBLE} AND ($4::text IS NULL OR status = $4)
      AND ($5::timestamptz IS NULL OR (created_at, id) < ($5::timestamptz, $6::uuid))
    ORDER BY created_at DESC, id DESC LIMIT $7`,
    '"exactCreatedAt" DESC, id DESC',
  ),
);

const GET = statement('webhook-delivery-get', {
  values: [t.uuid, ...visibilityTypes, t.uuid],
  row: ROW,
  isPrepared: false,
})(`SELECT ${COLUMNS} FROM webhook_deliveries d WHERE webhook_id = $1 AND ${VISIBLE} AND id = $4`);

const PING = statement('webhook-delivery-ping', {
  values: [t.uuid, t.text, t.bigintValue, t.double],
  row: ROW,
  isPrepared: false,
})(`
  INSERT INTO webhook_deliveries (id, webhook_id, type, body)
  SELECT gen_random_uuid(), $1::uuid, '${PING_TYPE}', $2
  WHERE (
    SELECT count(*) FROM webhook_deliveries
    WHERE webhook_id = $1 AND type = '${PING_TYPE}' AND created_at > clock_timestamp() - make_interval(secs => $4)
  ) < $3
  RETURNING ${COLUMNS}`);

const REDELIVER = statement('webhook-delivery-redeliver', {
  values: [t.uuid, ...visibilityTypes, t.uuid],
  row: ROW,
  isPrepared: false,
})(`
  UPDATE webhook_deliveries d SET
    queued = queued AND status = 'pending', status = 'pending', settled_at = NULL
  WHERE webhook_id = $1 AND ${VISIBLE} AND id = $4
    AND EXISTS (SELECT FROM webhooks w WHERE w.id = $1 AND ${MAY_BE_SENT}) RETURNING ${COLUMNS}`);
