import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { frame, stampedAt } from '../../test/support/logs.js';
import { UNENDED_MARK } from '../docker/container-logs.js';
import { LogUpload } from './log-upload.js';
import { GAP_TEXT } from './new-chunks.js';
import type { LogTarget, NewLines, StoredState } from './upload-statements.js';

type Printed = { readonly stream: 'stdout' | 'stderr'; readonly at: number; readonly text: string };
/** What Docker has of a line, or a piece of one. */
type Entry = Printed & { readonly bytes: Buffer; readonly isBegin: boolean };

/** What the database does: one row per attempt, whose version is the fence. */
class Store {
  state: StoredState = { version: 0, stored: {} };
  readonly lines: string[] = [];

  save(lines: NewLines): boolean {
    if (lines.version !== this.state.version) return false;
    this.state = { version: lines.version + 1, stored: lines.stored };
    this.lines.push(...lines.chunks.flatMap(({ content }) => content.toString().split('\n').slice(0, -1)));
    return true;
  }

  open(since: string): LogUpload {
    const target: LogTarget = {
      attemptId: 'a',
      jobId: 'j',
      deployment: 1,
      attempt: 1,
      hasEnded: false,
      isFollowing: true,
      isReplaced: false,
      ...this.state,
    };
    return new LogUpload(target, since);
  }

  /** @returns whether it had to give way to another upload */
  store(upload: LogUpload): boolean {
    const offer = upload.offer();
    if (!offer) return false;
    if (this.save(offer)) upload.stored();
    else upload.rebase(this.state);
    return offer.version !== this.state.version - 1;
  }

  /** @param isWhole of a flush */
  finish(upload: LogUpload, { isWhole = false, silentMs = 0 } = {}): string {
    upload.end(isWhole);
    while (upload.pendingBytes > 0) this.store(upload);
    return upload.nextSince(silentMs);
  }
}

