import { hash } from 'node:crypto';
import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  Optional,
} from '@nestjs/common';
import { Database } from '../database/database.js';
import { asError } from '../process/as-error.js';
import { lastSeenSql } from '../database/last-seen.js';
import { type RowOf, statement, t } from '../database/statement.js';

/** The sender of a token. `retired`: its instance is being terminated, or has been. */
export type Sender =
  | { readonly kind: 'agent'; readonly instanceId: string }
  | { readonly kind: 'retired'; readonly instanceId: string }
  | { readonly kind: 'unknown' };

/** How long a result is valid without a new query: of an unknown token, and of an agent that is not flushed. */
const UNKNOWN_MS = 1_000;
const KNOWN_MS = 60_000;
/** Also how late `last_seen_at` is: a check for silent agents must allow for this and one parked poll. */
const FLUSH_EVERY_MS = 10_000;
/** Guessed tokens must not fill the memory. */
const MAX_UNKNOWN = 10_000;

type Entry = {
  readonly instanceId: string;
  isRetired: boolean;
  /** When it was last read from the database. */
  checkedAtMs: number;
  seenAtMs: number;
};

/**
 * Tokens of agents, and when each agent was last seen. Both are kept in memory: ten thousand polling agents cost one
 * statement per flush. An instance retired elsewhere is noticed at the next flush after its poll, within a minute.
 */
@Injectable()
export class Agents implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #logger = new Logger('Agents');
  readonly #known = new Map<string, Entry>();
  /** Token hash → until when it counts as unknown. */
  readonly #unknown = new Map<string, number>();
  /** Seen since the last flush. */
  readonly #seen = new Set<Entry>();
  readonly #loading = new Map<string, Promise<Entry | undefined>>();
  #wanted: { readonly hashes: Map<string, Buffer>; readonly found: Promise<Map<string, Entry>> } | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {}

  onApplicationBootstrap(): void {
    this.#timer ??= setInterval(() => void this.#flushQuietly(), FLUSH_EVERY_MS).unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.#timer);
    await this.#flushQuietly();
  }

  /**
   * Also notes that the agent was seen.
   * @throws what the database throws: an agent must not get a 401 when its token could not be looked up
   */
  async identify(token: string): Promise<Sender> {
    const key = keyOf(token);
    const now = this.now();
    let entry = this.#known.get(key);
    if (!entry || now - entry.checkedAtMs > KNOWN_MS) {
      if (now < (this.#unknown.get(key) ?? -Infinity)) return UNKNOWN;
      entry = await this.#load(key, token);
    }
    if (!entry) return UNKNOWN;
    if (entry.isRetired) return { kind: 'retired', instanceId: entry.instanceId };
    entry.seenAtMs = this.now();
    this.#seen.add(entry);
    return { kind: 'agent', instanceId: entry.instanceId };
  }

  /** Tokens remembered, known or not. */
  get size(): number {
    return this.#known.size + this.#unknown.size;
  }

  /** What is known of this token may have changed: the next request reads it again. */
  forget(token: string): void {
    const key = keyOf(token);
    this.#known.delete(key);
    this.#unknown.delete(key);
  }

  /** Writes when agents were last seen, and reads which of them were retired meanwhile. */
  async flush(): Promise<void> {
    this.#dropOld();
    const seen = [...this.#seen];
    if (seen.length === 0) return;
    const now = this.now();
    const rows = await this.database.run(FLUSH, [
      seen.map(({ instanceId }) => instanceId),
      seen.map(({ seenAtMs }) => (now - seenAtMs) / 1000),
    ]);
    const retired = new Map(rows.map(({ id, isRetired }) => [id, isRetired]));
    for (const entry of seen) {
      const isRetired = retired.get(entry.instanceId);
      // Locked by the fleet just now: the next flush writes it.
      if (isRetired === undefined) continue;
      entry.isRetired = isRetired;
      entry.checkedAtMs = now;
      if (entry.seenAtMs <= now) this.#seen.delete(entry);
    }
  }

  /** One statement for all tokens that arrive in one turn of the loop: after a restart that is the whole fleet. */
  async #load(key: string, token: string): Promise<Entry | undefined> {
    const loading = this.#loading.get(key);
    if (loading) return await loading;
    this.#wanted ??= this.#startLoad();
    this.#wanted.hashes.set(key, hash('sha256', token, 'buffer'));
    const found = this.#wanted.found.then((entries) => entries.get(key));
    this.#loading.set(key, found);
    try {
      return await found;
    } finally {
      this.#loading.delete(key);
    }
  }

  #startLoad(): { hashes: Map<string, Buffer>; found: Promise<Map<string, Entry>> } {
    const hashes = new Map<string, Buffer>();
    const found = new Promise<void>((done) => setImmediate(done)).then(async () => {
      this.#wanted = undefined;
      return this.#keep(hashes.keys(), await this.database.run(LOAD, [[...hashes.values()]]));
    });
    return { hashes, found };
  }

  #keep(keys: Iterable<string>, rows: readonly RowOf<typeof ROW>[]): Map<string, Entry> {
    const now = this.now();
    const found = new Map<string, Entry>();
    for (const { id, tokenHash, isRetired } of rows)
      found.set(tokenHash.toString('base64'), { instanceId: id, isRetired, checkedAtMs: now, seenAtMs: -Infinity });
    if (this.#unknown.size > MAX_UNKNOWN) this.#unknown.clear();
    for (const key of keys) {
      const entry = found.get(key);
      if (entry) this.#known.set(key, entry);
      else {
        this.#known.delete(key);
        this.#unknown.set(key, now + UNKNOWN_MS);
      }
    }
    return found;
  }

  #dropOld(): void {
    const now = this.now();
    for (const [key, entry] of this.#known) {
      if (now - entry.checkedAtMs > KNOWN_MS && !this.#seen.has(entry)) this.#known.delete(key);
    }
    for (const [key, untilMs] of this.#unknown) if (untilMs <= now) this.#unknown.delete(key);
  }

  async #flushQuietly(): Promise<void> {
    await this.flush().catch((error: unknown) =>
      this.#logger.warn('last_seen_at could not be written, trying again', asError(error)),
    );
  }
}

const UNKNOWN: Sender = { kind: 'unknown' };

const ROW = { id: t.text, tokenHash: t.bytea, isRetired: t.bool } as const;

const LOAD = statement('agents-load', { values: [t.arrayOf(t.bytea)], row: ROW })(`
  SELECT id, token_hash AS "tokenHash", retire_reason IS NOT NULL OR terminated_at IS NOT NULL AS "isRetired"
  FROM instances WHERE token_hash = ANY ($1::bytea[])`);

const FLUSH = statement('agents-flush', {
  values: [t.arrayOf(t.text), t.arrayOf(t.double)],
  row: { id: t.text, isRetired: t.bool },
})(
  lastSeenSql(
    'instances',
    'last_seen_at',
    't.id, t.retire_reason IS NOT NULL OR t.terminated_at IS NOT NULL AS "isRetired"',
  ),
);

function keyOf(token: string): string {
  return hash('sha256', token, 'base64');
}
