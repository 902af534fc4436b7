import { inScopeSql, isInScope, scopeType } from '../auth/access-rules.js';
import type { Scope } from '../http/caller.js';
import type { Queryable } from '../database/database.js';
import { type RowOf, statement, t } from '../database/statement.js';
import type { EventGap, EventResponse } from './event.schema.js';

export type EventFilter = {
  readonly job: string | null;
  readonly deployment: number | null;
  /** Null = all. */
  readonly types: readonly string[] | null;
  /** Events of jobs of the scope; those of no job only where that is everything. */
  readonly scope: Scope;
};

export type EventsRead = {
  readonly events: readonly EventResponse[];
  /** Everything from where the reading began to here is in `events`, unless it does not fit the filter. */
  readonly reached: number;
  /** Nothing is left in this direction. */
  readonly isAtEnd: boolean;
  readonly gap: EventGap | null;
};

/**
 * Positions that one statement scans. With a filter that matches nothing it would else scan all there are, for as long
 * as that takes; so there are several statements, each of some milliseconds.
 */
const WINDOW = 20_000;

/** Events after a position, oldest first. */
export async function readForward(
  database: Queryable,
  filter: EventFilter,
  after: number,
  limit: number,
): Promise<EventsRead> {
  const rows = await read(database, FORWARD, filter, after, limit);
  const { last, deletedThrough } = boundsOf(rows);
  const gap = gapOf(after, last, deletedThrough);
  const events = eventsOf(rows);
  const windowEnd = filter.job === null ? Math.min(Math.max(after, deletedThrough) + WINDOW, last) : last;
  const reached = events.length === limit ? (events.at(-1)?.position ?? last) : windowEnd;
  return { events, reached, isAtEnd: reached >= last, gap };
}

/** Events before a position (null: the end), newest first. */
export async function readBackward(
  database: Queryable,
  filter: EventFilter,
  before: number | null,
  limit: number,
): Promise<EventsRead> {
  const rows = await read(database, BACKWARD, filter, before, limit);
  const { last, deletedThrough } = boundsOf(rows);
  const events = eventsOf(rows);
  const begin = Math.min(before ?? Infinity, last + 1);
  const windowEnd = filter.job === null ? Math.max(begin - WINDOW, deletedThrough + 1) : deletedThrough + 1;
  const reached = events.length === limit ? (events.at(-1)?.position ?? begin) : windowEnd;
  return { events, reached, isAtEnd: reached <= deletedThrough + 1, gap: null };
}

/** The last position that was given. */
export async function readLastPosition(database: Queryable): Promise<number> {
  const [row] = await database.run(LAST, []);
  return row?.last ?? 0;
}

/** Whether an event matches `filter`; the same as its SQL. */
export function fits(event: EventResponse, { job, deployment, types, scope }: EventFilter): boolean {
  if (job !== null && event.job !== job) return false;
  if (deployment !== null && event.deployment !== deployment) return false;
  if (types !== null && !types.includes(event.type)) return false;
  return scope === null || (event.job !== null && isInScope(scope, event.job));
}

export function gapOf(after: number, last: number, deletedThrough: number): EventGap | null {
  if (after < deletedThrough) return { reason: 'too-old', after, resumesAfter: deletedThrough };
  if (after > last) return { reason: 'beyond-the-end', after, resumesAfter: last };
  return null;
}

const ROW = { last: t.double, deletedThrough: t.double, event: t.nullable(t.jsonOf<EventResponse>()) } as const;

type Row = RowOf<typeof ROW>;

function boundsOf([first]: readonly Row[]): Row {
  if (!first) throw new Error('event_positions has no row: the migration that made it wrote one');
  return first;
}

function eventsOf(rows: readonly Row[]): EventResponse[] {
  return rows.flatMap(({ event }) => event ?? []);
}

async function read(
  database: Queryable,
  { ofAll, ofJob }: ReturnType<typeof readers>,
  { job, deployment, types, scope }: EventFilter,
  from: number | null,
  limit: number,
): Promise<Row[]> {
  const values = [from, limit, deployment, types, scope] as const;
  return job === null ? await database.run(ofAll, values) : await database.run(ofJob, [...values, job]);
}

const EVENT = `jsonb_build_object(
    'position', e.position, 'at', to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'type', e.type,
    'job', e.job, 'deployment', e.deployment, 'attempt', e.attempt, 'instance', e.instance, 'actor', e.actor,
    'cause', e.cause, 'data', e.data)`;

// A text of its own for a job: only then does the statement begin at the index of its name.
const fitsSql = (isOfJob: boolean): string => `
  ${isOfJob ? 'e.job = $6 AND' : ''} ($3::int IS NULL OR e.deployment = $3)
  AND ($4::text[] IS NULL OR e.type = ANY ($4)) AND ${inScopeSql('e.job', '$5')}`;

// JSON is made of what is shown, not of all that is scanned.
const readSql = (range: string, direction: string, isOfJob: boolean): string => `
  SELECT p.last::float8 AS last, p.deleted_through::float8 AS "deletedThrough",
    CASE WHEN e.position IS NOT NULL THEN ${EVENT} END AS event
  FROM event_positions p LEFT JOIN LATERAL (
    SELECT * FROM events e WHERE ${range} AND ${fitsSql(isOfJob)} ORDER BY e.position ${direction} LIMIT $2
  ) e ON true
  ORDER BY e.position ${direction}`;

const VALUES = [
  t.nullable(t.bigintValue),
  t.bigintValue,
  t.nullable(t.int),
  t.nullable(t.arrayOf(t.text)),
  scopeType,
] as const;

/** @param range of positions @param window its other end, where events of all jobs are read */
function readers(name: string, direction: 'ASC' | 'DESC', range: string, window: string) {
  return {
    ofAll: statement(name, { values: VALUES, row: ROW })(readSql(`${range} AND ${window}`, direction, false)),
    ofJob: statement(`${name}-of-job`, { values: [...VALUES, t.text], row: ROW })(readSql(range, direction, true)),
  };
}

const FORWARD = readers(
  'events-forward',
  'ASC',
  'e.position > GREATEST($1::bigint, p.deleted_through)',
  `e.position <= GREATEST($1::bigint, p.deleted_through) + ${WINDOW}`,
);

const BACKWARD = readers(
  'events-backward',
  'DESC',
  'e.position < LEAST($1::bigint, p.last + 1)',
  `e.position >= LEAST($1::bigint, p.last + 1) - ${WINDOW}`,
);

const LAST = statement('events-last', { row: { last: t.double } })(`SELECT last::float8 AS last FROM event_positions`);