describe('uploads of one log', () => {
  const line = fc.record({
    stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
    // Seconds in nanosecond steps: many lines of one stamp, and pauses longer than the overlap.
    pause: fc.oneof(fc.constant(0), fc.nat(3), fc.integer({ min: 1e9, max: 4e9 })),
    text: fc.string({ maxLength: 12 }),
    // Of Docker's buffer: what is longer comes in pieces, and the other stream may print in between.
    buffers: fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(1, 1.5, 2) }),
    isWaiting: fc.boolean(),
    hasNewline: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  });
  const logs = fc.array(line, { minLength: 1, maxLength: 40 }).map((lines) => {
    let at = 0;
    let long = 0;
    const printed: Printed[] = [];
    const entries: Entry[] = [];
    const waiting: { stdout: Entry[]; stderr: Entry[] } = { stdout: [], stderr: [] };
    for (const [index, { stream, pause, text, buffers, isWaiting, hasNewline }] of lines.entries()) {
      // A line behind one that was not ended is of another program, and of another moment.
      at += pause + 1 - Number(hasNewline);
      const begin = `${index} ${text.replaceAll(/[\n\r\0]/g, ' ')}`;
      // Together less than what makes an upload a long one.
      const isLong = buffers > 0 && (long += 1) < 7;
      const whole = { stream, at, text: isLong ? begin.padEnd(buffers * PIECE, 'x') : begin };
      printed.push(whole);
      const [first, ...rest] = piecesOf(whole, hasNewline);
      entries.push(...waiting[stream].splice(0), first!);
      if (isWaiting) waiting[stream].push(...rest);
      else entries.push(...rest);
      at += 1 - Number(hasNewline);
    }
    return { printed, entries: [...entries, ...waiting.stdout, ...waiting.stderr] };
  });

  it('store each line once, whole and in order, wherever they break off, overlap and get in each other’s way', () => {
    fc.assert(
      fc.property(logs, fc.infiniteStream(fc.nat()), ({ printed, entries }, random) => {
        const store = new Store();
        const next = (max: number) => (random.next().value as number) % max;
        const known = ['0'];
        for (let round = 0; round < 12; round += 1) {
          // Two at once, each from some place the server named, over a log that has grown to some length.
          const both = [0, 1].map(() => {
            const since = known[Math.max(0, known.length - 1 - next(3))]!;
            const length = next(entries.length) + 1;
            const bytes = answered(entries.slice(0, length), since);
            const cut = next(2) * next(bytes.length + 1);
            // Silence means that what comes next is printed later.
            const later = entries.slice(length).find(({ isBegin }) => isBegin)?.at ?? Infinity;
            const isQuiet = next(2) === 0 && cut === 0 && entries.slice(0, length).every(({ at }) => at < later);
            return { upload: store.open(since), bytes: bytes.subarray(0, bytes.length - cut), isQuiet };
          });
          for (const { upload, bytes } of both) {
            for (let at = 0; at < bytes.length;) {
              const length = next(20_000) + 1;
              upload.add(bytes.subarray(at, at + length));
              at += length;
              if (next(3) === 0) store.store(upload);
              if (next(3) === 0) store.store(both[next(2)]!.upload);
            }
          }
          for (const { upload, isQuiet } of both) known.push(store.finish(upload, { silentMs: isQuiet ? 2_000 : 0 }));
        }
        let since = known.at(-1)!;
        for (let round = 0; round < 2; round += 1) {
          const upload = store.open(since);
          upload.add(answered(entries, since));
          since = store.finish(upload, { isWhole: round === 1 });
        }
        const expected = (stream: string) => printed.filter((p) => p.stream === stream).map(format);
        for (const stream of ['stdout', 'stderr']) {
          expect(store.lines.filter((text) => text.includes(` 1.1 ${stream} `))).toEqual(expected(stream));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('ask again for a line that was not ended, however long the other stream went on and both fell silent', () => {
    const store = new Store();
    const [first, rest] = piecesOf({ stream: 'stdout', at: 1e9, text: 'x'.repeat(PIECE + 10) }, true);
    const others = [10, 20, 30].map((second) => piecesOf({ stream: 'stderr', at: second * 1e9, text: 's' }, true)[0]!);
    let since = '0';
    for (let length = 1; length <= others.length; length += 1) {
      const upload = store.open(since);
      upload.add(answered([first!, ...others.slice(0, length)], since));
      since = store.finish(upload, { silentMs: 2_000 });
      expect(since).toBe(sinceOf(1));
    }
    const last = store.open(since);
    last.add(answered([first!, ...others, rest!], since));
    expect(store.finish(last, { silentMs: 2_000 })).toBe(sinceOf(30).replace(/0$/, '1'));
    expect(store.lines).toHaveLength(4);
    expect(store.lines.at(-1)).toBe(format({ stream: 'stdout', at: 1e9, text: 'x'.repeat(PIECE + 10) }));
  });

  it('leave a line behind that was not ended in a whole flood of the other stream, and say so', () => {
    const store = new Store();
    const [first, rest] = piecesOf({ stream: 'stdout', at: 1e9, text: 'x'.repeat(PIECE + 10) }, true);
    const flood = Array.from({ length: 400 }, (_, n) =>
      piecesOf({ stream: 'stderr', at: (10 + n) * 1e9, text: `${n} ${'y'.repeat(1_000)}` }, true),
    ).flat();
    const upload = store.open('0');
    const bytes = answered([first!, ...flood], '0');
    for (let at = 0; at < bytes.length; at += 65_536) upload.add(bytes.subarray(at, at + 65_536));
    const since = store.finish(upload);
    expect(nanoseconds(since)).toBeGreaterThan(nanoseconds(sinceOf(200)));
    const next = store.open(since);
    next.add(answered([first!, ...flood, rest!], since));
    store.finish(next);
    expect(store.lines).toHaveLength(401);
    expect(store.lines.filter((text) => text.includes(' stdout '))).toEqual([
      format({ stream: 'stdout', at: 1e9, text: 'x'.repeat(PIECE) + UNENDED_MARK }),
    ]);
  });

  it('lose and double nothing when the clock of the instance is set back', () => {
    const store = new Store();
    const at = (second: number, text: string): Printed => ({ stream: 'stdout', at: second * 1e9, text });
    const printed = [at(100, 'a'), at(101, 'b'), at(40, 'c'), at(41, 'd'), at(99, 'e'), at(102, 'f'), at(103, 'g')];
    let since = '0';
    // The one that is under way when it happens: later ones get from Docker what is stamped after they begin.
    for (let length = 3; length <= printed.length; length += 1) {
      const upload = store.open(since);
      upload.add(docker(printed.slice(0, length), since));
      since = store.finish(upload);
    }
    expect(store.lines.map((text) => text.at(-1)).join('')).toBe('abcdefg');
    expect(since).toBe(sinceOf(101));
  });

  it('get on, however much of an upload is sent again', () => {
    const store = new Store();
    // Half a second of a flood is more than an upload may have, and every upload overlaps by two.
    const printed = Array.from({ length: 40_000 }, (_, i): Printed => ({
      stream: 'stdout',
      at: i * 1e4,
      text: `${i} ${'x'.repeat(40)}`,
    }));
    let since = '0';
    let uploads = 0;
    while (store.lines.length < printed.length) {
      const upload = store.open(since);
      const bytes = docker(printed, since).subarray(0, 1_048_576);
      for (let at = 0; at < bytes.length; at += 65_536) upload.add(bytes.subarray(at, at + 65_536));
      since = store.finish(upload);
      uploads += 1;
      expect(uploads).toBeLessThan(12);
    }
    expect(store.lines).toEqual(printed.map(format));
  });

  it('get past a line that is longer than an upload', () => {
    const store = new Store();
    const stamp = `${stampedAt(1)} `;
    const pieces = Array.from({ length: 100 }, () => frame(1, stamp + 'x'.repeat(16_384)));
    const after = frame(1, `${stampedAt(2)} after\n`);
    let since = '0';
    for (let uploads = 0; store.lines.length < 2; uploads += 1) {
      const upload = store.open(since);
      const isPast = nanoseconds(since) > nanoseconds(sinceOf(1));
      const bytes = Buffer.concat(isPast ? [after] : [...pieces, frame(1, `${stamp}\n`), after]).subarray(0, 1_048_576);
      for (let at = 0; at < bytes.length; at += 65_536) upload.add(bytes.subarray(at, at + 65_536));
      since = store.finish(upload);
      expect(uploads).toBeLessThan(5);
    }
    expect(store.lines.map((text) => text.length > 1000)).toEqual([true, false]);
  });

  it('say where lines are missing that Docker dropped before they were fetched, and only there', () => {
    const store = new Store();
    const at = (second: number): Printed => ({ stream: 'stdout', at: second * 1e9, text: `s${second}` });
    const one = store.open('0');
    one.add(docker([at(1), at(2)], '0'));
    const since = store.finish(one);
    const two = store.open(since);
    two.add(docker([at(50), at(51)], since));
    const next = store.finish(two);
    const three = store.open(next);
    three.add(docker([at(50), at(51), at(52)], next));
    store.finish(three);
    expect(three.nextSince(2_000)).toBe(sinceOf(52).replace(/0$/, '1'));
    expect(store.lines.map((text) => text.split(' stdout ')[1])).toEqual(['s1', 's2', GAP_TEXT, 's50', 's51', 's52']);
  });

  it('leave a line without a time where it stands', () => {
    const store = new Store();
    for (const since of ['0', '0']) {
      const upload = store.open(since);
      upload.add(
        Buffer.concat([
          frame(1, 'no time\n'),
          frame(1, `${stampedAt(1)} a\n`),
          frame(1, '9999-99-99T99:99:99.999999999Z b\n'),
        ]),
      );
      store.finish(upload);
    }
    expect(store.lines.map((text) => text.split(' stdout ')[1])).toEqual(['no time', 'a', 'b']);
  });

  function format({ stream, at, text }: Printed): string {
    return `${stamp(at)} 1.1 ${stream} ${text}`;
  }

  function stamp(at: number): string {
    return stampedAt(Math.floor(at / 1e9), at % 1e9);
  }

  function docker(printed: readonly Printed[], since: string): Buffer {
    return answered(
      printed.flatMap((line) => piecesOf(line, true)),
      since,
    );
  }

  /** What Docker sends: everything stamped at or after `since`, in the order of its file. */
  function answered(entries: readonly Entry[], since: string): Buffer {
    const from = nanoseconds(since);
    const requested = entries.filter(({ at }) => BASE + BigInt(at) >= from);
    return Buffer.concat(
      requested.map(({ stream, at, bytes }) =>
        frame(stream === 'stdout' ? 1 : 2, Buffer.concat([Buffer.from(`${stamp(at)} `), bytes])),
      ),
    );
  }

  /** Docker splits a line where its buffer is full. */
  function piecesOf(line: Printed, hasNewline: boolean): Entry[] {
    const whole = Buffer.from(line.text + (hasNewline ? '\n' : ''));
    return Array.from({ length: Math.ceil(whole.length / PIECE) }, (_, index) => ({
      ...line,
      isBegin: index === 0,
      bytes: whole.subarray(index * PIECE, (index + 1) * PIECE),
    }));
  }

  function sinceOf(second: number): string {
    return `${(BASE + BigInt(second) * 1_000_000_000n) / 1_000_000_000n}.000000000`;
  }
});

const PIECE = 16_384;
const BASE = BigInt(Date.UTC(2026, 0, 5, 10)) * 1_000_000n;

function nanoseconds(since: string): bigint {
  const [seconds = '0', fraction = ''] = since.split('.');
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}
