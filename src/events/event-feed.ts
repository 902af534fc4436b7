import { Injectable, Logger } from '@nestjs/common';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import type { EventResponse } from './event.schema.js';
import { type EventFilter, type EventsRead, fits, readForward, readLastPosition } from './read-events.js';

/** Of a process, for all its clients: about a megabyte. A client that is further behind reads from the table. */
const MOST_RECENT = 1_000;
const BATCH = 200;
const RETRY_MS = 1_000;
const EVERYTHING: EventFilter = { job: null, deployment: null, types: null, scope: null };

/**
 * The latest events, read once for all clients of this process that follow them. A client is a position and nothing
 * else: the events after it are read from here, or from the table where they are older.
 */
@Injectable()
export class EventFeed {
  readonly #logger = new Logger('Events');
  #recent: EventResponse[] = [];
  /** Everything after `#from` up to `#through` is in `#recent`. Null without followers. */
  #through: number | null = null;
  #from = 0;
  #followers = 0;
  #isReading = false;
  #isStale = false;
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly database: Database,
    signals: Signals,
  ) {
    signals.on('events', () => this.#refresh());
    // Signals may be missing; and Postgres may be another one, restored to where positions were lower.
    signals.onReconnect(() => {
      this.#forget();
      this.#refresh();
    });
  }

  /** Clients that follow now. */
  get size(): number {
    return this.#followers;
  }

  /**
   * The events after a position (null: after the end), as they are committed, until `signal` aborts. A batch is read
   * only when it is requested, so a slow client costs no memory.
   */
  async *follow(filter: EventFilter, after: number | null, signal: AbortSignal): AsyncGenerator<EventsRead> {
    this.#followers += 1;
    try {
      let position = after ?? (await readLastPosition(this.database));
      while (!signal.aborted) {
        const read = this.#recall(filter, position) ?? (await readForward(this.database, filter, position, BATCH));
        position = read.reached;
        if (read.events.length > 0 || read.gap) yield read;
        if (read.isAtEnd) await this.#next(position, signal);
      }
    } finally {
      this.#followers -= 1;
      if (this.#followers === 0) this.#forget();
    }
  }

  #recall(filter: EventFilter, after: number): EventsRead | undefined {
    const through = this.#through;
    if (through === null || after < this.#from || after > through) return undefined;
    // Positions have no gaps.
    const events = after === through ? [] : this.#recent.slice(after - through).filter((event) => fits(event, filter));
    return { events, reached: through, isAtEnd: true, gap: null };
  }

  /** Resolves when it is worth looking again, or the client has gone. */
  async #next(position: number, signal: AbortSignal): Promise<void> {
    // Events arrived while the client read the batch before.
    if (this.#through !== null && this.#through > position) return;
    // What was signalled before the first follower was not read.
    if (this.#through === null) this.#refresh();
    if (signal.aborted) return;
    await new Promise<void>((done) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        done();
      };
      signal.addEventListener('abort', wake);
      this.#waiting.add(wake);
    });
  }

  #refresh(): void {
    if (this.#followers === 0) return;
    this.#isStale = true;
    if (!this.#isReading) void this.#read();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    try {
      while (this.#isStale && this.#followers > 0) {
        this.#isStale = false;
        await this.#readOnce();
        for (const wake of this.#waiting) wake();
      }
    } catch (error) {
      this.#logger.warn('events could not be read', { error: String(error) });
      setTimeout(() => this.#refresh(), RETRY_MS).unref();
    } finally {
      this.#isReading = false;
    }
  }

  async #readOnce(): Promise<void> {
    const { database } = this;
    const before = this.#through;
    const read = before === null ? undefined : await readForward(database, EVERYTHING, before, BATCH);
    const through = read?.reached ?? (await readLastPosition(database));
    // Forgotten meanwhile: nothing may be missing between what is kept and where it ends.
    if (this.#through !== before) return void (this.#isStale = true);
    if (read) this.#keep(read.events);
    else this.#from = through;
    this.#through = through;
    if (read && !read.isAtEnd) this.#isStale = true;
  }

  #keep(events: readonly EventResponse[]): void {
    const all = [...this.#recent, ...events];
    this.#from = all.at(-MOST_RECENT - 1)?.position ?? this.#from;
    this.#recent = all.slice(-MOST_RECENT);
  }

  #forget(): void {
    this.#recent = [];
    this.#through = null;
  }
}
