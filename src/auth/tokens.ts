import { randomBytes, timingSafeEqual } from 'node:crypto';
import { type BeforeApplicationShutdown, Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { Database } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { lastSeenSql } from '../database/last-seen.js';
import { Signals } from '../database/signals.js';
import type { Caller } from '../http/caller.js';
import { digestOf } from './bearer.js';
import { Token } from './token.entity.js';

/** How late a revocation or the end of a token can be noticed where no signal reports it. */
const KNOWN_MS = 5_000;
/** How soon a first use is written, and how long at least until the next is. */
const FLUSH_AFTER_MS = 1_000;
const FLUSH_EVERY_MS = 10_000;
/** Unknown ids are remembered apart from those of tokens: guesses must neither fill the memory nor evict tokens. */
const MOST_KNOWN = 10_000;
/** Looked up at once. */
const MOST_IN_A_LOOK = 1_000;

const ID = /^[0-9a-f]{8}$/;
const TOKEN = /^sch_([0-9a-f]{8})_[0-9a-f]{64}$/;

/** What a token is, and what its caller may do. */
export const CALLER = {
  ...columnsOf(Token, 'id', 'name', 'role', 'scope', 'maxJobs', 'maxInstances', 'maxWebhooks', 'allow'),
  ...columnsOf(Token, 'requestsPerMinute'),
} as const;
const COLUMNS = { ...CALLER, ...columnsOf(Token, 'hash') } as const;
const ROW = { ...COLUMNS, hasEnded: t.bool } as const;

type Row = RowOf<typeof ROW>;
type Entry = { readonly loadedAtMs: number; readonly row: Row };

/** A new token; all of it is to be shown once and kept nowhere. */
export function makeToken(): { id: string; token: string; hash: Buffer } {
  const id = randomBytes(4).toString('hex');
  const token = `sch_${id}_${randomBytes(32).toString('hex')}`;
  return { id, token, hash: digestOf(token) };
}

/**
 * Looks up the tokens of requests. One query per token, process and five seconds, and one at a time for all that are
 * wanted meanwhile, so that guesses take one connection and no more; a revocation is signalled, and noticed after five
 * seconds at the latest. When tokens were last used is written in batches.
 */
@Injectable()
export class Tokens implements BeforeApplicationShutdown {
  readonly #logger = new Logger('Access');
  readonly #known = new Map<string, Entry>();
  /** Unknown id → until when it counts as unknown. */
  readonly #unknown = new Map<string, number>();
  /** Ids to look up next, and who waits for each. */
  #wanted = new Map<string, PromiseWithResolvers<Row | undefined>>();
  #isLooking = false;
  /** Goes up with every signal: what was read before it is not kept. */
  #signals = 0;
  /** Token id → when it was last used, since the last flush. */
  readonly #used = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #flushedAtMs = -Infinity;
  #isStopped = false;

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    @Inject(Signals) signals: Pick<Signals, 'on' | 'onReconnect'>,
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {
    signals.on('tokens', (ids) => this.#forget(ids));
    signals.onReconnect(() => this.#forget([]));
  }

  // Before the pool closes.
  async beforeApplicationShutdown(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#flushQuietly();
  }

  /**
   * `ended`: revoked or expired; undefined: no token of ours. Also notes that it was used.
   * @throws what the database throws: a caller must not get a 401 when its token could not be looked up
   */
  async identify(token: string): Promise<Caller | 'ended' | undefined> {
    const id = TOKEN.exec(token)?.[1];
    if (id === undefined) return undefined;
    const row = await this.#find(id);
    if (!row) return undefined;
    const { hash, hasEnded, ...caller } = row;
    if (!timingSafeEqual(digestOf(token), hash)) return undefined;
    if (hasEnded) return 'ended';
    this.#noteUse(id);
    return caller;
  }

  /** Of these ids those that are of no token any more, or of one that was revoked or has expired. */
  async findEnded(ids: readonly string[]): Promise<string[]> {
    const ofTokens = ids.filter((id) => ID.test(id));
    if (ofTokens.length === 0) return [];
    const rows = await this.database.run(FIND_ENDED, [ofTokens]);
    return rows.map(({ id }) => id);
  }

  /** Writes when tokens were last used. */
  async flush(): Promise<void> {
    this.#flushedAtMs = this.now();
    const used = [...this.#used];
    if (used.length === 0) return;
    this.#used.clear();
    const now = this.now();
    const ids = used.map(([id]) => id);
    const seconds = used.map(([, usedAtMs]) => (now - usedAtMs) / 1000);
    try {
      await this.database.run(USED, [ids, seconds]);
    } catch (error) {
      // Of those that were not used again meanwhile.
      for (const [id, usedAtMs] of used) if (!this.#used.has(id)) this.#used.set(id, usedAtMs);
      throw error;
    }
  }

  #noteUse(id: string): void {
    this.#used.set(id, this.now());
    if (this.#isStopped) return;
    const waitMs = Math.max(FLUSH_AFTER_MS, this.#flushedAtMs + FLUSH_EVERY_MS - this.now());
    this.#timer ??= setTimeout(() => void this.#flushQuietly(), waitMs).unref();
  }

  async #find(id: string): Promise<Row | undefined> {
    const known = this.#known.get(id);
    if (known && this.now() - known.loadedAtMs < KNOWN_MS) return known.row;
    if (this.now() < (this.#unknown.get(id) ?? -Infinity)) return undefined;
    const wanted = this.#wanted.get(id) ?? Promise.withResolvers<Row | undefined>();
    this.#wanted.set(id, wanted);
    if (!this.#isLooking) void this.#lookUpAll();
    return await wanted.promise;
  }

  async #lookUpAll(): Promise<void> {
    this.#isLooking = true;
    while (this.#wanted.size > 0) {
      const wanted = [...this.#wanted].slice(0, MOST_IN_A_LOOK);
      for (const [id] of wanted) this.#wanted.delete(id);
      await this.#lookUp(new Map(wanted));
    }
    this.#isLooking = false;
  }

  async #lookUp(wanted: ReadonlyMap<string, PromiseWithResolvers<Row | undefined>>): Promise<void> {
    const askedAtMs = this.now();
    const signals = this.#signals;
    try {
      const rows = await this.database.run(GET, [[...wanted.keys()]]);
      const found = new Map(rows.map((row) => [row.id, row]));
      for (const [id, { resolve }] of wanted) {
        const row = found.get(id);
        if (signals === this.#signals) this.#keep(id, row, askedAtMs);
        resolve(row);
      }
    } catch (error) {
      for (const { reject } of wanted.values()) reject(error);
    }
  }

  /** @param ids of tokens that were revoked; none: any may have been */
  #forget(ids: readonly string[]): void {
    this.#signals += 1;
    if (ids.length === 0) this.#known.clear();
    for (const id of ids) this.#known.delete(id);
  }

  #keep(id: string, row: Row | undefined, askedAtMs: number): void {
    this.#known.delete(id);
    this.#unknown.delete(id);
    if (this.#unknown.size >= MOST_KNOWN) this.#unknown.clear();
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    if (row) this.#known.set(id, { loadedAtMs: askedAtMs, row });
    else this.#unknown.set(id, askedAtMs + KNOWN_MS);
  }

  async #flushQuietly(): Promise<void> {
    this.#timer = undefined;
    await this.flush().catch((error: unknown) =>
      this.#logger.warn('last use of tokens could not be written', { error: String(error) }),
    );
  }
}

const GET = statement('get-tokens', { values: [t.arrayOf(t.text)], row: ROW })(`
  SELECT ${selectList(COLUMNS)},
         LEAST(revoked_at, expires_at, 'infinity') <= clock_timestamp() AS "hasEnded"
  FROM tokens WHERE id = ANY ($1::text[])`);

const FIND_ENDED = statement('find-ended-tokens', { values: [t.arrayOf(t.text)], row: { id: t.text } })(`
  SELECT open.id FROM unnest($1::text[]) AS open (id) LEFT JOIN tokens AS t ON t.id = open.id
  WHERE t.id IS NULL OR LEAST(t.revoked_at, t.expires_at) <= clock_timestamp()`);

const USED = statement('tokens-used', { values: [t.arrayOf(t.text), t.arrayOf(t.double)] })(
  lastSeenSql('tokens', 'last_used_at'),
);
