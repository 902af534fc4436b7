import { z } from 'zod';
import { t } from '../database/statement.js';
import { Problem } from './problem.js';

/** 200 rows of a job or deployment are about 400 kB of JSON: more would stall the event loop for other requests. */
const MAX_PAGE = 200;
/**
 * A page ends with the row that passes this, as Postgres writes rows. One of a job may have 128 KiB and more: 200 of
 * them delayed all requests by half a second, and took a gigabyte of memory.
 */
const MOST_PAGE_BYTES = 1_048_576;

/** Spread into the query schema of a list: `z.strictObject({ ...pageQuery, status: … })`. */
export const pageQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(MAX_PAGE)
    .default(50)
    .meta({ description: `Rows of a page, at most ${MAX_PAGE}; it ends earlier, after 1 MiB, where rows are large.` }),
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
 * The statement of a list, so that Postgres hands over no more than a page of so many bytes, and how many rows it would
 * have been. @param list with a limit of one row more than the page's @param order its columns, as in ORDER BY; unique
 */
export function pageSql(list: string, order: string): string {
  return `
    SELECT * FROM (
      SELECT page.*, count(*) OVER ()::int AS "pageRows",
        sum(octet_length(page::text)) OVER (ORDER BY ${order} ROWS UNBOUNDED PRECEDING)
          - octet_length(page::text) AS "pageBytesBefore"
      FROM (${list}) AS page
    ) AS page
    WHERE "pageBytesBefore" < ${MOST_PAGE_BYTES} ORDER BY ${order}`;
}

/** What `pageSql` adds to a row. */
export type Paged<Row> = Row & { readonly pageRows: number; readonly pageBytesBefore: string };

/** Its columns, behind those of the list. */
export const pageColumns = { pageRows: t.int, pageBytesBefore: t.bigint } as const;

/**
 * Cuts a page out of what a statement by `pageSql` found for `limit + 1` rows: the extra row only shows that there is
 * another page.
 * @param keyOf the sort key of a row, as `decodeCursor` gets it back; it must be unique among the rows
 */
export function toPage<Row extends Paged<object>, Item>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => unknown,
  toItem: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const nextCursor = last !== undefined && last.pageRows > shown.length ? encodeCursor(keyOf(last)) : null;
  return { items: shown.map((row) => toItem(withoutPaging(row))), nextCursor };
}

/** The items of a page of so many bytes, of those that were read for one: all of them, unless some are large. */
export function withinPageBytes<Item>(items: readonly Item[]): readonly Item[] {
  let bytes = 0;
  const end = items.findIndex((item) => {
    const isFull = bytes >= MOST_PAGE_BYTES;
    bytes += JSON.stringify(item).length;
    return isFull;
  });
  return end === -1 ? items : items.slice(0, end);
}

function withoutPaging<Row extends object>(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([column]) => !(column in pageColumns))) as Row;
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
