import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { authorValues } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { decodeCursor, type Page, type Paged, pageSql, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import type { Allow, Role } from '../http/caller.js';
import type { CreateToken, ListTokens, NewTokenResponse, TokenResponse } from './token.schema.js';
import { makeToken } from '../auth/tokens.js';
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
      const limits = [
        maxJobs,
        maxInstances,
        requestsPerMinute,
        expiresInDays,
        maxWebhooks,
        allow && JSON.stringify(allow),
      ];
      const values = [id, name, hash, role, scope, ...limits, ...authorValues()];
      const [row] = await this.database.query<TokenRow>(INSERT, values);
      if (row) return { token, ...toToken(row) };
    }
    throw new Error('no free id for a token was found');
  }

  /** The newest first, revoked and expired ones as well. */
  async list({ limit, cursor }: ListTokens): Promise<Page<TokenResponse>> {
    const [before, id] = cursor === undefined ? [null, null] : decodeCursor(cursor, TokenCursor);
    const rows = await this.database.query<Paged<TokenRow & { position: string }>>(LIST, [before, id, limit + 1]);
    return toPage(rows, limit, (row) => [row.position, row.id], toToken);
  }

  /** @throws Problem token-not-found */
  async get(id: string): Promise<TokenResponse> {
    const [row] = ID.test(id) ? await this.database.query<TokenRow>(GET, [id]) : [];
    return toToken(row ?? notFound(id));
  }

  /** Repeatable. @throws Problem token-not-found */
  async revoke(id: string): Promise<TokenResponse> {
    const [row] = ID.test(id) ? await this.database.query<TokenRow>(REVOKE, [id, ...authorValues()]) : [];
    const token = toToken(row ?? notFound(id));
    this.signals.tokenRevoked(id);
    return token;
  }
}

type TokenRow = {
  id: string;
  name: string;
  role: Role;
  scope: string[] | null;
  max_jobs: number | null;
  max_instances: number | null;
  max_webhooks: number | null;
  allow: Allow | null;
  requests_per_minute: number | null;
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  revoked_at: Date | null;
};

function toToken(row: TokenRow): TokenResponse {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    scope: row.scope,
    maxJobs: row.max_jobs,
    maxInstances: row.max_instances,
    maxWebhooks: row.max_webhooks,
    allow: row.allow,
    requestsPerMinute: row.requests_per_minute,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  };
}

function notFound(id: string): never {
  throw new Problem('token-not-found', `There is no token ${id}.`);
}

const COLUMNS = `
  id, name, role, scope, max_jobs, max_instances, max_webhooks, allow, requests_per_minute, created_at, expires_at, last_used_at, revoked_at`;

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

const INSERT = `
  WITH changed AS (
    INSERT INTO tokens (id, name, hash, role, scope, max_jobs, max_instances, requests_per_minute, expires_at, max_webhooks, allow)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + make_interval(days => $9::int), $10, $11::jsonb)
    ON CONFLICT (id) DO NOTHING
    RETURNING *, true AS is_news
  ), ${recordedSql('token.created', '$12', '$13')}
  SELECT ${COLUMNS} FROM changed`;

// A Date has milliseconds only: as text the position is the row's very own.
const TokenCursor = z.tuple([z.string().regex(/^\d{1,18}$/), z.string().regex(ID)]);
const POSITION = `(extract(epoch FROM created_at) * 1000000)::bigint`;

const LIST = pageSql(
  `SELECT ${COLUMNS}, ${POSITION}::text AS position FROM tokens
  WHERE $1::bigint IS NULL OR (${POSITION}, id) < ($1::bigint, $2::text)
  ORDER BY ${POSITION} DESC, id DESC LIMIT $3`,
  'created_at DESC, id DESC',
);

const GET = `SELECT ${COLUMNS} FROM tokens WHERE id = $1`;

const REVOKE = `
  WITH found AS (
    SELECT id AS found_id, revoked_at IS NULL AS is_news FROM tokens WHERE id = $1 FOR NO KEY UPDATE
  ), changed AS (
    UPDATE tokens SET revoked_at = COALESCE(revoked_at, clock_timestamp()) FROM found WHERE id = found_id
    RETURNING *
  ), ${recordedSql('token.revoked', '$2', '$3')}
  SELECT ${COLUMNS} FROM changed`;
