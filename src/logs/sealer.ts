import { Inject, Injectable, Optional } from '@nestjs/common';
import { Database, type Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { chunkKey, type ObjectFolder, OBJECTS, packChunk } from './chunk-objects.js';
import { JobLog } from './job-log.entity.js';
import { mergeCounts } from './line-format.js';
import { LogChunk } from './log-chunk.entity.js';
import { Occurrence } from '../process/observation.js';
import { type Joining, pauseAfter, planSealing, type RecentChunk, SEALED_BYTES } from './plan-sealing.js';

export type SealerOptions = {
  /** How long lines stay in the database at most. Default an hour: an object costs as much however little is in it. */
  readonly recentSeconds?: number;
  /** The same when no attempt of the job is left that could print. Default 10 s. */
  readonly endedSeconds?: number;
};

export type Sealed = {
  /** Chunks that are objects now. */
  readonly sealed: number;
  /** Jobs whose lines could not be put into the object store. */
  readonly failed: number;
  readonly error?: unknown;
  /** Until there may be more to do, or the object store is tried again. */
  readonly pauseMs: number;
};

/** A run has ended that had something to do. */
export const sealings = new Occurrence<Pick<Sealed, 'sealed' | 'failed'>>('logs-sealed');

const RECENT_SECONDS = 3_600;
const ENDED_SECONDS = 10;
/** So many rows of a job are joined, if they are small. */
const MANY_CHUNKS = 64;
/** Jobs of one run, and how many of them at once: each holds its lines in memory while they are uploaded. */
const JOBS = 32;
const JOBS_AT_ONCE = 4;
/** Rows of a job and run. */
const CHUNKS = 512;
/** So long a process that died while it sealed keeps others from the job. Above the longest upload, 20 s. */
const CLAIM_SECONDS = 60;
const EVERY_MS = 5_000;
/** Of a job, after a failure. */
const PAUSE_SECONDS = 15;

/**
 * Moves lines from the database into the object store, a chunk at a time: first the object, then, in one transaction,
 * one row in place of several. A crash in between leaves an object without a row, which the same lines overwrite or
 * retention removes. While the store is away, rows stay, and one object is tried with growing pauses.
 */
@Injectable()
export class Sealer {
  /** Runs in which the object store refused something, since the last in which it only accepted. */
  #failures = 0;

  constructor(
    private readonly database: Database,
    @Inject(OBJECTS) private readonly objects: Pick<ObjectFolder, 'put'>,
    @Optional() private readonly options: SealerOptions = {},
  ) {}

  async run(): Promise<Sealed> {
    const most = this.#failures > 0 ? 1 : JOBS;
    const jobs = await this.#claim(most);
    const outcomes: (number | Failure)[] = [];
    const queue = [...jobs];
    const isRefused = () => outcomes.some((outcome) => typeof outcome !== 'number' && outcome.isRefused);
    const work = async (): Promise<void> => {
      while (!isRefused()) {
        const job = queue.shift();
        if (job === undefined) return;
        outcomes.push(await this.#sealJob(job));
      }
    };
    await Promise.all(Array.from({ length: JOBS_AT_ONCE }, work));
    const failures = outcomes.filter((outcome) => typeof outcome !== 'number');
    const sealed = outcomes.reduce<number>((sum, outcome) => sum + (typeof outcome === 'number' ? outcome : 0), 0);
    if (isRefused()) this.#failures += 1;
    else if (sealed > 0) this.#failures = 0;
    for (const { jobId } of queue) await this.database.run(RELEASE, [jobId, 0]);
    if (jobs.length > 0) sealings.publish({ sealed, failed: failures.length });
    const isBack = most === 1 && sealed > 0;
    const hasMore = failures.length === 0 && (isBack || jobs.length === JOBS);
    return {
      sealed,
      failed: failures.length,
      ...(failures[0] && { error: failures[0].error }),
      pauseMs: isRefused() ? pauseAfter(this.#failures) * 1000 : hasMore ? 0 : EVERY_MS,
    };
  }

  async #claim(most: number): Promise<ClaimedJob[]> {
    const { recentSeconds = RECENT_SECONDS, endedSeconds = ENDED_SECONDS } = this.options;
    const values = [SEALED_BYTES, MANY_CHUNKS, recentSeconds, endedSeconds, most, CLAIM_SECONDS] as const;
    return await this.database.run(CLAIM, values);
  }

  /** @returns chunks sealed, or why not */
  async #sealJob({ jobId, isDue }: ClaimedJob): Promise<number | Failure> {
    try {
      const rows = await this.database.run(RECENT, [jobId, CHUNKS]);
      const joinings = planSealing(rows.map(toRecentChunk), isDue);
      for (const joining of joinings) await this.#join(jobId, joining);
      await this.database.run(RELEASE, [jobId, 0]);
      return joinings.filter(({ isSealed }) => isSealed).length;
    } catch (error) {
      await this.database.run(RELEASE, [jobId, PAUSE_SECONDS]).catch(() => undefined);
      return error instanceof Refused ? { error: error.cause, isRefused: true } : { error, isRefused: false };
    }
  }

  async #join(jobId: string, { isSealed, chunks }: Joining): Promise<void> {
    const lastLines = chunks.map(({ lastLine }) => lastLine);
    const contents = await this.database.run(CONTENTS, [jobId, lastLines]);
    // Retention, or another process whose claim had run out, was here meanwhile.
    if (contents.length !== chunks.length) return;
    const content = Buffer.concat(contents.map((row) => row.content ?? Buffer.alloc(0)));
    if (isSealed) {
      const packed = await packChunk(content);
      await this.objects.put(chunkKey(rangeOf(jobId, chunks)), packed).catch((cause: unknown) => {
        throw new Refused('the object store refused', { cause });
      });
    }
    await this.database.transaction((transaction) => replace(transaction, jobId, chunks, isSealed ? null : content));
  }
}

