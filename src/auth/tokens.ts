import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Database } from '../database/database.js';
import { notedAtSql } from '../database/noted-at.js';
import type { Signals } from '../database/signals.js';
import type { Caller, Role } from './access-rules.js';
import { digestOf } from './bearer.js';

/** How late a revocation or the end of a token can be noticed where no signal tells of it. */
const KNOWN_MS = 5_000;
const FLUSH_EVERY_MS = 30_000;
/** Ids nobody has are remembered as well: guesses must not fill the memory. */
const MOST_KNOWN = 10_000;

const TOKEN = /^sch_([0-9a-f]{8})_[0-9a-f]{64}$/;

type Row = {
  id: string;
  hash: Buffer;
  role: Role;
  scope: string[] | null;
  max_jobs: number | null;
  max_instances: number | null;
  requests_per_minute: number | null;
  has_ended: boolean;
};
type Entry = { readonly loadedAtMs: number; readonly row: Promise<Row | undefined> };

/** A new token; all of it is to be shown once and kept nowhere. */
export function makeToken(): { id: string; token: string; hash: Buffer } {
  const id = randomBytes(4).toString('hex');
  const token = `sch_${id}_${randomBytes(32).toString('hex')}`;
  return { id, token, hash: digestOf(token) };
}

/**
 * Tokens of the table, as requests bring them. One look at the database per token, process and five seconds; a
 * revocation is signalled, and noticed after five seconds at the latest. When tokens were last used is written in
 * batches.
 */
export class Tokens {
  readonly #known = new Map<string, Entry>();
  /** Token id → when it was last used, since the last flush. */
  readonly #used = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    signals: Pick<Signals, 'on' | 'onReconnect'>,
    private readonly log: (message: string, error: unknown) => void = () => undefined,
    private readonly now: () => number = () => performance.now(),
  ) {
    signals.on('tokens', (ids) => (ids.length > 0 ? ids.forEach((id) => this.#known.delete(id)) : this.#known.clear()));
    signals.onReconnect(() => this.#known.clear());
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#flushQuietly(), FLUSH_EVERY_MS).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#flushQuietly();
  }

  /**
   * `ended`: revoked or expired; undefined: no token of ours. Also notes that it was used.
   * @throws what the database throws: nobody must be told that a token is wrong when it could not be looked up
   */
  async identify(token: string): Promise<Caller | 'ended' | undefined> {
    const id = TOKEN.exec(token)?.[1];
    if (id === undefined) return undefined;
    const row = await this.#find(id);
    if (!row || !timingSafeEqual(digestOf(token), row.hash)) return undefined;
    if (row.has_ended) return 'ended';
    this.#used.set(id, this.now());
    return {
      id,
      role: row.role,
      scope: row.scope,
      maxJobs: row.max_jobs,
      maxInstances: row.max_instances,
      requestsPerMinute: row.requests_per_minute,
    };
  }

  /** Writes when tokens were last used. */
  async flush(): Promise<void> {
    const used = [...this.#used];
    if (used.length === 0) return;
    this.#used.clear();
    const now = this.now();
    const ids = used.map(([id]) => id);
    const seconds = used.map(([, usedAtMs]) => (now - usedAtMs) / 1000);
    await this.database.prepared('tokens-used', USED, [ids, seconds]);
  }

  async #find(id: string): Promise<Row | undefined> {
    const known = this.#known.get(id);
    if (known && this.now() - known.loadedAtMs < KNOWN_MS) return await known.row;
    // Requests that come meanwhile wait for the same look.
    const row = this.database.prepared<Row>('get-token', GET, [id]).then(([found]) => found);
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    const entry = { loadedAtMs: this.now(), row };
    this.#known.set(id, entry);
    try {
      return await row;
    } catch (error) {
      if (this.#known.get(id) === entry) this.#known.delete(id);
      throw error;
    }
  }

  async #flushQuietly(): Promise<void> {
    await this.flush().catch((error: unknown) => this.log('last use of tokens could not be written', error));
  }
}

const GET = `
  SELECT id, hash, role, scope, max_jobs, max_instances, requests_per_minute,
         LEAST(revoked_at, expires_at, 'infinity') <= clock_timestamp() AS has_ended
  FROM tokens WHERE id = $1`;

const USED = notedAtSql('tokens', 'last_used_at');
