import { z } from 'zod';
import { Problem } from './problem.js';

/** 200 rows of a job or deployment are about 400 kB of JSON: more would stall the event loop for other requests. */
const MAX_PAGE = 200;

/** Spread into the query schema of a list: `z.strictObject({ ...pageQuery, status: … })`. */
export const pageQuery = {
  limit: z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(1)
    .max(MAX_PAGE)
    .default(50)
    .meta({ description: `Rows of a page, at most ${MAX_PAGE}.` }),
  cursor: z.string().min(1).max(1024).optional().meta({ description: '`nextCursor` of the page before.' }),
};

export type Page<T> = { readonly items: readonly T[]; readonly nextCursor: string | null };

/** Schema of a page of `item`, for documentation. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().meta({ description: 'Cursor of the next page; null on the last one.' }),
  });
}

/**
 * Cuts a page out of `limit + 1` rows: the row too many only tells that there is another page.
 * @param keyOf the sort key of a row, as `decodeCursor` gets it back; it must be unique among the rows
 */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => unknown,
  toItem: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const nextCursor = rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null;
  return { items: shown.map(toItem), nextCursor };
}

/** Cursor of a list by time and id: the time as `exactTimeSql` gives it. */
export const TimeCursor = z.tuple([z.iso.datetime().regex(/^2/), z.uuid()]);

/** A time with all its digits: a Date has milliseconds only, and several rows may share one. */
export function exactTimeSql(column: string): string {
  return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

/** Opaque to clients, so that the sort key can change: base64url of JSON. */
export function encodeCursor(key: unknown): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

/** @throws Problem `invalid-parameter`, when this is no cursor of this list */
export function decodeCursor<T extends z.ZodType>(cursor: string, key: T): z.infer<T> {
  const parsed = key.safeParse(parseJson(Buffer.from(cursor, 'base64url').toString()));
  if (parsed.success) return parsed.data;
  const detail = 'must be nextCursor of a page of this list';
  throw new Problem('invalid-parameter', `cursor ${detail}.`, { errors: [{ parameter: 'cursor', detail }] });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
