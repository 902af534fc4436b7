import { once, EventEmitter } from 'node:events';

export type LogOptions = {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  /** How many of the newest lines. */
  readonly tail: number;
  /** Lines from then on, in nanoseconds of Unix time. */
  readonly sinceNs: bigint;
};

/** A line, or a piece of one that is longer than Docker's buffer. */
type Line = {
  readonly number: number;
  readonly stream: 'stdout' | 'stderr';
  readonly atNs: bigint;
  /** With its newline, if it has one. */
  readonly bytes: Buffer;
};

/** The newest lines of one container, answered the way Docker's logs endpoint frames them. */
export class ContainerLogs {
  readonly #lines: Line[] = [];
  readonly #news = new EventEmitter().setMaxListeners(0);
  #bytes = 0;
  #lastNs = 0n;

  add(stream: 'stdout' | 'stderr', text: string): void {
    this.#append(stream, `${text}\n`);
  }

  /** What a program wrote before it ended within a line. */
  addUnended(stream: 'stdout' | 'stderr', text: string): void {
    if (text !== '') this.#append(stream, text);
  }

  /** Docker takes a line apart where its buffer is full; the pieces are stamped alike. */
  #append(stream: 'stdout' | 'stderr', text: string): void {
    // Docker's clock has nanoseconds: no two lines of a stream are of the same moment.
    const nowNs = BigInt(Date.now()) * 1_000_000n;
    this.#lastNs = nowNs > this.#lastNs ? nowNs : this.#lastNs + 1n;
    const whole = Buffer.from(text);
    for (let from = 0; from < whole.length; from += PIECE_BYTES) {
      const bytes = whole.subarray(from, from + PIECE_BYTES);
      this.#lines.push({ number: (this.#lines.at(-1)?.number ?? 0) + 1, stream, atNs: this.#lastNs, bytes });
    }
    this.#bytes += whole.length;
    if (this.#bytes > MAX_BYTES) this.#dropOldest();
    this.#news.emit('news');
  }

  /** Makes followers check whether the container still runs. */
  announceEnd(): void {
    this.#news.emit('news');
  }

  frames(options: LogOptions): Buffer {
    const wanted = this.#linesAfter(0, options);
    return framed(wanted.slice(Math.max(0, wanted.length - options.tail)), options);
  }

  /**
   * All lines there are, then each as it is printed, until the container does not run any more.
   * @throws when the signal is aborted
   */
  async *follow(options: LogOptions, isRunning: () => boolean, signal: AbortSignal): AsyncGenerator<Buffer> {
    let last = 0;
    for (;;) {
      const isLast = !isRunning();
      const lines = this.#linesAfter(last, options);
      last = this.#lines.at(-1)?.number ?? last;
      if (lines.length > 0) yield framed(lines, options);
      else if (isLast) return;
      else await once(this.#news, 'news', { signal });
    }
  }

  #linesAfter(number: number, { stdout, stderr, sinceNs }: LogOptions): Line[] {
    const first = Math.max(0, number - (this.#lines[0]?.number ?? 0) + 1);
    return this.#lines
      .slice(first)
      .filter((line) => line.atNs >= sinceNs && (line.stream === 'stdout' ? stdout : stderr));
  }

  #dropOldest(): void {
    let bytes = 0;
    const count = this.#lines.findIndex((line) => (bytes += line.bytes.length) > MAX_BYTES / 2);
    this.#bytes -= this.#lines.splice(0, count).reduce((sum, line) => sum + line.bytes.length, 0);
  }
}

/** LogConfig bounds the real one; here a crashing container must not fill the memory. */
const MAX_BYTES = 1_048_576;
const PIECE_BYTES = 16_384;

function framed(lines: readonly Line[], { timestamps }: LogOptions): Buffer {
  return Buffer.concat(
    lines.map(({ stream, atNs, bytes }) => {
      const payload = Buffer.concat([Buffer.from(timestamps ? `${timeOf(atNs)} ` : ''), bytes]);
      const header = Buffer.from([stream === 'stdout' ? 1 : 2, 0, 0, 0, 0, 0, 0, 0]);
      header.writeUInt32BE(payload.length, 4);
      return Buffer.concat([header, payload]);
    }),
  );
}

/** RFC 3339 with nine digits. */
function timeOf(atNs: bigint): string {
  const seconds = new Date(Number(atNs / 1_000_000n)).toISOString().slice(0, 20);
  return `${seconds}${String(atNs % 1_000_000_000n).padStart(9, '0')}Z`;
}
