/** What is kept of a stream's newest lines. */
const KEPT_BYTES = 65_536;
/** A longer line is dropped. */
const LONGEST_LINE = 16_384;

/**
 * The newest lines of a stream of Docker's, as they come in pieces, cut anywhere. Only lines with a time (`timeNano`)
 * count: without one there is no position to continue from. Lines that were stored before are skipped. Holds no more
 * than is kept, and one line.
 */
export class StreamTail {
  readonly #lines: string[];
  #bytes: number;
  #since: bigint;
  #open = Buffer.alloc(0);
  #isTooLong = false;
  #isNews = false;

  /** @param stored lines, and where they go on: `<seconds>` or `<seconds>.<fraction>` */
  constructor(stored: { readonly content: string; readonly since: string }) {
    this.#lines = stored.content.split('\n').slice(0, -1);
    this.#bytes = Buffer.byteLength(stored.content);
    this.#since = nanosecondsOf(stored.since);
  }

  /** There are lines that are not stored yet; `stored` ends that. */
  get isNews(): boolean {
    return this.#isNews;
  }

  get content(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }

  /** Where to go on, `<seconds>.<nine digits>`. */
  get since(): string {
    return `${this.#since / SECOND}.${String(this.#since % SECOND).padStart(9, '0')}`;
  }

  stored(): void {
    this.#isNews = false;
  }

  add(piece: Uint8Array): void {
    let from = 0;
    for (let end = piece.indexOf(NEWLINE); end !== -1; end = piece.indexOf(NEWLINE, from)) {
      this.#append(piece.subarray(from, end));
      this.#take(this.#open.toString());
      this.#open = Buffer.alloc(0);
      this.#isTooLong = false;
      from = end + 1;
    }
    this.#append(piece.subarray(from));
  }

  #append(bytes: Uint8Array): void {
    this.#isTooLong ||= this.#open.length + bytes.length > LONGEST_LINE;
    if (this.#isTooLong) this.#open = Buffer.alloc(0);
    else this.#open = Buffer.concat([this.#open, bytes]);
  }

  #take(text: string): void {
    // A quote within a string of JSON has a backslash before it, so no value can look like this.
    const time = /"timeNano":(\d{1,19})[,}]/.exec(text)?.[1];
    if (time === undefined || BigInt(time) < this.#since) return;
    // Postgres cannot store U+0000 in text.
    const line = text.replaceAll('\0', '\uFFFD');
    this.#since = BigInt(time) + 1n;
    this.#isNews = true;
    this.#lines.push(line);
    this.#bytes += Buffer.byteLength(line) + 1;
    while (this.#bytes > KEPT_BYTES) this.#bytes -= Buffer.byteLength(this.#lines.shift() ?? '') + 1;
  }
}

const NEWLINE = 0x0a;
const SECOND = 1_000_000_000n;

function nanosecondsOf(since: string): bigint {
  const [seconds = '0', fraction = ''] = since.split('.');
  return BigInt(seconds) * SECOND + BigInt(fraction.padEnd(9, '0'));
}
