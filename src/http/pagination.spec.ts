import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { decodeCursor, encodeCursor, pageQuery, toPage, withinPageBytes } from './pagination.js';
import { Problem } from './problem.js';

const Key = z.tuple([z.iso.datetime(), z.string()]);

describe('cursors', () => {
  it('come back as they were', () => {
    const key: z.infer<typeof Key> = ['2026-01-02T03:04:05.678Z', 'wäb/+'];
    const cursor = encodeCursor(key);
    expect(cursor).toMatch(/^[\w-]+$/);
    expect(decodeCursor(cursor, Key)).toEqual(key);
  });

  it.each(['', 'x', '!!!', encodeCursor('x'), encodeCursor(['2026', 'x']), encodeCursor({})])(
    '%j is refused',
    (cursor) => {
      expect(() => decodeCursor(cursor, Key)).toThrow(Problem);
    },
  );
});

describe('toPage', () => {
  /** As `pageSql` finds them. */
  const found = (count: number, ofAll = count) =>
    Array.from({ length: count }, (_, n) => ({ id: n + 1, pageRows: ofAll, pageBytesBefore: String(n) }));
  const idOf = ({ id }: { id: number }): number => id;

  it('shows no more than the limit, and the way on', () => {
    const page = toPage(found(3), 2, idOf, idOf);
    expect(page.items).toEqual([1, 2]);
    expect(decodeCursor(page.nextCursor ?? '', z.int())).toBe(2);
  });

  it('ends when there is nothing more', () => {
    expect(toPage(found(3), 3, idOf, idOf)).toEqual({ items: [1, 2, 3], nextCursor: null });
    expect(toPage(found(0), 3, idOf, idOf)).toEqual({ items: [], nextCursor: null });
  });

  it('goes on behind the last row that was handed over where Postgres ended the page by its bytes', () => {
    const page = toPage(found(2, 3), 3, idOf, (row) => row);
    expect(page.items).toEqual([{ id: 1 }, { id: 2 }]);
    expect(decodeCursor(page.nextCursor ?? '', z.int())).toBe(2);
  });
});

describe('withinPageBytes', () => {
  it('ends before what comes when it has 1 MiB, to the byte', () => {
    // As a text, with its quotes.
    const ofBytes = (bytes: number): string => 'x'.repeat(bytes - 2);
    expect(withinPageBytes([ofBytes(1_048_576), 'next'])).toHaveLength(1);
    expect(withinPageBytes([ofBytes(1_048_575), 'next'])).toHaveLength(2);
    expect(withinPageBytes([ofBytes(1_000_000), ofBytes(48_575), ofBytes(9), 'next'])).toHaveLength(3);
    expect(withinPageBytes([])).toEqual([]);
  });

  it('ends with the item that passes 1 MiB', () => {
    const items = Array.from({ length: 20 }, (_, n) => ({ n, text: 'x'.repeat(100_000) }));
    expect(withinPageBytes(items)).toEqual(items.slice(0, 11));
    expect(withinPageBytes(items.slice(0, 11))).toHaveLength(11);
    expect(withinPageBytes([{ text: 'x'.repeat(2_000_000) }])).toHaveLength(1);
  });
});

describe('pageQuery', () => {
  const Query = z.strictObject(pageQuery);

  it('has a default', () => {
    expect(Query.parse({})).toEqual({ limit: 50 });
    expect(Query.parse({ limit: '200' })).toEqual({ limit: 200 });
  });

  it.each(['0', '201', '1.5', 'x', ''])('refuses limit=%s', (limit) => {
    expect(Query.safeParse({ limit }).success).toBe(false);
  });
});
