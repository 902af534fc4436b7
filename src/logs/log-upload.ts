import { BrokenFrames, type ContainerLogLine, LogDemultiplexer } from '../docker/container-logs.js';
import { chunksOf, type NewLine } from './new-chunks.js';
import {
  advance,
  EPOCH,
  isLatest,
  isLeftBehind,
  isStored,
  LinePlaces,
  nextSince,
  normalizeTime,
  type PlacedLine,
  type StoredPositions,
  wasRequested,
} from './stored-position.js';
import type { LogTarget, NewLines, StoredState } from './upload-statements.js';

/** After an upload so long the next has to begin further on, whatever was in it: agents end one at some size. */
const LONG_BYTES = 262_144;
/** How exactly the middle of one is known. */
const MARK_EVERY_BYTES = 65_536;
/** Nothing earlier can still come once a stream was silent for so long after its latest line. */
const QUIET_MS = 2_000;

/** One upload of an attempt's log, as it arrives: which of its lines are new, and which of those are stored. */
export class LogUpload {
  readonly #demultiplexer = new LogDemultiplexer();
  readonly #places = new LinePlaces();
  #state: StoredState;
  /** New lines in their order. The first `#offered` of them are on their way to the database. */
  #pending: NewLine[] = [];
  #pendingBytes = 0;
  #offered = 0;
  #bytes = 0;
  /** Stamps, one every 64 KiB. */
  readonly #marks: { readonly bytes: number; readonly at: string }[] = [];
  #latestAt = EPOCH;
  /** Streams whose latest stored line was in this upload, or that have had a new line. */
  readonly #joined = new Set<string>();

  /** @param since where the upload begins, `<seconds>` or `<seconds>.<fraction>` */
  constructor(
    readonly target: LogTarget,
    readonly since: string,
  ) {
    this.#state = target;
  }

  /** Of lines that are not stored yet, about. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Of the upload. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws BrokenFrames */
  add(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    try {
      this.#takeAll(this.#demultiplexer.push(bytes));
    } catch (error) {
      if (error instanceof BrokenFrames) this.#takeAll(error.lines);
      throw error;
    }
    const marked = this.#marks.at(-1)?.bytes ?? 0;
    if (this.#bytes - marked >= MARK_EVERY_BYTES) this.#marks.push({ bytes: this.#bytes, at: this.#latestAt });
  }

  /**
   * Nothing more of this upload will arrive: its sender ended it.
   * @param isWhole it holds all there is of the log: what has begun has ended
   */
  end(isWhole: boolean): void {
    if (isWhole && !this.#demultiplexer.isWithinFrame) this.#takeAll(this.#demultiplexer.end());
    const middle = this.#middle();
    if (middle === undefined) return;
    const isLost = (time: string) => isLeftBehind(normalizeTime(time) ?? EPOCH, this.since, middle);
    this.#takeAll(this.#demultiplexer.giveUp(isLost));
  }

  /** What is to be stored now; undefined for nothing. Ends with `stored` or `rebase`. */
  offer(): NewLines | undefined {
    this.#offered = this.#pending.length;
    if (this.#offered === 0) return undefined;
    const { attemptId, deployment, attempt } = this.target;
    return {
      attemptId,
      version: this.#state.version,
      stored: advance(this.#state.stored, this.#pending),
      chunks: chunksOf(this.#pending, deployment, attempt),
    };
  }

  /** What was offered is in the database. */
  stored(): void {
    const offered = this.#pending.slice(0, this.#offered);
    this.#state = { version: this.#state.version + 1, stored: advance(this.#state.stored, offered) };
    this.#keep(this.#pending.slice(this.#offered));
  }

  /** Another upload of the same log was first. */
  rebase(state: StoredState): void {
    this.#state = state;
    this.#keep(this.#pending.filter((line) => !isStored(line, state.stored)));
  }

  /**
   * Where the next upload is to begin: `<seconds>.<nine digits>`. For an upload that has ended and is all stored.
   * @param silentMs between its last byte and its end
   */
  nextSince(silentMs: number): string {
    const isQuiet = this.#bytes > 0 && silentMs >= QUIET_MS && !this.#demultiplexer.isWithinFrame;
    const open = this.#demultiplexer.openTimes.flatMap((time) => normalizeTime(time) ?? []);
    return nextSince({ since: this.since, latest: this.#places.latest, isQuiet, middle: this.#middle(), open });
  }

  #middle(): string | undefined {
    if (this.#bytes < LONG_BYTES) return undefined;
    return this.#marks.find(({ bytes }) => bytes >= this.#bytes / 2)?.at ?? this.#latestAt;
  }

  #takeAll(lines: readonly ContainerLogLine[]): void {
    for (const line of lines) {
      const placed = this.#places.place(line);
      this.#latestAt = placed.at;
      this.#take(placed);
    }
  }

  #take(line: PlacedLine): void {
    const { stored } = this.#state;
    if (isStored(line, stored)) {
      if (isLatest(line, stored)) this.#joined.add(line.stream);
      return;
    }
    this.#pending.push({ ...line, isAfterGap: this.#isAfterGap(line, stored) });
    this.#joined.add(line.stream);
    this.#pendingBytes += line.text.length + LINE_OVERHEAD;
  }

  /** The upload requested more than Docker had: its files are bounded, and it deletes the oldest. */
  #isAfterGap({ stream }: PlacedLine, stored: StoredPositions): boolean {
    const latest = stored[stream];
    return latest !== undefined && !this.#joined.has(stream) && wasRequested(latest, this.since);
  }

  #keep(lines: NewLine[]): void {
    this.#pending = lines;
    this.#pendingBytes = lines.reduce((sum, { text }) => sum + text.length + LINE_OVERHEAD, 0);
    this.#offered = 0;
  }
}

/** Stamp, stream and the objects around them. */
const LINE_OVERHEAD = 100;
