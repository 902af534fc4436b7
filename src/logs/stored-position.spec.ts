import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { stampedAt } from '../../test/support/logs.js';
import type { ContainerLogLine } from '../docker/container-logs.js';
import {
  advance,
  EPOCH,
  isLatest,
  isLeftBehind,
  isStored,
  LinePlaces,
  nextSince,
  normalizeTime,
  type StoredPosition,
  timeOf,
  type UploadExtent,
  wasRequested,
} from './stored-position.js';

/** Of `stampedAt(0)`, since 1970. */
const SECONDS = 1_767_607_200;

/** Stamps that repeat and go back, and lines without one. */
const LINE = fc.record({
  stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
  time: fc.option(
    fc.integer({ min: 1, max: 6 }).map((second) => stampedAt(second)),
    { nil: undefined, freq: 8 },
  ),
});
const LINES = fc.array(LINE, { maxLength: 40 }).map((lines) =>
  lines.map(({ stream, time }, index): ContainerLogLine => ({
    stream,
    ...(time !== undefined && { time }),
    line: `line ${index}`,
  })),
);

describe('the places of the lines of an upload', () => {
  it('count the lines of each stream since its latest stamp, and know how far the clock was set back meanwhile', () => {
    fc.assert(
      fc.property(LINES, (lines) => {
        const places = new LinePlaces();
        const seen: { stream: string; at: string; stamp: string }[] = [];
        const latest: Record<string, unknown> = {};
        for (const { stream, time, line } of lines) {
          const before = seen.filter((one) => one.stream === stream);
          const at = [...before.map((one) => one.stamp), time ?? EPOCH].toSorted().at(-1)!;
          seen.push({ stream, at, stamp: time ?? at });
          const same = seen.filter((one) => one.stream === stream && one.at === at);
          const place = { at, nth: same.length, low: same.map(({ stamp }) => stamp).toSorted()[0] };
          expect(places.place({ stream, ...(time !== undefined && { time }), line })).toEqual({
            stream,
            text: line,
            ...place,
          });
          latest[stream] = place;
          expect(places.latest).toStrictEqual(latest);
        }
      }),
      { seed: 1 },
    );
  });

  it('tell, of any line of any upload, whether it is among those stored so far, and whether it is the latest of them', () => {
    fc.assert(
      fc.property(LINES, fc.nat(40), fc.nat(40), (lines, first, second) => {
        const all = new LinePlaces();
        const placed = lines.map((line) => all.place(line));
        const [some, more] = [Math.min(first, second), Math.max(first, second)];
        const stored = advance(advance({}, placed.slice(0, some)), placed.slice(some, more));
        const known = placed.slice(0, more);
        for (const [index, line] of placed.entries()) {
          expect(isStored(line, stored)).toBe(index < more);
          expect(isLatest(line, stored)).toBe(known.findLast(({ stream }) => stream === line.stream) === line);
        }
      }),
      { seed: 1 },
    );
  });
});