async function replace(
  transaction: Queryable,
  jobId: string,
  chunks: readonly RecentChunk[],
  content: Buffer | null,
): Promise<void> {
  const lastLines = chunks.map(({ lastLine }) => lastLine);
  await transaction.run(HOLD, [jobId]);
  const rows = await transaction.run(TAKE_OUT, [jobId, lastLines]);
  // Nothing is deleted that is not in `content`, and the numbers of the lines have no gap.
  if (rows.length !== chunks.length) throw new Error('chunks of a log were changed meanwhile');
  const { firstLine, lastLine } = rangeOf(jobId, chunks);
  await transaction.run(PUT_IN, [
    jobId,
    firstLine,
    lastLine,
    rows.reduce((sum, { bytes }) => sum + bytes, 0),
    new Date(Math.min(...rows.map((row) => row.firstAt.getTime()))),
    new Date(Math.max(...rows.map((row) => row.lastAt.getTime()))),
    JSON.stringify(mergeCounts(rows.map(({ counts }) => counts))),
    content,
    new Date(Math.min(...rows.map((row) => row.storedAt.getTime()))),
  ]);
  await transaction.run(RECOUNT, [jobId]);
}

/** `isRefused`: by the object store, which then refuses the others, too. */
type Failure = { readonly error: unknown; readonly isRefused: boolean };

class Refused extends Error {}

const CLAIMED = { ...columnsOf(JobLog, 'jobId'), isDue: t.bool } as const;
const RECENT_ROW = columnsOf(LogChunk, 'firstLine', 'lastLine', 'bytes');
const TAKEN_OUT = columnsOf(LogChunk, 'bytes', 'firstAt', 'lastAt', 'storedAt', 'counts');

type ClaimedJob = RowOf<typeof CLAIMED>;

function toRecentChunk({ firstLine, lastLine, bytes }: RowOf<typeof RECENT_ROW>): RecentChunk {
  return { firstLine: Number(firstLine), lastLine: Number(lastLine), bytes };
}

function rangeOf(jobId: string, chunks: readonly RecentChunk[]) {
  return { jobId, firstLine: chunks[0]?.firstLine ?? 0, lastLine: chunks.at(-1)?.lastLine ?? 0 };
}

