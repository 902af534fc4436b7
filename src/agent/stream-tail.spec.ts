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
    expect(Buffer.byteLength(tail.content)).toBeGreaterThan(65_536 - event(2_999).length);
    expect(text(tail).at(-1)).toBe(event(2_999).trimEnd());
    tail.add(Buffer.alloc(1_048_576, 'x'));
    tail.add(Buffer.from(`\n${event(3_000)}`));
    expect(text(tail).at(-1)).toBe(event(3_000).trimEnd());
  });

  it.each([
    ['as long as one may be', 16_384, 1],
    ['a byte longer', 16_385, 0],
  ])('hold a line that is %s, however it is cut: %s bytes', (_what, length, kept) => {
    const [first, last] = [event(1), event(3)];
    // Its beginning alone would do for a line.
    const begin = '{"timeNano":2000000001,"more":"';
    const line = `${begin.padEnd(length - 2, 'x')}"}\n`;
    for (const cut of [0, 1, 100, length - 1, length]) {
      const tail = new StreamTail(NEW);
      const all = Buffer.from(first + line + last);
      tail.add(all.subarray(0, first.length + cut));
      tail.add(all.subarray(first.length + cut));
      expect(text(tail)).toHaveLength(2 + kept);
    }
  });

  it('are as many as fit to the last byte, also of those that were stored before', () => {
    const most = 65_536;
    const count = Math.floor(most / event(1_000).length) - 3;
    const stored = Array.from({ length: count }, (_, n) => event(1_000 + n)).join('');
    const rest = most - stored.length;
    const tailWith = (bytes: number) => {
      const tail = new StreamTail({ content: stored, since: '5000' });
      const padding = bytes - Buffer.byteLength(event(9_000, 'ééé'));
      tail.add(Buffer.from(event(9_000, `ééé${'x'.repeat(padding)}`)));
      return tail;
    };
    expect(Buffer.byteLength(tailWith(rest).content)).toBe(most);
    expect(text(tailWith(rest))[0]).toBe(event(1_000).trimEnd());
    expect(text(tailWith(rest + 1))[0]).toBe(event(1_001).trimEnd());
  });

  it('begin with the line that is stamped where they are to go on', () => {
    const tail = new StreamTail({ content: '', since: '2.000000001' });
    tail.add(Buffer.from(event(1) + event(2)));
    expect(tail.content).toBe(event(2));
    expect(new StreamTail({ content: '', since: '7.25' }).since).toBe('7.250000000');
  });

  it('are news until they are stored, and only those that were not before', () => {
    const tail = new StreamTail({ content: event(1), since: '1.000000002' });
    const isNewsAfter = (...lines: string[]) => {
      tail.add(Buffer.from(lines.join('')));
      return tail.isNews;
    };
    expect([tail.isNews, isNewsAfter(event(1)), isNewsAfter('no time\n'), isNewsAfter(event(2))]).toEqual([
      false,
      false,
      false,
      true,
    ]);
    expect(isNewsAfter(event(2))).toBe(true);
    tail.stored();
    expect([tail.isNews, isNewsAfter(event(1), event(2)), isNewsAfter(event(3))]).toEqual([false, false, true]);
  });

  function add(tail: StreamTail, bytes: Buffer, cuts: fc.Stream<number>): void {
    for (let at = 0; at < bytes.length;) {
      const length = cuts.next().value as number;
      tail.add(bytes.subarray(at, at + length));
      at += length;
    }
  }
});
