import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { frame, stampedAt } from '../../test/support/logs.js';
import { LogUpload } from './log-upload.js';
import { GAP_TEXT } from './new-chunks.js';
import type { LogTarget, NewLines, StoredState } from './upload-statements.js';

type Printed = { readonly stream: 'stdout' | 'stderr'; readonly at: number; readonly text: string };

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

  finish(upload: LogUpload): string {
    while (upload.pendingBytes > 0) this.store(upload);
    return upload.nextSince(0);
  }
}

describe('uploads of one log', () => {
  const line = fc.record({
    stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
    // Seconds in nanosecond steps: many lines of one stamp, and pauses longer than the overlap.
    pause: fc.oneof(fc.constant(0), fc.nat(3), fc.integer({ min: 1e9, max: 4e9 })),
    text: fc.string({ maxLength: 12 }),
  });
  const logs = fc.array(line, { minLength: 1, maxLength: 40 }).map((lines) => {
    let at = 0;
    return lines.map(({ stream, pause, text }, index): Printed => {
      at += pause;
      return { stream, at, text: `${index} ${text.replaceAll(/[\n\r\0]/g, ' ')}` };
    });
  });

  it('store each line once and in order, wherever they break off, overlap and get in each other’s way', () => {
    fc.assert(
      fc.property(logs, fc.infiniteStream(fc.nat()), (printed, random) => {
        const store = new Store();
        const next = (max: number) => (random.next().value as number) % max;
        const known = ['0'];
        for (let round = 0; round < 12; round += 1) {
          // Two at once, each from some place the server named, over a log that has grown to some length.
          const both = [0, 1].map(() => {
            const since = known[Math.max(0, known.length - 1 - next(3))]!;
            const bytes = docker(printed.slice(0, next(printed.length) + 1), since);
            return { upload: store.open(since), bytes: bytes.subarray(0, bytes.length - next(bytes.length + 1)) };
          });
          for (const { upload, bytes } of both) {
            for (let at = 0; at < bytes.length;) {
              const length = next(200) + 1;
              upload.add(bytes.subarray(at, at + length));
              at += length;
              if (next(3) === 0) store.store(upload);
              if (next(3) === 0) store.store(both[next(2)]!.upload);
            }
          }
          for (const { upload } of both) known.push(store.finish(upload));
        }
        let since = known.at(-1)!;
        for (let round = 0; round < 2; round += 1) {
          const upload = store.open(since);
          upload.add(docker(printed, since));
          since = store.finish(upload);
        }
        const expected = (stream: string) => printed.filter((p) => p.stream === stream).map(format);
        for (const stream of ['stdout', 'stderr']) {
          expect(store.lines.filter((text) => text.includes(` 1.1 ${stream} `))).toEqual(expected(stream));
        }
      }),
      { numRuns: 500 },
    );
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

  /** What Docker answers: everything stamped at or after `since`, in the order of its file. */
  function docker(printed: readonly Printed[], since: string): Buffer {
    const from = nanoseconds(since);
    const asked = printed.filter(({ at }) => BASE + BigInt(at) >= from);
    return Buffer.concat(
      asked.map(({ stream, at, text }) => frame(stream === 'stdout' ? 1 : 2, `${stamp(at)} ${text}\n`)),
    );
  }

  function sinceOf(second: number): string {
    return `${(BASE + BigInt(second) * 1_000_000_000n) / 1_000_000_000n}.000000000`;
  }
});

const BASE = BigInt(Date.UTC(2026, 0, 5, 10)) * 1_000_000n;

function nanoseconds(since: string): bigint {
  const [seconds = '0', fraction = ''] = since.split('.');
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}