// Those that were tried longest ago first: one that fails again and again does not keep others from their turn.
const CLAIM = statement('logs-claim', {
  values: [t.bigintValue, t.int, t.double, t.double, t.bigintValue, t.double],
  row: CLAIMED,
})(`
  WITH due AS (
    SELECT l.job_id, l.recent_since < clock_timestamp() - make_interval(secs => $3) OR (
      l.recent_since < clock_timestamp() - make_interval(secs => $4)
      AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = l.job_id AND a.phase <> 'ended')
    ) AS is_due
    FROM job_logs l
    WHERE l.recent_chunks > 0 AND (l.sealing_until IS NULL OR l.sealing_until < clock_timestamp())
  ), claimed AS (
    SELECT l.job_id, due.is_due FROM job_logs l JOIN due ON due.job_id = l.job_id
    WHERE (due.is_due OR l.recent_bytes >= $1 OR l.recent_chunks >= $2)
      AND (l.sealing_until IS NULL OR l.sealing_until < clock_timestamp())
    ORDER BY l.sealing_until NULLS FIRST, l.recent_since LIMIT $5 FOR UPDATE OF l SKIP LOCKED
  )
  UPDATE job_logs l SET sealing_until = clock_timestamp() + make_interval(secs => $6)
  FROM claimed WHERE l.job_id = claimed.job_id
  RETURNING l.job_id AS "jobId", claimed.is_due AS "isDue"`);

const RELEASE = statement('logs-release', { values: [t.uuid, t.double] })(
  `UPDATE job_logs SET sealing_until = clock_timestamp() + make_interval(secs => $2) WHERE job_id = $1`,
);

const RECENT = statement('logs-recent', { values: [t.uuid, t.bigintValue], row: RECENT_ROW })(`
  SELECT ${selectList(RECENT_ROW)} FROM log_chunks
  WHERE job_id = $1 AND content IS NOT NULL ORDER BY last_line LIMIT $2`);

const CONTENTS = statement('logs-contents', {
  values: [t.uuid, t.arrayOf(t.bigintValue)],
  row: columnsOf(LogChunk, 'content'),
})(`
  SELECT content FROM log_chunks
  WHERE job_id = $1 AND last_line = ANY ($2::bigint[]) AND content IS NOT NULL ORDER BY last_line`);

/** Locks the job's row: the fence of its chunks. */
export const HOLD = statement('logs-hold', { values: [t.uuid] })(`SELECT 1 FROM job_logs WHERE job_id = $1 FOR UPDATE`);

const TAKE_OUT = statement('logs-take-out', { values: [t.uuid, t.arrayOf(t.bigintValue)], row: TAKEN_OUT })(`
  DELETE FROM log_chunks WHERE job_id = $1 AND last_line = ANY ($2::bigint[]) AND content IS NOT NULL
  RETURNING ${selectList(TAKEN_OUT)}`);

const PUT_IN = statement('logs-put-in', {
  values: [
    t.uuid,
    t.bigintValue,
    t.bigintValue,
    t.int,
    t.timestamptz,
    t.timestamptz,
    t.json,
    t.nullable(t.bytea),
    t.timestamptz,
  ],
})(`
  INSERT INTO log_chunks (job_id, first_line, last_line, bytes, first_at, last_at, counts, content, stored_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`);

/** What the job's row says of its chunks, once those were changed. */
export const RECOUNT = statement('logs-recount', { values: [t.uuid] })(`
  UPDATE job_logs SET bytes = c.bytes, recent_bytes = c.recent_bytes, recent_chunks = c.recent_chunks, recent_since = c.recent_since
  FROM (
    SELECT COALESCE(sum(bytes), 0) AS bytes,
      COALESCE(sum(bytes) FILTER (WHERE content IS NOT NULL), 0) AS recent_bytes,
      count(*) FILTER (WHERE content IS NOT NULL)::int AS recent_chunks,
      min(stored_at) FILTER (WHERE content IS NOT NULL) AS recent_since
    FROM log_chunks WHERE job_id = $1
  ) AS c
  WHERE job_logs.job_id = $1`);
