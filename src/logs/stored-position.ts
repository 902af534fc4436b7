import type { ContainerLogLine, LogStream } from '../docker/container-logs.js';

/** The latest stored line of a stream: the `nth` of those stamped `at`. */
export type StoredPosition = {
  /** RFC 3339, nine digits and Z, so that order of text is order of time. Never goes back, even when a clock does. */
  readonly at: string;
  readonly nth: number;
  /** Earliest stamp of those `nth` lines: below `at` only after the instance's clock was set back. */
  readonly low: string;
};

export type StoredPositions = { readonly [stream in LogStream]?: StoredPosition };

/** A line with its place among the lines of its stream, the same in every upload that holds it. */
export type PlacedLine = StoredPosition & { readonly stream: LogStream; readonly text: string };

/** What an upload has shown so far. */
export type UploadExtent = {
  /** Where it began: `<seconds>.<nine digits>`. */
  readonly since: string;
  /**
   * The latest lines it held. Another upload may have got further, but this one does not know which lines are open
   * there.
   */
  readonly latest: StoredPositions;
  /** It went on in silence for so long that nothing stamped before its latest line can still come. */
  readonly isQuiet: boolean;
  /** Stamp in the middle of its bytes, if it is a long one. */
  readonly middle: string | undefined;
  /** Stamps of lines that have begun, and whose ends the next upload may hold. */
  readonly open: readonly string[];
};

/**
 * Gives the lines of one upload their places. Docker sends all lines from a time on, in the order of its file, so the
 * nth line of a stamp is the nth in every upload. Where the clock was set back, lines count as further ones of the
 * latest stamp before that.
 */
export class LinePlaces {
  readonly #latest: Record<LogStream, StoredPosition | undefined> = { stdout: undefined, stderr: undefined };

  place({ stream, time, line }: ContainerLogLine): PlacedLine {
    const before = this.#latest[stream];
    const stamp = normalizeTime(time ?? '');
    const at = stamp !== undefined && stamp > (before?.at ?? '') ? stamp : (before?.at ?? EPOCH);
    const isFurther = before?.at === at;
    const low = stamp ?? at;
    const latest = {
      at,
      nth: isFurther ? before.nth + 1 : 1,
      low: isFurther && before.low < low ? before.low : low,
    };
    this.#latest[stream] = latest;
    return { stream, text: line, ...latest };
  }

  /** The latest place of each stream. */
  get latest(): StoredPositions {
    const { stdout, stderr } = this.#latest;
    return { ...(stdout && { stdout }), ...(stderr && { stderr }) };
  }
}

export function isStored(line: PlacedLine, stored: StoredPositions): boolean {
  const latest = stored[line.stream];
  return latest !== undefined && (line.at < latest.at || (line.at === latest.at && line.nth <= latest.nth));
}

export function isLatest({ stream, at, nth }: PlacedLine, stored: StoredPositions): boolean {
  return stored[stream]?.at === at && stored[stream].nth === nth;
}

/** What is stored once `lines`, new ones in their order, are. */
export function advance(stored: StoredPositions, lines: readonly PlacedLine[]): StoredPositions {
  const next: { [stream in LogStream]?: StoredPosition } = { ...stored };
  for (const { stream, at, nth, low } of lines) next[stream] = { at, nth, low };
  return next;
}

/**
 * From when on the next upload requests lines, `<seconds>.<nine digits>`. Two seconds are sent again, as stdout and
 * stderr get their stamps side by side and their order in the file may differ; and all since a clock was set back, as
 * places count from there. Of a container that fell silent nothing is sent again, except a line it has not ended.
 */
export function nextSince({ since, latest, isQuiet, middle, open }: UploadExtent): string {
  const positions = [latest.stdout, latest.stderr].flatMap((position) => position ?? []);
  let next = nanosecondsOfSince(since);
  if (positions.length > 0) {
    next = greatest(positions.map(({ at }) => nanosecondsOf(at))) + (isQuiet ? 1n : -OVERLAP);
    for (const { at, low } of positions) {
      if (low < at && nanosecondsOf(at) + OVERLAP >= next) next = least([next, nanosecondsOf(low) - OVERLAP]);
    }
  }
  // Docker stamps all pieces of a line alike: from a later time on it sends none of them.
  next = least([next, ...open.map(nanosecondsOf)]);
  if (middle !== undefined) next = greatest([next, earliestNext(since, middle)]);
  return formatSince(greatest([0n, next]));
}

/** Whether the upload behind one that began at `since` and is this long begins too late for a line stamped `at`. */
export function isLeftBehind(at: string, since: string, middle: string): boolean {
  return nanosecondsOf(at) < earliestNext(since, middle);
}

/** An upload that is full of what is sent again would be followed by the same one for ever. */
function earliestNext(since: string, middle: string): bigint {
  return greatest([nanosecondsOf(middle), nanosecondsOfSince(since) + 1n]);
}

/** Whether an upload that begins at `since` must hold the line of this position, unless Docker dropped it. */
export function wasRequested({ low }: StoredPosition, since: string): boolean {
  return nanosecondsOfSince(since) <= nanosecondsOf(low);
}

/** @returns milliseconds since 1970 */
export function timeOf(at: string): number {
  return Date.parse(`${at.slice(0, SECONDS_END)}Z`) + Number(at.slice(SECONDS_END + 1, SECONDS_END + 4));
}

export const EPOCH = '1970-01-01T00:00:00.000000000Z';
const SECONDS_END = '1970-01-01T00:00:00'.length;
const SECOND = 1_000_000_000n;
const OVERLAP = 2n * SECOND;
const NORMAL = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const ANY = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Docker writes nine digits and Z; anything else that is a time is brought into that form. */
export function normalizeTime(time: string): string | undefined {
  if (NORMAL.test(time)) return Number.isNaN(timeOf(time)) ? undefined : time;
  const [, seconds = '', fraction = '', zone = ''] = ANY.exec(time) ?? [];
  const ms = Date.parse(`${seconds}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  const utc = new Date(ms).toISOString().slice(0, SECONDS_END);
  return /^\d{4}-/.test(utc) ? `${utc}.${fraction.padEnd(9, '0')}Z` : undefined;
}

function nanosecondsOf(at: string): bigint {
  return (BigInt(Date.parse(`${at.slice(0, SECONDS_END)}Z`)) / 1000n) * SECOND + BigInt(at.slice(SECONDS_END + 1, -1));
}

function nanosecondsOfSince(since: string): bigint {
  const [seconds = '0', fraction = ''] = since.split('.');
  return BigInt(seconds) * SECOND + BigInt(fraction.padEnd(9, '0'));
}

function formatSince(nanoseconds: bigint): string {
  return `${nanoseconds / SECOND}.${String(nanoseconds % SECOND).padStart(9, '0')}`;
}

function greatest(values: readonly bigint[]): bigint {
  return values.reduce((max, value) => (value > max ? value : max));
}

function least(values: readonly bigint[]): bigint {
  return values.reduce((min, value) => (value < min ? value : min));
}
