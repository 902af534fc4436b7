import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { stampedAt } from '../../test/support/logs.js';
import { chunksOf, GAP_TEXT } from './new-chunks.js';

const LINE = fc.record({
  stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
  // The stamps of two streams are in no common order.
  seconds: fc.nat(600),
  text: fc.string({ maxLength: 40 }).map((text) => text.replace(/\n/g, ' ')),
  repeats: fc.oneof(fc.constant(1), fc.integer({ min: 100, max: 2_000 })),
  isAfterGap: fc.boolean(),
});

describe('chunks of new lines', () => {
  it('hold every line once, in order, and know their extent, of time and of each stream', () => {
    fc.assert(
      fc.property(fc.array(LINE, { maxLength: 30 }), (drawn) => {
        const lines = drawn.map(({ seconds, text, repeats, ...line }) => ({
          ...line,
          at: stampedAt(seconds),
          nth: 0,
          low: stampedAt(seconds),
          text: text.repeat(repeats),
        }));
        const chunks = chunksOf(lines, 3, 2);
        const stored = chunks.flatMap(({ content }) => content.toString().split('\n').slice(0, -1));
        const expected = lines.flatMap(({ isAfterGap, text }) => (isAfterGap ? [GAP_TEXT, text] : [text]));
        expect(stored).toHaveLength(expected.length);
        stored.forEach((line, at) => expect(line.endsWith(expected[at] ?? '')).toBe(true));
        let from = 0;
        for (const { lines: count, content, counts, firstAtMs, lastAtMs } of chunks) {
          const own = content.toString().split('\n').slice(0, -1);
          expect(own).toHaveLength(count);
          const times = stamps(lines).slice(from, from + count);
          expect([firstAtMs, lastAtMs]).toEqual([
            Math.min(...times.map(([at]) => at)),
            Math.max(...times.map(([at]) => at)),
          ]);
          const of = (stream: string) => times.filter(([, name]) => name === stream).length;
          expect(counts).toEqual({ '3.2': [of('stdout'), of('stderr')] });
          from += count;
        }
        expect(chunks.slice(0, -1).every(({ content }) => content.length >= 65_536)).toBe(true);
      }),
    );
  });

  it('end with the line that fills them, to the last character', () => {
    const line = (length: number) =>
      ({
        stream: 'stdout',
        at: stampedAt(1),
        nth: 1,
        low: stampedAt(1),
        isAfterGap: false,
        text: 'x'.repeat(length),
      }) as const;
    const overhead = chunksOf([line(0)], 3, 2)[0]!.content.length;
    const linesOf = (...lengths: number[]) => chunksOf([...lengths.map(line), line(0)], 3, 2).map(({ lines }) => lines);
    expect(linesOf(0, 65_536 - 2 * overhead)).toEqual([2, 1]);
    expect(linesOf(0, 65_535 - 2 * overhead)).toEqual([3]);
  });
});

/** Of what is stored: a gap has the stamp of the line behind it. */
function stamps(lines: readonly { at: string; stream: string; isAfterGap: boolean }[]): [number, string][] {
  return lines.flatMap(({ at, stream, isAfterGap }) => {
    const stamp: [number, string] = [Date.parse(at), stream];
    return isAfterGap ? [stamp, stamp] : [stamp];
  });
}
