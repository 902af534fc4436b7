import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isInScope, scopeType } from '../auth/access-rules.js';
import type { Caller, Scope } from '../http/caller.js';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { ADVISORY_LOCKS } from '../database/advisory-locks.js';
import { Database, type Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { appendEvents } from '../events/append-events.js';
import { currentAuthor } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { decodeCursor, exactTimeSql, type Page, pageColumns, pageSql, TimeCursor, toPage } from '../http/pagination.js';
import { Problem, type ProblemError } from '../http/problem.js';
import { type Allowed, faultOfUrl, parseAllowed } from './address-rules.js';
import { CANCEL_DELIVERIES, CANCEL_FOREIGN_DELIVERIES } from './delivery-statements.js';
import { makeSecret } from './signature.js';
import { sealSecret } from './webhook-secrets.js';
import { visibilityValues, visibilityTypes } from './visibility.js';
import { Webhook } from './webhook.entity.js';
import type {
  CreateWebhook,
  ListWebhooks,
  NewSecretResponse,
  PatchWebhook,
  RotateSecret,
  WebhookResponse,
} from './webhook.schema.js';

/** Every event is matched with every webhook: a thousand times this would be slow, and no cluster needs as many. */
const MOST_WEBHOOKS = 100;
/** Unless the token has its own number: no scope must use up what all of them share. */
const MOST_OF_A_SCOPE = 10;
export type Versioned<T> = { readonly webhook: T; readonly version: number };

/** Webhooks as clients see and change them. For a caller with a scope there are only those for jobs of that scope. */
@Injectable()
export class WebhooksService {
  readonly #allowed: Allowed;

  constructor(
    private readonly database: Database,
    @Setting('webhooks') { allowedNetworks }: Config['webhooks'],
    @Setting('encryptionKeys') private readonly keys: Config['encryptionKeys'],
  ) {
    this.#allowed = parseAllowed(allowedNetworks);
  }

  /** @throws Problem invalid-request, forbidden, webhook-limit-reached */
  async create(wanted: CreateWebhook, caller: Caller): Promise<Versioned<NewSecretResponse>> {
    this.#checkUrl(wanted.url);
    const jobs = wanted.jobs === undefined ? caller.scope : wanted.jobs;
    checkScope(jobs, caller.scope);
    const id = randomUUID();
    const secret = makeSecret();
    const { url, description, events, enabled } = wanted;
    const sealed = sealSecret(this.keys, id, secret);
    const values = [id, url, description, events, jobs, enabled, sealed, caller.id, caller.role === 'admin'] as const;
    return await this.database.transaction(async (transaction) => {
      await checkLimits(transaction, caller);
      const [row] = await transaction.run(INSERT, values);
      if (!row) throw new Error('a webhook was not written');
      await recordEvent(transaction, 'webhook.created', row);
      return versioned(row, secret);
    });
  }

  /** The newest first. */
  async list({ limit, cursor }: ListWebhooks, caller: Caller): Promise<Page<WebhookResponse>> {
    const [before, id] = cursor === undefined ? [null, null] : decodeCursor(cursor, TimeCursor);
    const rows = await this.database.run(LIST, [...visibilityValues(caller), before, id, limit + 1]);
    return toPage(rows, limit, (row) => [row.exactCreatedAt, row.id], toWebhook);
  }

  /** @throws Problem webhook-not-found */
  async get(id: string, caller: Caller): Promise<Versioned<WebhookResponse>> {
    return versioned(await findWebhook(this.database, id, caller));
  }

  /** @param versions of If-Match. @throws Problem */
  async patch(
    id: string,
    patch: PatchWebhook,
    versions: number[] | null,
    caller: Caller,
  ): Promise<Versioned<WebhookResponse>> {
    if (patch.url !== undefined) this.#checkUrl(patch.url);
    if (patch.jobs !== undefined) checkScope(patch.jobs, caller.scope);
    return await this.database.transaction(async (transaction) => {
      const before = await lock(transaction, id, caller, versions);
      const { url = before.url, description = before.description, events = before.events } = patch;
      const { jobs = before.jobs, enabled = before.enabled } = patch;
      const isAdmin = caller.role === 'admin';
      const values = [id, url, description, events, jobs, enabled, patch.enabled === true, isAdmin] as const;
      const [row = notFound()] = await transaction.run(UPDATE, values);
      await transaction.run(enabled ? CANCEL_FOREIGN_DELIVERIES : CANCEL_DELIVERIES, [id]);
      await recordEvent(transaction, 'webhook.changed', row);
      return versioned(row);
    });
  }

  /** With its deliveries. @throws Problem */
  async delete(id: string, versions: number[] | null, caller: Caller): Promise<WebhookResponse> {
    return await this.database.transaction(async (transaction) => {
      const row = await lock(transaction, id, caller, versions);
      await transaction.run(DELETE, [id]);
      await recordEvent(transaction, 'webhook.deleted', row);
      return toWebhook(row);
    });
  }

  /** @throws Problem webhook-not-found */
  async rotateSecret(
    id: string,
    { graceSeconds }: RotateSecret,
    caller: Caller,
  ): Promise<Versioned<NewSecretResponse>> {
    const secret = makeSecret();
    return await this.database.transaction(async (transaction) => {
      await lock(transaction, id, caller, null);
      const sealed = sealSecret(this.keys, id, secret);
      const [row = notFound()] = await transaction.run(ROTATE, [id, sealed, graceSeconds]);
      await recordEvent(transaction, 'webhook.secret-rotated', row);
      return versioned(row, secret);
    });
  }

  #checkUrl(url: string): void {
    const fault = faultOfUrl(url, this.#allowed);
    if (fault !== undefined) throw invalid('invalid-request', { pointer: '#/url', detail: fault });
  }
}

/** A webhook the caller may see. @throws Problem webhook-not-found */
export async function findWebhook(queryable: Queryable, id: string, caller: Caller): Promise<WebhookRow> {
  const [row] = UUID.test(id) ? await queryable.run(GET, [...visibilityValues(caller), id]) : [];
  return row ?? notFound();
}

/** The same, and until the transaction ends it is neither deleted nor changed. @throws Problem webhook-not-found */
export async function holdWebhook(transaction: Queryable, id: string, caller: Caller): Promise<WebhookRow> {
  const [row] = UUID.test(id) ? await transaction.run(HOLD, [...visibilityValues(caller), id]) : [];
  return row ?? notFound();
}

const SHOWN = {
  ...columnsOf(Webhook, 'id', 'url', 'description', 'events', 'jobs', 'enabled', 'disabledReason', 'failingSince'),
  ...columnsOf(Webhook, 'version', 'createdAt', 'updatedAt'),
} as const;
const ROW = { ...SHOWN, previousUntil: t.nullable(t.timestamptz), exactCreatedAt: t.text } as const;

type WebhookRow = RowOf<typeof ROW>;

async function lock(
  transaction: Queryable,
  id: string,
  caller: Caller,
  versions: number[] | null,
): Promise<WebhookRow> {
  const [row] = UUID.test(id) ? await transaction.run(LOCK, [...visibilityValues(caller), id]) : [];
  if (!row) return notFound();
  if (versions === null || versions.includes(row.version)) return row;
  throw new Problem('precondition-failed', 'The webhook has been changed since.');
}

/** From here to the end of the transaction no other transaction makes one. @throws Problem webhook-limit-reached */
async function checkLimits(transaction: Queryable, { scope, maxWebhooks }: Caller): Promise<void> {
  await transaction.run(LOCK_LIMITS, [ADVISORY_LOCKS.webhookLimits]);
  const [count] = await transaction.run(COUNT, [scope]);
  const own = maxWebhooks ?? (scope === null ? MOST_WEBHOOKS : MOST_OF_A_SCOPE);
  if (count && count.all < MOST_WEBHOOKS && count.own < own) return;
  const isFull = (count?.all ?? 0) >= MOST_WEBHOOKS;
  const whose = isFull || scope === null ? 'in this cluster' : `for jobs whose names begin with ${scope.join(' or ')}`;
  throw new Problem(
    'webhook-limit-reached',
    `There may be ${isFull ? MOST_WEBHOOKS : own} webhooks ${whose}: delete one.`,
  );
}

/** In the transaction of the change. Without the URL: many URLs hold a key. */
async function recordEvent(
  transaction: Queryable,
  type: EventType,
  { id, description, events, jobs, enabled }: WebhookRow,
) {
  const data = { webhook: id, description, events, jobs, enabled };
  await appendEvents(transaction, [{ ...currentAuthor(), type, data }]);
}

/** A webhook gets only events that its caller may see. */
function checkScope(jobs: readonly string[] | null, scope: Scope): void {
  if (scope === null) return;
  const index = jobs?.findIndex((prefix) => !isInScope(scope, prefix)) ?? -1;
  if (jobs !== null && index === -1) return;
  const pointer = jobs === null ? '#/jobs' : `#/jobs/${index}`;
  throw invalid('forbidden', { pointer, detail: `must be in the scope of the token: ${scope.join(', ')}` });
}

function invalid(code: 'invalid-request' | 'forbidden', error: ProblemError & { pointer: string }): Problem {
  return new Problem(code, `${error.pointer}: ${error.detail}`, { errors: [error] });
}

function versioned(row: WebhookRow): Versioned<WebhookResponse>;
function versioned(row: WebhookRow, secret: string): Versioned<NewSecretResponse>;
function versioned(row: WebhookRow, secret?: string): Versioned<WebhookResponse> {
  return { webhook: { ...(secret !== undefined && { secret }), ...toWebhook(row) }, version: row.version };
}

function toWebhook(row: WebhookRow): WebhookResponse {
  return {
    id: row.id,
    url: row.url,
    description: row.description,
    events: row.events,
    jobs: row.jobs,
    enabled: row.enabled,
    disabledReason: row.disabledReason,
    failingSince: row.failingSince?.toISOString() ?? null,
    previousSecretUntil: row.previousUntil?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
  };
}

function notFound(): never {
  throw new Problem('webhook-not-found', 'There is no such webhook.');
}

/** No webhook has any other id: such an id never reaches a statement, which some would make fail. */
export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const COLUMNS = `
  ${selectList(SHOWN)}, CASE WHEN previous_until > clock_timestamp() THEN previous_until END AS "previousUntil",
  ${exactTimeSql('created_at')} AS "exactCreatedAt"`;

// All of its prefixes are in the scope. A webhook for everything an admin may see is for admins.
const OF_SCOPE = `
  ($1::text[] IS NULL OR (jobs IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM unnest(jobs) AS job
    WHERE NOT EXISTS (SELECT 1 FROM unnest($1::text[]) AS prefix WHERE starts_with(job, prefix)))))`;
// $1 and $2 are those of `visibilityValues`.
const VISIBLE = `($2::boolean OR NOT is_for_admins OR jobs IS NOT NULL) AND ${OF_SCOPE}`;

const LOCK_LIMITS = statement('webhook-lock-limits', { values: [t.bigintValue], isPrepared: false })(
  'SELECT pg_advisory_xact_lock($1)',
);

const COUNT = statement('webhook-count', { values: [scopeType], row: { all: t.int, own: t.int }, isPrepared: false })(
  `SELECT count(*)::int AS all, count(*) FILTER (WHERE ${OF_SCOPE})::int AS own FROM webhooks`,
);

const INSERT = statement('webhook-insert', {
  values: [t.uuid, t.text, t.text, t.arrayOf(t.text), scopeType, t.bool, t.bytea, t.text, t.bool],
  row: ROW,
  isPrepared: false,
})(`
  INSERT INTO webhooks (id, url, description, events, jobs, enabled, sealed, created_by, is_for_admins)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
  RETURNING ${COLUMNS}`);

const LIST = statement('webhook-list', {
  values: [...visibilityTypes, t.nullable(t.timestamptzText), t.nullable(t.uuid), t.bigintValue],
  row: { ...ROW, ...pageColumns },
  isPrepared: false,
})(
  pageSql(
    `SELECT ${COLUMNS} FROM webhooks
    WHERE ${VISIBLE} AND ($3::timestamptz IS NULL OR (created_at, id) < ($3::timestamptz, $4::uuid))
    ORDER BY created_at DESC, id DESC LIMIT $5`,
    '"exactCreatedAt" DESC, id DESC',
  ),
);

const one = (name: string, locked: '' | 'FOR SHARE' | 'FOR UPDATE') =>
  statement(name, { values: [...visibilityTypes, t.uuid], row: ROW, isPrepared: false })(
    `SELECT ${COLUMNS} FROM webhooks WHERE ${VISIBLE} AND id = $3 ${locked}`,
  );
const GET = one('webhook-get', '');
const HOLD = one('webhook-hold', 'FOR SHARE');
const LOCK = one('webhook-lock', 'FOR UPDATE');

const DELETE = statement('webhook-delete', { values: [t.uuid], isPrepared: false })(
  'DELETE FROM webhooks WHERE id = $1',
);

// $7: its failures start over, and earlier ones do not disable it again. $8: a caller who is no admin may have named
// the URL, or widened it.
const UPDATE = statement('webhook-update', {
  values: [t.uuid, t.text, t.text, t.arrayOf(t.text), scopeType, t.bool, t.bool, t.bool],
  row: ROW,
  isPrepared: false,
})(`
  UPDATE webhooks SET
    url = $2, description = $3, events = $4, jobs = $5, enabled = $6, is_for_admins = is_for_admins AND $8,
    disabled_reason = CASE WHEN NOT $7::boolean THEN disabled_reason END,
    failing_since = CASE WHEN NOT $7::boolean THEN failing_since END,
    version = version + 1, updated_at = clock_timestamp()
  WHERE id = $1 RETURNING ${COLUMNS}`);

const ROTATE = statement('webhook-rotate-secret', { values: [t.uuid, t.bytea, t.int], row: ROW, isPrepared: false })(`
  UPDATE webhooks SET
    previous_sealed = CASE WHEN $3::int > 0 THEN sealed END,
    previous_until = CASE WHEN $3::int > 0 THEN clock_timestamp() + make_interval(secs => $3) END,
    sealed = $2, version = version + 1, updated_at = clock_timestamp()
  WHERE id = $1 RETURNING ${COLUMNS}`);