describe('where the next upload is to begin', () => {
  it.each<[string, string, Partial<UploadExtent>]>([
    ['where this one began, while it holds nothing', since(7, 5), { since: since(7, 5) }],
    ['where this one began, as the agent may write it', since(7, 500_000_000), { since: `${SECONDS + 7}.5` }],
    ['at the first line of all', '0.000000000', { since: '0' }],
    ['at a line that is open, of one that holds nothing else', since(3), { since: since(7), open: [stampedAt(3)] }],
    ['two seconds before the latest line', since(8, 123_456_789), { latest: { stdout: position(10, 123_456_789) } }],
    ['two seconds before it, of stderr', since(8, 9), { latest: { stdout: position(9), stderr: position(10, 9) } }],
    ['two seconds before it, of stdout', since(8, 9), { latest: { stdout: position(10, 9), stderr: position(7) } }],
    ['behind it after a silence', since(10, 10), { latest: { stdout: position(10, 9) }, isQuiet: true }],
    [
      'at a line that is open, even after a silence',
      since(3, 1),
      { latest: { stdout: position(10) }, isQuiet: true, open: [stampedAt(4), stampedAt(3, 1)] },
    ],
    ['before one that is open', since(8), { latest: { stdout: position(10) }, open: [stampedAt(9)] }],
    ['two seconds before what a clock went back to', since(2), { latest: { stdout: position(10, 0, 4) } }],
    [
      'there after a silence, too',
      since(2),
      { latest: { stdout: position(10, 0, 4), stderr: position(9) }, isQuiet: true },
    ],
    [
      'at the earlier of two that it went back to',
      since(1),
      { latest: { stdout: position(10, 0, 3), stderr: position(10, 0, 4) } },
    ],
    [
      'at the earlier of two, whichever stream',
      since(1),
      { latest: { stdout: position(10, 0, 4), stderr: position(10, 0, 3) } },
    ],
    [
      'there as long as lines of that stream may be sent again',
      since(2),
      { latest: { stdout: position(10, 0, 4), stderr: position(14) } },
    ],
    [
      'two seconds before the latest line, once none of them may',
      since(12, 1),
      { latest: { stdout: position(10, 0, 4), stderr: position(14, 1) } },
    ],
    ['not below the beginning of time', '0.000000000', { latest: { stdout: { at: EPOCH, nth: 1, low: EPOCH } } }],
    [
      'in the middle of one that is long',
      since(9),
      { since: since(1), latest: { stdout: position(10) }, middle: stampedAt(9) },
    ],
    [
      'further on, where its end is far behind its middle',
      since(8),
      { since: since(1), latest: { stdout: position(10) }, middle: stampedAt(3) },
    ],
    [
      'behind where it began, where all of a long one has one stamp',
      since(10, 1),
      { since: since(10), latest: { stdout: position(10) }, middle: stampedAt(10) },
    ],
    [
      'behind a line that is open, where a long one has passed it',
      since(9),
      { since: since(1), latest: { stdout: position(10) }, middle: stampedAt(9), open: [stampedAt(2)] },
    ],
  ])('is %s: %s', (_where, expected, extent) => {
    expect(nextSince({ since: '0', latest: {}, isQuiet: false, middle: undefined, open: [], ...extent })).toBe(
      expected,
    );
  });

  it.each([
    ['before the middle', stampedAt(8, 999_999_999), since(1), true],
    ['in the middle', stampedAt(9), since(1), false],
    ['where the upload began, and its middle is there', stampedAt(9), since(9), true],
    ['a nanosecond behind that', stampedAt(9, 1), since(9), false],
  ])('leaves a line behind that is stamped %s: %s of an upload from %s: %s', (_what, at, from, isBehind) => {
    expect(isLeftBehind(at, from, stampedAt(9))).toBe(isBehind);
  });

  it.each([
    ['before it', position(10), since(10, 1), false],
    ['where it begins', position(10), since(10), true],
    ['where it begins, whose clock had been before it', position(10, 0, 9), since(10), false],
    ['where it begins, by the lowest of its clock', position(10, 0, 9), since(9), true],
  ])('says whether an upload must hold a line that is stamped %s: %j from %s: %s', (_what, stored, from, isThere) => {
    expect(wasRequested(stored, from)).toBe(isThere);
  });
});

describe('a time', () => {
  const moment = fc.record({
    // To the end of the year 9999, and from the beginning of the year 0.
    seconds: fc.integer({ min: -62_167_219_200, max: 253_402_300_799 }),
    digits: fc.nat(9),
    nanoseconds: fc.nat(999_999_999),
  });
  const text = ({ seconds, nanoseconds }: { seconds: number; nanoseconds: number }) =>
    `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, '0')}Z`;

  it('is brought into the form that Docker writes, from any form and zone that RFC 3339 has', () => {
    fc.assert(
      fc.property(moment, fc.integer({ min: -14 * 60, max: 14 * 60 }), ({ seconds, nanoseconds, digits }, zone) => {
        const there = new Date((seconds + zone * 60) * 1000).toISOString();
        fc.pre(/^\d{4}-/.test(there));
        const fraction = String(nanoseconds).padStart(9, '0').slice(0, digits);
        const [hours, minutes] = [Math.floor(Math.abs(zone) / 60), Math.abs(zone) % 60];
        const offset = `${zone < 0 ? '-' : '+'}${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`;
        const written = `${there.slice(0, 19)}${digits > 0 ? `.${fraction}` : ''}`;
        const at = text({ seconds, nanoseconds: Number(fraction.padEnd(9, '0')) });
        expect(normalizeTime(`${written}${offset}`)).toBe(at);
        if (zone === 0) expect(normalizeTime(`${written}Z`)).toBe(at);
        expect(normalizeTime(at)).toBe(at);
      }),
      { seed: 1 },
    );
  });

  it('is one whole millisecond to readers, the one that it is in', () => {
    fc.assert(
      fc.property(moment, (one) => {
        expect(timeOf(text(one))).toBe(one.seconds * 1000 + Math.floor(one.nanoseconds / 1e6));
      }),
      { seed: 1 },
    );
  });

  it.each([
    '',
    'today',
    '2026-01-05',
    '2026-01-05T10:00:00',
    '2026-01-05T10:00:00.1234567890Z',
    '2026-01-05T10:00:00.Z',
    '2026-01-05T25:00:00Z',
    '2026-13-05T10:00:00.000000000Z',
    '9999-12-31T23:59:59-00:01',
    '0000-01-01T00:00:00+00:01',
  ])('is none: %j', (no) => {
    expect(normalizeTime(no)).toBeUndefined();
  });
});

function since(second: number, nanoseconds = 0): string {
  return `${SECONDS + second}.${String(nanoseconds).padStart(9, '0')}`;
}

function position(second: number, nanoseconds = 0, low?: number): StoredPosition {
  const at = stampedAt(second, nanoseconds);
  return { at, nth: 1, low: low === undefined ? at : stampedAt(low) };
}
