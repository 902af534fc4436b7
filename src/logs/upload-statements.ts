import type { Database } from '../database/database.js';
import { columnsOf, selectList, statement, t } from '../database/statement.js';
import { AttemptLog } from './attempt-log.entity.js';
import type { NewChunk } from './new-chunks.js';
import type { StoredPositions } from './stored-position.js';

/** The log that an order requests, and how far it is stored. */
export type LogTarget = {
  readonly attemptId: string;
  readonly jobId: string;
  /** Number of the deployment. */
  readonly deployment: number;
  /** Number of the attempt. */
  readonly attempt: number;
  /** The attempt has ended. */
  readonly hasEnded: boolean;
  /** The order requests lines as they are printed; else the rest of a container that has stopped. */
  readonly isFollowing: boolean;
  /** A newer order to follow the same log takes its place. */
  readonly isReplaced: boolean;
} & StoredState;

/** A writer names the version that it read: of two that store at once, the later one stores nothing. */
export type StoredState = { readonly version: number; readonly stored: StoredPositions };

export type NewLines = {
  readonly attemptId: string;
  /** The version that the writer read. */
  readonly version: number;
  /** Once the chunks are stored. */
  readonly stored: StoredPositions;
  readonly chunks: readonly NewChunk[];
};

/** @returns undefined when the instance has no such order, or the order does not request logs */
export async function findLogTarget(
  database: Database,
  instanceId: string,
  orderNumber: number,
): Promise<LogTarget | undefined> {
  const [row] = await database.run(TARGET, [instanceId, orderNumber]);
  if (!row) return undefined;
  const state = row.version === null ? await createState(database, row.attemptId) : row;
  return { ...row, version: state.version ?? 0, stored: state.stored ?? {} };
}

/** How far each is stored; attempts that do not exist any more are left out. */
export async function findStates(
  database: Database,
  attemptIds: readonly string[],
): Promise<ReadonlyMap<string, StoredState>> {
  const rows = await database.run(STATES, [attemptIds]);
  return new Map(rows.map(({ attemptId, version, stored }) => [attemptId, { version, stored }]));
}

/** @returns of the attempts whose lines are stored: their jobs. The version of the others has changed. */
export async function storeLines(database: Database, all: readonly NewLines[]): Promise<ReadonlyMap<string, string>> {
  const chunks = all.flatMap((lines) => lines.chunks.map((chunk) => ({ attemptId: lines.attemptId, ...chunk })));
  const rows = await database.run(STORE, [
    all.map(({ attemptId }) => attemptId),
    all.map(({ version }) => version),
    all.map(({ stored }) => JSON.stringify(stored)),
    chunks.map(({ attemptId }) => attemptId),
    chunks.map(({ lines }) => lines),
    chunks.map(({ content }) => content.length),
    chunks.map(({ firstAtMs }) => firstAtMs / 1000),
    chunks.map(({ lastAtMs }) => lastAtMs / 1000),
    chunks.map(({ counts }) => JSON.stringify(counts)),
    chunks.map(({ content }) => content),
  ]);
  return new Map(rows.map(({ attemptId, jobId }) => [attemptId, jobId]));
}

async function createState(database: Database, attemptId: string): Promise<Partial<StoredState>> {
  // Two statements: the second sees what another process created while the first waited for it.
  await database.run(CREATE, [attemptId]);
  return (await findStates(database, [attemptId])).get(attemptId) ?? {};
}

const STATE = columnsOf(AttemptLog, 'attemptId', 'version', 'stored');

const TARGET = statement('logs-target', {
  values: [t.text, t.int],
  row: {
    attemptId: t.uuid,
    jobId: t.uuid,
    deployment: t.int,
    attempt: t.int,
    hasEnded: t.bool,
    version: t.nullable(STATE.version),
    stored: t.nullable(STATE.stored),
    isFollowing: t.bool,
    isReplaced: t.bool,
  },
})(`
  SELECT o.attempt_id AS "attemptId", a.job_id AS "jobId", d.number AS deployment, a.number AS attempt,
    a.phase = 'ended' AS "hasEnded", l.version, l.stored, (o.spec ->> 'follow')::boolean AS "isFollowing",
    (o.spec ->> 'follow')::boolean AND EXISTS (
      SELECT 1 FROM orders newer
      WHERE newer.instance_id = o.instance_id AND newer.number > o.number AND newer.kind = 'logs'
        AND (newer.spec ->> 'follow')::boolean
    ) AS "isReplaced"
  FROM orders o
  JOIN attempts a ON a.id = o.attempt_id
  JOIN deployments d ON d.id = a.deployment_id
  LEFT JOIN attempt_logs l ON l.attempt_id = a.id
  WHERE o.instance_id = $1 AND o.number = $2 AND o.kind = 'logs'`);

