export type LogStream = 'stdout' | 'stderr';

/** Same shape as a log line of a deployment; `time` is Docker's RFC 3339 timestamp with nanoseconds. */
export type ContainerLogLine = { stream: LogStream; time?: string; line: string };

/** A longer line is cut there and marked: a container that never ends its line must not fill the memory. */
export const MAX_LINE_BYTES = 65_536;
export const CUT_MARK = ' […: cut, a line may have 64 KiB]';
/** Follows the beginning of a line that was given up, see `giveUp`. */
export const UNENDED_MARK = ' […: cut, its end came too late]';

/**
 * All lines of Docker's answer, which may have lost its beginning (Docker-Max-Bytes): the first whole frame is looked for.
 * Plain text of a container with a terminal counts as stdout.
 */
export function demultiplexLogs(body: Uint8Array): ContainerLogLine[] {
  const start = firstFrame(body);
  const demultiplexer = new LogDemultiplexer(start === undefined ? 'text' : 'frames');
  return [...demultiplexer.push(body.subarray(start ?? 0)), ...demultiplexer.end()];
}

/** The stream of frames is broken: what follows cannot be told apart any more. */
export class BrokenFrames extends Error {
  override readonly name = 'BrokenFrames';

  /** @param lines that were complete before */
  constructor(readonly lines: readonly ContainerLogLine[]) {
    super('there is no frame where one should begin');
  }
}

/**
 * Docker's logs endpoint sends frames of [stream 1 or 2, 0, 0, 0, length as big-endian uint32, payload], or plain text
 * for a container with a terminal; this accepts the answer in pieces, cut anywhere. A line longer than 16 KiB is sent
 * in several frames that repeat its timestamp: they are joined. A shorter frame without a newline is a whole line, the
 * last of a program that ended within it. Holds no more than two lines, whatever a frame says of its length.
 */
export class LogDemultiplexer {
  readonly #header = new Uint8Array(FRAME_HEADER);
  readonly #open: Record<LogStream, OpenLine> = { stdout: newLine(), stderr: newLine() };
  /** The beginning of a piece of a line, as long as its timestamp may be incomplete. */
  #head: Uint8Array = NOTHING;
  #isHead = true;
  #headerLength = 0;
  /** Of the payload of this frame. */
  #left = 0;
  /** Of this piece of a line so far, without its timestamp. */
  #pieceLength = 0;
  #stream: LogStream | undefined;

  /** @param form of the answer; default: as its first bytes look */
  constructor(private form?: 'frames' | 'text') {}

  /** @returns lines that are complete now. @throws BrokenFrames */
  push(bytes: Uint8Array): ContainerLogLine[] {
    const lines: ContainerLogLine[] = [];
    for (let at = 0; at < bytes.length;) {
      if (this.form === 'text') {
        this.#stream = 'stdout';
        this.#payload(bytes.subarray(at), false, lines);
        break;
      }
      at +=
        this.#left === 0 ? this.#readHeader(bytes.subarray(at), lines) : this.#readPayload(bytes.subarray(at), lines);
    }
    return lines;
  }

  /** The next byte would belong to a frame that has begun. */
  get isWithinFrame(): boolean {
    return this.#left > 0 || this.#headerLength > 0;
  }

