import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { StreamTail } from './stream-tail.js';

const NEW = { content: '', since: '0' };
const event = (second: number, more = '') => `{"Type":"container","more":"${more}","timeNano":${second}000000001}\n`;
const text = (tail: StreamTail) => tail.content.split('\n').slice(0, -1);

describe('the newest lines of a stream', () => {
  it('are each there once, however the stream is cut, repeated and broken off', () => {
    const cuts = fc.infiniteStream(fc.integer({ min: 1, max: 90 }));
    fc.assert(
      fc.property(fc.nat(12), fc.nat(12), fc.nat(60), cuts, (first, second, brokenOff, next) => {
        const printed = Array.from({ length: first + second }, (_, n) => event(n + 1, 'é€'));
        const one = new StreamTail(NEW);
        const whole = Buffer.from(printed.slice(0, first).join(''));
        add(one, whole.subarray(0, Math.max(0, whole.length - brokenOff)), next);
        const two = new StreamTail(one);
        // All over again, as from an agent that got no answer.
        add(two, Buffer.from(printed.join('')), next);
        expect(two.content).toBe(printed.join(''));
        if (printed.length > 0) expect(two.since).toBe(`${printed.length}.000000002`);
      }),
    );
  });

  it('hold 64 KiB, without lines that are too long, have no time, or only say that they have one', () => {
    const tail = new StreamTail(NEW);
    const sly = event(2, String.raw`\"timeNano\":9000000000000000000,`);
    const lines = [event(1, 'x'.repeat(16_384)), '\n', 'null\n', sly, '{"timeNano":1}\n', event(3, '\0')];
    tail.add(Buffer.from(lines.join('')));
    expect(text(tail)).toEqual([sly.trimEnd(), event(3, '\uFFFD').trimEnd()]);
    expect(tail.since).toBe('3.000000002');
    for (let second = 4; second < 3_000; second += 1) tail.add(Buffer.from(event(second)));
    expect(Buffer.byteLength(tail.content)).toBeLessThanOrEqual(65_536);
    expect(text(tail).at(-1)).toBe(event(2_999).trimEnd());
    tail.add(Buffer.alloc(1_048_576, 'x'));
    tail.add(Buffer.from(`\n${event(3_000)}`));
    expect(text(tail).at(-1)).toBe(event(3_000).trimEnd());
  });

  function add(tail: StreamTail, bytes: Buffer, cuts: fc.Stream<number>): void {
    for (let at = 0; at < bytes.length;) {
      const length = cuts.next().value as number;
      tail.add(bytes.subarray(at, at + length));
      at += length;
    }
  }
});