const CREATE = statement('logs-create', { values: [t.uuid], isPrepared: false })(`
  WITH target AS (
    SELECT a.id, a.job_id, d.number AS deployment, a.number AS attempt
    FROM attempts a JOIN deployments d ON d.id = a.deployment_id WHERE a.id = $1
  ), job AS (
    INSERT INTO job_logs (job_id) SELECT job_id FROM target ON CONFLICT DO NOTHING
  )
  INSERT INTO attempt_logs (attempt_id, job_id, deployment, attempt)
  SELECT id, job_id, deployment, attempt FROM target ON CONFLICT DO NOTHING`);

const STATES = statement('logs-states', { values: [t.arrayOf(t.uuid)], row: STATE })(
  `SELECT ${selectList(STATE)} FROM attempt_logs WHERE attempt_id = ANY ($1::uuid[])`,
);

// Rows of attempts are locked in the order of their ids, then those of jobs in theirs: two processes never wait for
// each other in a circle. The version is checked again under the lock. Lines get their numbers under the lock of the
// job's row, so a reader that sees a number sees all below it.
const STORE = statement('logs-store', {
  values: [
    t.arrayOf(t.uuid),
    t.arrayOf(t.int),
    t.arrayOf(t.text),
    t.arrayOf(t.uuid),
    t.arrayOf(t.int),
    t.arrayOf(t.int),
    t.arrayOf(t.double),
    t.arrayOf(t.double),
    t.arrayOf(t.text),
    t.arrayOf(t.bytea),
  ],
  row: columnsOf(AttemptLog, 'attemptId', 'jobId'),
})(`
  WITH offered AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) AS t (attempt_id, version, stored)
  ), held AS (
    SELECT l.attempt_id, l.job_id, offered.stored
    FROM attempt_logs l JOIN offered ON offered.attempt_id = l.attempt_id
    WHERE l.version = offered.version
    ORDER BY l.attempt_id FOR UPDATE OF l
  ), chunks AS (
    SELECT held.job_id, c.*, sum(c.lines) OVER (PARTITION BY held.job_id ORDER BY c.nth) AS through
    FROM unnest($4::uuid[], $5::int[], $6::int[], $7::float8[], $8::float8[], $9::text[], $10::bytea[])
      WITH ORDINALITY AS c (attempt_id, lines, bytes, first_at, last_at, counts, content, nth)
    JOIN held ON held.attempt_id = c.attempt_id
  ), jobs_held AS (
    SELECT job_id FROM job_logs WHERE job_id IN (SELECT job_id FROM held) ORDER BY job_id FOR UPDATE
  ), numbered AS (
    UPDATE job_logs j
    SET last_line = j.last_line + added.lines, bytes = j.bytes + added.bytes,
      recent_bytes = j.recent_bytes + added.bytes, recent_chunks = j.recent_chunks + added.chunks,
      recent_since = COALESCE(j.recent_since, clock_timestamp())
    FROM (
      SELECT job_id, sum(lines) AS lines, sum(bytes) AS bytes, count(*)::int AS chunks FROM chunks GROUP BY job_id
    ) AS added JOIN jobs_held USING (job_id)
    WHERE j.job_id = added.job_id
    RETURNING j.job_id, j.last_line - added.lines AS before
  ), stored AS (
    INSERT INTO log_chunks (job_id, first_line, last_line, bytes, first_at, last_at, counts, content)
    SELECT job_id, before + through - lines + 1, before + through, bytes, to_timestamp(first_at), to_timestamp(last_at),
      counts::jsonb, content
    FROM chunks JOIN numbered USING (job_id)
  ), moved_on AS (
    UPDATE attempt_logs l SET version = l.version + 1, stored = held.stored::jsonb
    FROM held WHERE l.attempt_id = held.attempt_id
  )
  SELECT attempt_id AS "attemptId", job_id AS "jobId" FROM held`);