  /** Timestamps of lines that have begun, and whose end may still come. */
  get openTimes(): string[] {
    return Object.values(this.#open).flatMap(({ isBegun, isCut, time }) => (isBegun && !isCut ? (time ?? []) : []));
  }

  /** @returns what there is of the open lines of these times; their rest is skipped */
  giveUp(isGivenUp: (time: string) => boolean): ContainerLogLine[] {
    const lines: ContainerLogLine[] = [];
    for (const stream of ['stdout', 'stderr'] as const) {
      const { isBegun, isCut, time } = this.#open[stream];
      if (isBegun && !isCut && time !== undefined && isGivenUp(time)) this.#cut(stream, UNENDED_MARK, lines);
    }
    return lines;
  }

  /** @returns lines that were begun and never ended */
  end(): ContainerLogLine[] {
    const lines: ContainerLogLine[] = [];
    if (this.form === undefined) this.#becomeText(lines);
    this.#stream ??= 'stdout';
    if (this.#head.length > 0) this.#append(NOTHING, true, lines);
    for (const stream of ['stdout', 'stderr'] as const) if (this.#open[stream].isBegun) this.#emit(stream, lines);
    return lines;
  }

  #readHeader(bytes: Uint8Array, lines: ContainerLogLine[]): number {
    const taken = bytes.subarray(0, FRAME_HEADER - this.#headerLength);
    this.#header.set(taken, this.#headerLength);
    this.#headerLength += taken.length;
    if (!isFrameStart(this.#header.subarray(0, this.#headerLength))) {
      if (this.form === 'frames') throw new BrokenFrames(lines);
      this.#becomeText(lines);
      return taken.length;
    }
    if (this.#headerLength < FRAME_HEADER) return taken.length;
    this.form = 'frames';
    this.#headerLength = 0;
    this.#left = frameLength(this.#header, 0);
    this.#stream = STREAMS[this.#header[0] ?? 0];
    this.#isHead = true;
    return taken.length;
  }

  #becomeText(lines: ContainerLogLine[]): void {
    this.form = 'text';
    this.#stream = 'stdout';
    this.#payload(this.#header.slice(0, this.#headerLength), false, lines);
  }

  #readPayload(bytes: Uint8Array, lines: ContainerLogLine[]): number {
    const taken = bytes.subarray(0, this.#left);
    this.#left -= taken.length;
    this.#payload(taken, this.#left === 0, lines);
    return taken.length;
  }

  #payload(bytes: Uint8Array, isEnd: boolean, lines: ContainerLogLine[]): void {
    // Other streams hold Docker's own errors with the log.
    if (this.#stream === undefined) return;
    for (let from = 0; from < bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline === -1 ? bytes.length : newline + 1;
      this.#append(bytes.subarray(from, to), newline !== -1 || (isEnd && to === bytes.length), lines);
      from = to;
    }
  }

  /** @param isEnd of the piece: its line ends here, or its frame */
  #append(bytes: Uint8Array, isEnd: boolean, lines: ContainerLogLine[]): void {
    const stream = this.#stream ?? 'stdout';
    let line = this.#open[stream];
    let rest = bytes;
    if (this.#isHead) {
      const head = this.#head.length === 0 ? bytes : concat([this.#head, bytes]);
      if (!isEnd && head.length < LONGEST_TIME) {
        this.#head = head;
        return;
      }
      this.#head = NOTHING;
      const cut = cutTime(head);
      if (line.isBegun && cut.time !== line.time) this.#emit(stream, lines);
      line = this.#open[stream];
      if (!line.isBegun && cut.time !== undefined) line.time = cut.time;
      rest = cut.rest;
      this.#pieceLength = 0;
    }
    this.#isHead = isEnd;
    this.#pieceLength += rest.length;
    line.isBegun = true;
    const hasNewline = bytes.at(-1) === NEWLINE;
    this.#keep(stream, hasNewline ? rest.subarray(0, -1) : rest.slice(), lines);
    if (hasNewline || (isEnd && this.#pieceLength < DOCKER_PIECE)) this.#emit(stream, lines);
  }

  #keep(stream: LogStream, rest: Uint8Array, lines: ContainerLogLine[]): void {
    const line = this.#open[stream];
    if (line.isCut) return;
    const isTooLong = line.length + rest.length > MAX_LINE_BYTES;
    line.parts.push(rest.subarray(0, MAX_LINE_BYTES - line.length));
    line.length += rest.length;
    // Emitted at once, as its end may never arrive.
    if (isTooLong) this.#cut(stream, CUT_MARK, lines);
  }

  #cut(stream: LogStream, mark: string, lines: ContainerLogLine[]): void {
    const line = this.#open[stream];
    lines.push(logLine(stream, line, mark));
    line.isCut = true;
    line.parts = [];
  }

  #emit(stream: LogStream, lines: ContainerLogLine[]): void {
    const line = this.#open[stream];
    if (!line.isCut) lines.push(logLine(stream, line));
    this.#open[stream] = newLine();
  }
}

type OpenLine = { isBegun: boolean; isCut: boolean; time?: string; parts: Uint8Array[]; length: number };

const NOTHING = new Uint8Array();
const FRAME_HEADER = 8;
/** Docker splits a line where its buffer is full, and nowhere else (moby, daemon/logger/copier.go). */
const DOCKER_PIECE = 16_384;
const NEWLINE = 0x0a;
/** By the first byte of a frame. 0 is stdin, 3 an error of Docker's own. */
const STREAMS: readonly (LogStream | undefined)[] = [undefined, 'stdout', 'stderr', undefined];

function newLine(): OpenLine {
  return { isBegun: false, isCut: false, parts: [], length: 0 };
}

function isFrameStart(header: Uint8Array): boolean {
  return header.every((byte, index) => index > 3 || (index === 0 ? byte < STREAMS.length : byte === 0));
}

function frameLength(body: Uint8Array, at: number): number {
  return new DataView(body.buffer, body.byteOffset + at + 4, 4).getUint32(0);
}

/** The first offset from which frames follow each other to the very end; only a beginning may have an incomplete last one. */
function firstFrame(body: Uint8Array): number | undefined {
  // A container may print what looks like many empty frames: no offset is walked from twice.
  const isDeadEnd = new Uint8Array(body.length);
  for (let start = 0; start + FRAME_HEADER <= body.length; start++) {
    let at = start;
    while (at + FRAME_HEADER <= body.length && isDeadEnd[at] === 0 && isLogFrameAt(body, at)) {
      isDeadEnd[at] = 1;
      at += FRAME_HEADER + frameLength(body, at);
    }
    if (at > start && (at === body.length || (start === 0 && at + FRAME_HEADER > body.length))) return start;
  }
  return undefined;
}

function isLogFrameAt(body: Uint8Array, at: number): boolean {
  return STREAMS[body[at] ?? 0] !== undefined && isFrameStart(body.subarray(at, at + 4));
}

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) /;
/** As above, with its space. */
const LONGEST_TIME = 36;
const UTF8 = new TextDecoder();
const LATIN1 = new TextDecoder('latin1');

function cutTime(piece: Uint8Array): { time?: string; rest: Uint8Array } {
  const time = TIME.exec(LATIN1.decode(piece.subarray(0, LONGEST_TIME)))?.[1];
  return time === undefined ? { rest: piece } : { time, rest: piece.subarray(time.length + 1) };
}

/** @param cutMark of a line whose end is missing */
function logLine(stream: LogStream, { time, parts }: OpenLine, cutMark?: string): ContainerLogLine {
  // A character that the cut splits is dropped.
  const text =
    cutMark === undefined
      ? UTF8.decode(concat(parts))
      : new TextDecoder().decode(concat(parts), { stream: true }) + cutMark;
  // Postgres cannot store U+0000 in text.
  const line = text.replace(/\r$/, '').replaceAll('\0', '\uFFFD');
  return { stream, ...(time !== undefined && { time }), line };
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const [first = NOTHING, ...others] = parts;
  if (others.length === 0) return first;
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
