import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  BrokenFrames,
  CUT_MARK,
  demultiplexLogs,
  LogDemultiplexer,
  MAX_LINE_BYTES,
  UNENDED_MARK,
} from './container-logs.js';

const frame = (stream: number, text: string | Uint8Array) => {
  const payload = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const bytes = new Uint8Array(8 + payload.length);
  bytes[0] = stream;
  new DataView(bytes.buffer).setUint32(4, payload.length);
  bytes.set(payload, 8);
  return bytes;
};
const concat = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const time = '2026-01-05T10:00:00.123456789Z';
/** Docker's buffer for a line. */
const PIECE = 16_384;

describe('demultiplexLogs', () => {
  it('reads frames of both streams', () => {
    const body = concat(frame(1, `${time} hello\n`), frame(2, `${time} oops\r\n`), frame(1, `${time} \n`));
    expect(demultiplexLogs(body)).toEqual([
      { stream: 'stdout', time, line: 'hello' },
      { stream: 'stderr', time, line: 'oops' },
      { stream: 'stdout', time, line: '' },
    ]);
  });

  it('joins the frames of a long line, also when a character is cut in two', () => {
    const euro = new TextEncoder().encode('€');
    const start = concat(new TextEncoder().encode(`${time} ${'a'.repeat(PIECE - 2)}`), euro.subarray(0, 2));
    const rest = concat(new TextEncoder().encode(`${time} `), euro.subarray(2), new TextEncoder().encode('b\n'));
    expect(demultiplexLogs(concat(frame(1, start), frame(2, `${time} x\n`), frame(1, rest)))).toEqual([
      { stream: 'stderr', time, line: 'x' },
      { stream: 'stdout', time, line: `${'a'.repeat(PIECE - 2)}€b` },
    ]);
  });

  it('reads the plain text of a terminal', () => {
    expect(demultiplexLogs(new TextEncoder().encode(`${time} one\r\ntwo`))).toEqual([
      { stream: 'stdout', time, line: 'one' },
      { stream: 'stdout', line: 'two' },
    ]);
    expect(demultiplexLogs(new Uint8Array())).toEqual([]);
  });

  it('finds the first whole frame of an answer that lost its beginning', () => {
    const lines = fc.array(fc.tuple(fc.constantFrom(1, 2), fc.stringMatching(/^[ -~]{0,40}$/)), { minLength: 2 });
    fc.assert(
      fc.property(lines, fc.nat(), (written, cut) => {
        const frames = written.map(([stream, line]) => frame(stream, `${time} ${line}\n`));
        const expected = written.map(([stream, line]) => ({ stream: stream === 2 ? 'stderr' : 'stdout', time, line }));
        const body = concat(...frames);
        expect(demultiplexLogs(body)).toEqual(expected);
        const lost = cut % (body.length - frames.at(-1)!.length + 1);
        let boundary = 0;
        let index = 0;
        while (boundary < lost) boundary += frames[index++]!.length;
        expect(demultiplexLogs(body.subarray(lost))).toEqual(expected.slice(index));
      }),
    );
  });

  it('keeps no NUL, and is not led astray by a container that prints frames', () => {
    const [line] = demultiplexLogs(frame(1, 'a\0b\n'));
    expect(line?.line).toBe('a\uFFFDb');
    const empty = Array.from({ length: 20_000 }, () => frame(1, ''));
    const text = new TextEncoder().encode('x');
    expect(demultiplexLogs(concat(text, ...empty, text))).toHaveLength(1);
  });
});

