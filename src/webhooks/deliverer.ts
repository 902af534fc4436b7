import type { Database, Queryable } from '../database/database.js';
import { columnsOf, type RowOf, statement, t } from '../database/statement.js';
import type { Keys } from '../secrets/sealed.js';
import { appendEvents } from '../events/append-events.js';
import { currentAuthor } from '../events/author.js';
import { Occurrence } from '../process/observation.js';
import type { Claim, DeliveryQueue } from './delivery-queue.js';
import { CANCEL_DELIVERIES } from './delivery-statements.js';
import type { Fault, Outcome, Post } from './post.js';
import { sign } from './signature.js';
import { openSecrets } from './webhook-secrets.js';
import { type DisabledReason, Webhook } from './webhook.entity.js';
import { WebhookDelivery } from './webhook-delivery.entity.js';

/** Tries at the same time in this process. Each is a connection that mostly waits. */
const MOST_TRIES = 32;
/** A webhook that never succeeds for this long is disabled when the next delivery is given up. */
const DISABLED_AFTER_DAYS = 3;
const GONE = 410;

export const TRY_OUTCOMES = ['delivered', 'retried', 'failed'] as const;

/** A try has ended, and its outcome is stored. */
export const webhookTries = new Occurrence<{
  readonly outcome: (typeof TRY_OUTCOMES)[number];
  readonly latencyMs: number;
}>('webhook-try');

/** Tries deliveries that are due, and stores the outcome together with what follows from it. */
export class Deliverer {
  readonly #running = new Set<Promise<void>>();

  constructor(
    private readonly database: Database,
    private readonly queue: Pick<DeliveryQueue, 'claim' | 'finish' | 'retry'>,
    private readonly keys: Keys,
    private readonly post: Post,
    private readonly log: (message: string, deliveryId: string, error: unknown) => void,
  ) {}

  /** Starts tries until nothing is due or enough are under way. @param onEnd called after each one */
  async run(onEnd: () => void): Promise<void> {
    for (;;) {
      const free = MOST_TRIES - this.#running.size;
      const claims = free > 0 ? await this.queue.claim(free) : [];
      if (claims.length === 0) return;
      for (const claim of claims) this.#start(claim, onEnd);
    }
  }

  /** Resolves when the tries under way have ended; each takes some ten seconds at most. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
  }

  #start(claim: Claim, onEnd: () => void): void {
    // A try whose outcome was not stored is repeated when its claim has expired.
    const attempt = this.#try(claim).catch((error: unknown) => this.log('try failed', claim.deliveryId, error));
    const running = attempt.then(() => {
      this.#running.delete(running);
      onEnd();
    });
    this.#running.add(running);
  }

  async #try(claim: Claim): Promise<void> {
    const [delivery] = await this.database.run(GET, [claim.deliveryId]);
    // Cancelled, deleted, or delivered by a process whose claim has expired.
    if (!delivery) {
      await this.queue.finish(this.database, claim);
      return;
    }
    const tried = await this.#send(delivery);
    const outcome = await this.database.transaction((transaction) => this.#settle(transaction, claim, delivery, tried));
    if (outcome) webhookTries.publish({ outcome, latencyMs: tried.latencyMs });
  }

  async #send({ id, webhookId, url, body, secrets, now }: DeliveryRow): Promise<Tried> {
    let signed;
    try {
      signed = sign(openSecrets(this.keys, webhookId, secrets), id, Math.floor(now.getTime() / 1000), body);
    } catch (error) {
      this.log('secret of a webhook could not be read', id, error);
      return { status: null, fault: 'secret-unreadable', latencyMs: 0 };
    }
    return await this.post(url, { ...HEADERS, ...signed, 'content-length': String(Buffer.byteLength(body)) }, body);
  }

  /** @returns undefined: another process has the claim now, and stores the outcome of its own try */
  async #settle(
    transaction: Queryable,
    claim: Claim,
    { id, webhookId }: DeliveryRow,
    tried: Tried,
  ): Promise<(typeof TRY_OUTCOMES)[number] | undefined> {
    const { status, fault, latencyMs } = tried;
    const isGone = status === GONE;
    // The webhook's row first, as in the statements that disable or delete it.
    const [webhook] = await transaction.run(TRIED, [webhookId, fault === null]);
    const isOver = fault === null || isGone;
    const next = isOver ? null : await this.queue.retry(transaction, claim);
    if (next === undefined) return undefined;
    if (isOver) await this.queue.finish(transaction, claim);
    const end = fault === null ? 'delivered' : next === null ? 'failed' : 'pending';
    await transaction.run(SETTLE, [id, end, fault, status, latencyMs, next]);
    if (end !== 'failed') return end === 'pending' ? 'retried' : end;
    if (!webhook?.enabled) return end;
    if (isGone) await disable(transaction, webhookId, 'gone');
    else if (webhook.isFailingLong) await disable(transaction, webhookId, 'failing');
    return end;
  }
}

