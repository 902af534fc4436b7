import { Inject, Injectable, Optional } from '@nestjs/common';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Problem } from '../http/problem.js';
import { Occurrence } from '../process/observation.js';
import type { LogUpload } from './log-upload.js';
import { findStates, type NewLines, storeLines } from './upload-statements.js';

/** How late a line is stored at most, while the database keeps up: a follower's second has room for it. */
const STORE_EVERY_MS = 200;
/**
 * An upload with so much to store is not read on: its agent waits, and Docker's files hold what is printed meanwhile. With
 * the above it also bounds what one attempt may write: 2.5 MiB a second, all of Docker's 30 MB in twelve.
 */
const MAX_PENDING_BYTES = 524_288;
/** Of all uploads of this process together. */
const MAX_PENDING_BYTES_OF_ALL = 32 * 1_048_576;
/** Of one statement: other statements wait for its locks. */
const MAX_STATEMENT_BYTES = 8 * 1_048_576;

/** Lines were stored; `bytes`: as they are kept in Postgres. */
export const linesStored = new Occurrence<{ readonly lines: number; readonly bytes: number }>('lines-stored');

type Pending = ReturnType<typeof newPromise>;

type Writing = {
  readonly upload: LogUpload;
  /** Settles when nothing is pending any more. */
  stored: Pending;
  /** Settles when there is room to read on. */
  room: Pending;
};

/** Stores the lines of all uploads of this process, every 200 ms in one statement. */
@Injectable()
export class LineWriter {
  readonly #writing = new Map<LogUpload, Writing>();
  #timer: NodeJS.Timeout | undefined;
  #isStoring = false;
  #storedAtMs = -Infinity;

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    @Inject(Signals) private readonly signals: Pick<Signals, 'linesStored'>,
    @Optional() private readonly storeEveryMs = STORE_EVERY_MS,
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * To be called after `upload.add`. Resolves when there is room for more.
   * @throws what the database throws
   */
  async write(upload: LogUpload): Promise<void> {
    if (upload.pendingBytes === 0) return;
    const writing = this.#join(upload);
    this.#schedule();
    if (upload.pendingBytes > MAX_PENDING_BYTES || this.#pendingBytes() > MAX_PENDING_BYTES_OF_ALL)
      await writing.room.promise;
  }

  /** Resolves when all that was added is stored. @throws as `write` */
  async flush(upload: LogUpload): Promise<void> {
    if (upload.pendingBytes === 0) return;
    const writing = this.#join(upload);
    this.#schedule();
    await writing.stored.promise;
  }

  #join(upload: LogUpload): Writing {
    const writing = this.#writing.get(upload) ?? { upload, stored: newPromise(), room: newPromise() };
    this.#writing.set(upload, writing);
    return writing;
  }

  #pendingBytes(): number {
    let sum = 0;
    for (const { pendingBytes } of this.#writing.keys()) sum += pendingBytes;
    return sum;
  }

  #schedule(): void {
    if (this.#isStoring || this.#timer !== undefined || this.#writing.size === 0) return;
    const waitMs = Math.max(0, this.#storedAtMs + this.storeEveryMs - this.now());
    this.#timer = setTimeout(() => void this.#store(), waitMs);
  }

  async #store(): Promise<void> {
    this.#timer = undefined;
    this.#isStoring = true;
    this.#storedAtMs = this.now();
    const batch = this.#nextBatch();
    try {
      await this.#storeBatch(batch);
      for (const writing of batch) this.#settle(writing);
    } catch (error) {
      for (const writing of batch) this.#fail(writing, error);
    }
    this.#isStoring = false;
    this.#schedule();
  }

  /** Of two uploads of one attempt one has its turn: an agent that lost its connection has sent the second. */
  #nextBatch(): Writing[] {
    const batch = new Map<string, Writing>();
    let bytes = 0;
    for (const writing of this.#writing.values()) {
      const { target, pendingBytes } = writing.upload;
      if (batch.has(target.attemptId)) continue;
      if (bytes > 0 && bytes + pendingBytes > MAX_STATEMENT_BYTES) continue;
      batch.set(target.attemptId, writing);
      bytes += pendingBytes;
    }
    return [...batch.values()];
  }

  async #storeBatch(batch: readonly Writing[]): Promise<void> {
    const offered = batch.flatMap(({ upload }) => upload.offer() ?? []);
    const jobIds = await storeLines(this.database, offered);
    const refused: Writing[] = [];
    for (const writing of batch) {
      if (jobIds.has(writing.upload.target.attemptId)) writing.upload.stored();
      else refused.push(writing);
    }
    if (linesStored.hasSubscribers)
      linesStored.publish(sumOf(offered.filter(({ attemptId }) => jobIds.has(attemptId))));
    if (jobIds.size > 0) this.signals.linesStored(new Set(jobIds.values()));
    if (refused.length > 0) await this.#rebase(refused);
  }

  async #rebase(refused: readonly Writing[]): Promise<void> {
    const states = await findStates(
      this.database,
      refused.map(({ upload }) => upload.target.attemptId),
    );
    for (const writing of refused) {
      const state = states.get(writing.upload.target.attemptId);
      if (state) writing.upload.rebase(state);
      else this.#fail(writing, new Problem('order-not-found', 'The attempt does not exist any more.'));
    }
  }

  #settle(writing: Writing): void {
    const { upload, room, stored } = writing;
    if (upload.pendingBytes <= MAX_PENDING_BYTES) {
      writing.room = newPromise();
      room.resolve(undefined);
    }
    if (upload.pendingBytes > 0) {
      // Behind the others.
      if (this.#writing.delete(upload)) this.#writing.set(upload, writing);
      return;
    }
    this.#writing.delete(upload);
    stored.resolve(undefined);
  }

  #fail({ upload, room, stored }: Writing, error: unknown): void {
    this.#writing.delete(upload);
    room.reject(error);
    stored.reject(error);
  }
}

function sumOf(stored: readonly NewLines[]): { lines: number; bytes: number } {
  const chunks = stored.flatMap((each) => each.chunks);
  return {
    lines: chunks.reduce((sum, { lines }) => sum + lines, 0),
    bytes: chunks.reduce((sum, { content }) => sum + content.length, 0),
  };
}

function newPromise() {
  const promise = Promise.withResolvers<undefined>();
  // There may be no waiter.
  promise.promise.catch(() => undefined);
  return promise;
}