describe('LogDemultiplexer', () => {
  const line = fc.record({
    stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
    text: fc.oneof(
      { weight: 4, arbitrary: fc.string({ unit: 'grapheme', maxLength: 60 }) },
      { weight: 1, arbitrary: fc.tuple(fc.string({ maxLength: 20 }), fc.nat(700)).map(([s, n]) => `${s}€`.repeat(n)) },
      // About as long as one, two and three buffers of Docker's.
      {
        weight: 2,
        arbitrary: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat(4)).map(([n, d]) => 'x'.repeat(n * PIECE - d)),
      },
    ),
  });

  it('reads the same lines however frames and network cut them', () => {
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 12 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 400 })),
        (all, cuts) => {
          const texts = all.map(({ stream, text }) => ({ stream, line: text.replaceAll(/[\n\r\0]/g, ' ') }));
          const whole = concat(...texts.flatMap(({ stream, line }) => framesAsDocker(stream, `${line}\n`)));
          const demultiplexer = new LogDemultiplexer();
          const read = pieces(whole, cuts).flatMap((piece) => demultiplexer.push(piece));
          expect(read).toEqual(texts.map(({ stream, line }) => ({ stream, time, line })));
          expect(demultiplexer.end()).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('reads the last line of each program that ran, newline or not, and joins it with none of the next', () => {
    // Bytes that end anywhere: within a character, or between a carriage return and its newline.
    const ending = fc.constantFrom('', '\n', '\r', '\r\n', '€', '\u00e9\r');
    const run = fc.record({
      lines: fc.array(line, { maxLength: 4 }),
      last: fc.array(fc.tuple(line, ending), { maxLength: 2 }),
    });
    fc.assert(
      fc.property(
        fc.array(run, { maxLength: 4 }),
        fc.nat(2),
        fc.infiniteStream(fc.integer({ min: 1, max: 9_000 })),
        (runs, cutOff, cuts) => {
          const frames: Uint8Array[] = [];
          const expected = { stdout: [] as object[], stderr: [] as object[] };
          let second = 10;
          const print = (stream: 'stdout' | 'stderr', bytes: Uint8Array) => {
            const at = time.replace(':00.', `:${(second += 1)}.`);
            frames.push(...framesAsDocker(stream, bytes, at));
            const text = new TextDecoder().decode(bytes).replace(/\n$/, '').replace(/\r$/, '');
            expected[stream].push({ stream, time: at, line: text });
          };
          for (const { lines, last } of runs) {
            for (const { stream, text } of lines) print(stream, utf8(`${text.replaceAll(/[\n\r\0]/g, ' ')}\n`));
            // One of each stream at most: a stream ends once.
            const ends = new Map(
              last.map(([{ stream, text }, end]) => [stream, `${text.replaceAll(/[\n\r\0]/g, ' ')}${end}`]),
            );
            for (const [stream, text] of ends) {
              const bytes = utf8(text).subarray(0, text.endsWith('€') ? -cutOff || undefined : undefined);
              if (bytes.length > 0) print(stream, bytes);
            }
          }
          const demultiplexer = new LogDemultiplexer();
          const read = pieces(concat(...frames), cuts).flatMap((piece) => demultiplexer.push(piece));
          const left = demultiplexer.openTimes;
          const ended = demultiplexer.end();
          for (const stream of ['stdout', 'stderr'] as const)
            expect([...read, ...ended].filter((read) => read.stream === stream)).toEqual(expected[stream]);
          // Only what fills Docker's buffer to the last byte might go on.
          expect(ended.map((line) => line.time)).toEqual(left);
          expect(ended.every(({ line }) => utf8(line).length >= PIECE - 1)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('tells a last line without a newline as soon as its frame is complete', () => {
    const demultiplexer = new LogDemultiplexer();
    const whole = concat(frame(2, `${time} panic: é`), frame(1, `${time} half`));
    expect(demultiplexer.push(whole.subarray(0, whole.length - 1))).toEqual([
      { stream: 'stderr', time, line: 'panic: é' },
    ]);
    expect([demultiplexer.isWithinFrame, demultiplexer.openTimes]).toEqual([true, []]);
    expect(demultiplexer.push(whole.subarray(whole.length - 1))).toEqual([{ stream: 'stdout', time, line: 'half' }]);
    expect([demultiplexer.isWithinFrame, demultiplexer.end()]).toEqual([false, []]);
  });

  it('gives up lines whose ends cannot come any more, and tells nothing more of them', () => {
    const demultiplexer = new LogDemultiplexer();
    const later = time.replace('10:00', '11:00');
    const full = 'x'.repeat(PIECE);
    demultiplexer.push(concat(frame(1, `${time} ${full}`), frame(2, `${later} ${full}`)));
    expect(demultiplexer.openTimes).toEqual([time, later]);
    const givenUp = demultiplexer.giveUp((at) => at < later);
    expect(givenUp).toEqual([{ stream: 'stdout', time, line: full + UNENDED_MARK }]);
    expect(demultiplexer.openTimes).toEqual([later]);
    expect(demultiplexer.push(concat(frame(1, `${time} rest\n`), frame(2, `${later} rest\n`)))).toEqual([
      { stream: 'stderr', time: later, line: `${full}rest` },
    ]);
  });

  it('reads plain text the same in whatever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 50 })),
        fc.infiniteStream(fc.integer({ min: 1, max: 60 })),
        (all, cuts) => {
          const texts = all.map((text) => text.replaceAll(/[\n\r\0]/g, ' '));
          const whole = new TextEncoder().encode(texts.map((text) => `${time} ${text}\r\n`).join(''));
          const demultiplexer = new LogDemultiplexer();
          const read = pieces(whole, cuts).flatMap((piece) => demultiplexer.push(piece));
          expect([...read, ...demultiplexer.end()]).toEqual(texts.map((line) => ({ stream: 'stdout', time, line })));
        },
      ),
    );
  });

  it('takes anything at all, or says that the frames are broken', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.tuple(fc.constantFrom(0, 1, 2, 3), fc.uint8Array({ maxLength: 40 })).map(([s, payload]) => frame(s, payload)),
    );
    fc.assert(
      fc.property(fc.array(bytes), (all) => {
        const demultiplexer = new LogDemultiplexer();
        try {
          for (const piece of all) demultiplexer.push(piece);
        } catch (error) {
          expect(error).toBeInstanceOf(BrokenFrames);
        }
      }),
    );
  });

  it('tells of a line that is too long at once, and not of its end', () => {
    const demultiplexer = new LogDemultiplexer();
    // A frame that claims to be 4 GiB long.
    const header = frame(1, '').fill(255, 4);
    expect(demultiplexer.push(concat(header, new TextEncoder().encode(`${time} `)))).toEqual([]);
    const kilobyte = new TextEncoder().encode('é'.repeat(512));
    const read = Array.from({ length: 300 }, () => demultiplexer.push(kilobyte)).flat();
    expect(read).toEqual([{ stream: 'stdout', time, line: `${'é'.repeat(MAX_LINE_BYTES / 2)}${CUT_MARK}` }]);
    expect(demultiplexer.push(new TextEncoder().encode(`end\n${time} next\n`))).toEqual([
      { stream: 'stdout', time, line: 'next' },
    ]);
  });

  it('passes over what Docker says of itself', () => {
    const demultiplexer = new LogDemultiplexer();
    const body = concat(frame(3, 'Error grabbing logs\n'), frame(0, ''), frame(1, `${time} x\n`));
    expect(demultiplexer.push(body)).toEqual([{ stream: 'stdout', time, line: 'x' }]);
    expect(() => demultiplexer.push(new TextEncoder().encode('HTTP/1.1'))).toThrow(BrokenFrames);
  });

  /** Docker repeats the timestamp with every piece of a line that is longer than its buffer. */
  function framesAsDocker(stream: 'stdout' | 'stderr', printed: string | Uint8Array, at = time): Uint8Array[] {
    const bytes = typeof printed === 'string' ? utf8(printed) : printed;
    const count = Math.ceil(bytes.length / PIECE);
    return Array.from({ length: count }, (_, index) =>
      frame(stream === 'stdout' ? 1 : 2, concat(utf8(`${at} `), bytes.subarray(index * PIECE, (index + 1) * PIECE))),
    );
  }

  function pieces(bytes: Uint8Array, cuts: fc.Stream<number>): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const length = cuts.next().value as number;
      all.push(bytes.subarray(at, at + length));
      at += length;
    }
    return all;
  }

  function utf8(text: string): Uint8Array {
    return new TextEncoder().encode(text);
  }
});