/** Within a transaction that holds the webhook's row. */
async function disable(transaction: Queryable, webhookId: string, reason: DisabledReason): Promise<void> {
  await transaction.run(DISABLE, [webhookId, reason]);
  await transaction.run(CANCEL_DELIVERIES, [webhookId]);
  const { actor } = currentAuthor();
  await appendEvents(transaction, [
    { type: 'webhook.disabled', actor, cause: { reason }, data: { webhook: webhookId } },
  ]);
}

type Tried = Omit<Outcome, 'fault'> & { readonly fault: Fault | 'secret-unreadable' | null };

const HEADERS = { 'content-type': 'application/json', 'user-agent': 'scheduler-api-webhooks/1' };

const DELIVERY_ROW = {
  ...columnsOf(WebhookDelivery, 'id', 'webhookId'),
  ...columnsOf(Webhook, 'url'),
  ...columnsOf(WebhookDelivery, 'body'),
  now: t.timestamptz,
  secrets: t.arrayOf(t.nullable(t.bytea)),
} as const;

type DeliveryRow = RowOf<typeof DELIVERY_ROW>;

const GET = statement('webhook-delivery', { values: [t.uuid], row: DELIVERY_ROW })(`
  SELECT d.id, d.webhook_id AS "webhookId", w.url, d.body, clock_timestamp() AS now,
    ARRAY[w.sealed, CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_sealed END] AS secrets
  FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
  WHERE d.id = $1 AND d.status = 'pending' AND w.enabled`);

// A success after another does not lock the row: deliveries to one receiver would queue for it.
const TRIED = statement('webhook-tried', {
  values: [t.uuid, t.bool],
  row: { ...columnsOf(Webhook, 'enabled'), isFailingLong: t.bool },
})(`
  WITH found AS (
    SELECT id, enabled, failing_since FROM webhooks
    WHERE id = $1 AND (failing_since IS NOT NULL OR NOT $2::boolean) FOR NO KEY UPDATE
  ), changed AS (
    UPDATE webhooks w SET failing_since = CASE WHEN NOT $2::boolean THEN clock_timestamp() END
    FROM found WHERE w.id = found.id AND (found.failing_since IS NULL) <> $2::boolean
  )
  SELECT enabled, COALESCE(failing_since < clock_timestamp() - make_interval(days => ${DISABLED_AFTER_DAYS}), false)
    AS "isFailingLong"
  FROM found`);

// Cancelled meanwhile, it stays so, unless it has arrived.
const SETTLE = statement('webhook-settle', {
  values: [t.uuid, t.text, t.nullable(t.text), t.nullable(t.int), t.int, t.nullable(t.timestamptz)],
})(`
  UPDATE webhook_deliveries SET
    status = CASE WHEN status = 'pending' OR $2 = 'delivered' THEN $2 ELSE status END,
    attempts = attempts + 1, fault = $3, answer_status = $4, latency_ms = $5, attempted_at = clock_timestamp(),
    next_attempt_at = CASE WHEN status = 'pending' THEN $6::timestamptz END,
    settled_at = CASE WHEN status = 'pending' AND $2 = 'pending' THEN NULL ELSE clock_timestamp() END
  WHERE id = $1`);

const DISABLE = statement('webhook-disable', { values: [t.uuid, t.text], isPrepared: false })(`
  UPDATE webhooks SET enabled = false, disabled_reason = $2, version = version + 1, updated_at = clock_timestamp()
  WHERE id = $1`);
