import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { authorTypes, authorValues } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { decodeCursor, type Page, pageColumns, pageSql, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import type { CreateToken, ListTokens, NewTokenResponse, TokenResponse } from './token.schema.js';
import { Token } from '../auth/token.entity.js';
import { CALLER, makeToken } from '../auth/tokens.js';
import { insertEvents } from '../events/event-sql.js';

/** An id is 32 random bits: that a second one is taken, too, is no coincidence. */
const TRIES = 3;
/** No token has any other id: such an id never reaches a statement, which some would make fail. */
const ID = /^[0-9a-f]{8}$/;

/** Makes, lists and revokes tokens. */
@Injectable()
export class TokensService {
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
  ) {}

  /** The only answer that holds the token itself. */
  async create(wanted: CreateToken): Promise<NewTokenResponse> {
    const { name, role, scope, maxJobs, maxInstances, maxWebhooks, allow, requestsPerMinute, expiresInDays } = wanted;
    for (let left = TRIES; left > 0; left -= 1) {
      const { id, token, hash } = makeToken();
      const [row] = await this.database.run(INSERT, [
        id,
        name,
        hash,
        role,
        scope,
        maxJobs,
        maxInstances,
        requestsPerMinute,
        expiresInDays,
        maxWebhooks,
        allow && JSON.stringify(allow),
        ...authorValues(),
      ]);
      if (row) return { token, ...toToken(row) };
    }
    throw new Error('no free id for a token was found');
  }

  /** The newest first, revoked and expired ones as well. */
  async list({ limit, cursor }: ListTokens): Promise<Page<TokenResponse>> {
    const [before, id] = cursor === undefined ? [null, null] : decodeCursor(cursor, TokenCursor);
    const rows = await this.database.run(LIST, [before, id, limit + 1]);
    return toPage(rows, limit, (row) => [row.position, row.id], toToken);
  }

  /** @throws Problem token-not-found */
  async get(id: string): Promise<TokenResponse> {
    const [row] = ID.test(id) ? await this.database.run(GET, [id]) : [];
    return toToken(row ?? notFound(id));
  }

  /** Repeatable. @throws Problem token-not-found */
  async revoke(id: string): Promise<TokenResponse> {
    const [row] = ID.test(id) ? await this.database.run(REVOKE, [id, ...authorValues()]) : [];
    const token = toToken(row ?? notFound(id));
    this.signals.tokenRevoked(id);
    return token;
  }
}

const ROW = { ...CALLER, ...columnsOf(Token, 'createdAt', 'expiresAt', 'lastUsedAt', 'revokedAt') } as const;

function toToken({ createdAt, expiresAt, lastUsedAt, revokedAt, ...row }: RowOf<typeof ROW>): TokenResponse {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    scope: row.scope,
    maxJobs: row.maxJobs,
    maxInstances: row.maxInstances,
    maxWebhooks: row.maxWebhooks,
    allow: row.allow,
    requestsPerMinute: row.requestsPerMinute,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    revokedAt: revokedAt?.toISOString() ?? null,
  };
}

function notFound(id: string): never {
  throw new Problem('token-not-found', `There is no token ${id}.`);
}

const COLUMNS = selectList(ROW);

/** CTE: records an event for each token that `changed` holds. */
const recordedSql = (type: EventType, actor: string, cause: string): string => `recorded AS (
    ${insertEvents(
      {
        type,
        actor,
        cause: `${cause}::jsonb`,
        data: `jsonb_build_object('token', id, 'name', name, 'role', role, 'scope', scope, 'allow', allow)`,
      },
      'FROM changed WHERE is_news',
    )}
  )`;

const INSERT = statement('token-insert', {
  values: [
    t.text,
    t.text,
    t.bytea,
    t.text,
    t.nullable(t.arrayOf(t.text)),
    t.nullable(t.int),
    t.nullable(t.int),
    t.nullable(t.int),
    t.nullable(t.int),
    t.nullable(t.int),
    t.nullable(t.json),
    ...authorTypes,
  ],
  row: ROW,
  isPrepared: false,
})(`
  WITH changed AS (
    INSERT INTO tokens (id, name, hash, role, scope, max_jobs, max_instances, requests_per_minute, expires_at, max_webhooks, allow)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + make_interval(days => $9::int), $10, $11::jsonb)
    ON CONFLICT (id) DO NOTHING
    RETURNING *, true AS is_news
  ), ${recordedSql('token.created', '$12', '$13')}
  SELECT ${COLUMNS} FROM changed`);

// A Date has milliseconds only: as text the position is the row's very own.
const TokenCursor = z.tuple([z.string().regex(/^\d{1,18}$/), z.string().regex(ID)]);
const POSITION = `(extract(epoch FROM created_at) * 1000000)::bigint`;

const LIST = statement('token-list', {
  values: [t.nullable(t.bigint), t.nullable(t.text), t.bigintValue],
  row: { ...ROW, position: t.text, ...pageColumns },
  isPrepared: false,
})(
  pageSql(
    `SELECT ${COLUMNS}, ${POSITION}::text AS position FROM tokens
    WHERE $1::bigint IS NULL OR (${POSITION}, id) < ($1::bigint, $2::text)
    ORDER BY ${POSITION} DESC, id DESC LIMIT $3`,
    '"createdAt" DESC, id DESC',
  ),
);

const GET = statement('token-get', { values: [t.text], row: ROW, isPrepared: false })(
  `SELECT ${COLUMNS} FROM tokens WHERE id = $1`,
);

const REVOKE = statement('token-revoke', { values: [t.text, ...authorTypes], row: ROW, isPrepared: false })(`
  WITH found AS (
    SELECT id AS found_id, revoked_at IS NULL AS is_news FROM tokens WHERE id = $1 FOR NO KEY UPDATE
  ), changed AS (
    UPDATE tokens SET revoked_at = COALESCE(revoked_at, clock_timestamp()) FROM found WHERE id = found_id
    RETURNING *
  ), ${recordedSql('token.revoked', '$2', '$3')}
  SELECT ${COLUMNS} FROM changed`);
