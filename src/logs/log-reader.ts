import { Inject, Injectable, Logger } from '@nestjs/common';
import { Database } from '../database/database.js';
import { columnsOf, outerJoined, type RowOf, selectList, statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { chunkKey, type ObjectFolder, OBJECTS, unpackChunk } from './chunk-objects.js';
import { parseLine } from './line-format.js';
import { countWanted, isWanted, type LogFilter } from './log-filter.js';
import { goneLines } from './gone-lines.js';
import type { IndexRow, LogBatch, NumberedLine } from './log-batch.js';
import { LogChunk } from './log-chunk.entity.js';
import { timeOf } from './stored-position.js';

export type LogRead = {
  readonly batches: AsyncIterable<LogBatch>;
  /** There is nothing more now. */
  readonly isEmpty: boolean;
  /** There will be nothing more: what is followed has ended. */
  readonly isOver: boolean;
};

/** What is followed and may end: a deployment, or an attempt of it; null = the job itself. */
export type Followed = { readonly deployment: number; readonly attempt: number | null } | null;

/** A client that takes its time holds one batch. */
const BATCH_LINES = 500;
/** Of one query with content: so many rows, and so many bytes, and the row that exceeds them. A follower holds them. */
const CHUNKS = 64;
const LOOK_BYTES = 131_072;
/** Of one query without content. */
const INDEX_CHUNKS = 500;

/** Reads the log of a job in the order of its lines, wherever they are. */
@Injectable()
export class LogReader {
  readonly #logger = new Logger('Logs');

  constructor(
    private readonly database: Database,
    @Inject(OBJECTS) private readonly objects: ObjectFolder,
  ) {}

  /** The lines after `after`. One statement sees a chunk either here or sealed, so none is missed or read twice. */
  async next(jobId: string, after: number, filter: LogFilter, followed: Followed): Promise<LogRead> {
    const { deployment = null, attempt = null } = followed ?? {};
    const rows = await this.database.run(NEXT, [jobId, after, CHUNKS, deployment, attempt, LOOK_BYTES]);
    const chunks = rows.filter(isChunk).map(toChunk);
    return {
      isEmpty: chunks.length === 0,
      // No row: the job does not exist any more.
      isOver: rows[0]?.isOver ?? true,
      batches: this.#batches(chunks, after, filter),
    };
  }

  /**
   * Where to begin, so that of the wanted lines up to `lastLine` the last `count` follow (null: all of them): behind line
   * `after`, and then without the first `skip` wanted ones.
   */
  async findStart(
    jobId: string,
    lastLine: number,
    filter: LogFilter,
    count: number | null,
  ): Promise<{ readonly after: number; readonly skip: number }> {
    let wanted = 0;
    let after = lastLine;
    if (count !== 0) {
      for await (const chunk of this.#backward(jobId, lastLine)) {
        const found = await this.#countIn(chunk, filter);
        wanted += found;
        if (found > 0) after = chunk.firstLine - 1;
        if (count !== null && wanted >= count) break;
      }
    }
    return { after, skip: count === null ? 0 : Math.max(0, wanted - count) };
  }

  async *#backward(jobId: string, lastLine: number): AsyncGenerator<IndexRow> {
    for (let through = lastLine; ;) {
      const rows = await this.database.run(INDEX, [jobId, through, INDEX_CHUNKS]);
      yield* rows.map(toIndexRow);
      if (rows.length < INDEX_CHUNKS) return;
      through = Number(rows.at(-1)?.firstLine) - 1;
    }
  }

  async #countIn(chunk: IndexRow, filter: LogFilter): Promise<number> {
    const count = countWanted(chunk.counts, filter);
    if (count === 0 || filter.since === null) return count;
    const sinceMs = timeOf(filter.since);
    if (chunk.lastAtMs < sinceMs) return 0;
    if (chunk.firstAtMs > sinceMs) return count;
    return await this.#countLines(chunk, filter);
  }

  /** By numbers: what is looked for may be sealed, in another row, meanwhile. */
  async #countLines({ jobId, firstLine, lastLine }: IndexRow, filter: LogFilter): Promise<number> {
    let found = 0;
    for (let after = firstLine - 1; after < lastLine;) {
      const { batches, isEmpty } = await this.next(jobId, after, filter, null);
      if (isEmpty) break;
      for await (const { lines, through } of batches) {
        found += lines.filter(({ line }) => line <= lastLine).length;
        after = through;
        if (after >= lastLine) break;
      }
    }
    return found;
  }

  async *#batches(chunks: readonly Chunk[], after: number, filter: LogFilter): AsyncGenerator<LogBatch> {
    for (const chunk of chunks) {
      const isNeeded =
        countWanted(chunk.counts, filter) > 0 && (filter.since === null || chunk.lastAtMs >= timeOf(filter.since));
      if (isNeeded) {
        const content = await this.#contentOf(chunk);
        if (content === null) yield goneLines(chunk, after, filter);
        else yield* batchesOf(content, chunk, after, filter);
      }
      yield { lines: [], through: chunk.lastLine };
    }
  }

  /** Null: the object that held it is gone. @throws Problem unavailable */
  async #contentOf(chunk: Chunk): Promise<string | null> {
    if (chunk.content) return chunk.content.toString();
    const key = chunkKey(chunk);
    const bytes = await this.objects.get(key).catch((cause: unknown) => {
      throw new Problem('unavailable', 'The store of older log lines does not answer, or refuses to show them.', {
        retryAfterSeconds: 5,
        cause,
      });
    });
    if (bytes) return (await unpackChunk(bytes)).toString();
    // Either retention was due, or somebody deleted an object that was still needed.
    this.#logger.warn('sealed log lines are gone', { key });
    return null;
  }
}

/** `content` is null when it is sealed. */
type Chunk = IndexRow & { readonly content: Buffer | null };

const INDEX_ROW = columnsOf(LogChunk, 'jobId', 'firstLine', 'lastLine', 'firstAt', 'lastAt', 'counts');
const CHUNK_ROW = { ...INDEX_ROW, ...columnsOf(LogChunk, 'content') } as const;
// One row without a chunk where there is none.
const NEXT_ROW = { ...outerJoined(CHUNK_ROW), isOver: t.bool } as const;

type ChunkRow = RowOf<typeof CHUNK_ROW>;
type NextRow = RowOf<typeof NEXT_ROW>;

function isChunk(row: NextRow): row is NextRow & ChunkRow {
  return row.jobId !== null;
}

function toChunk(row: ChunkRow): Chunk {
  return { ...toIndexRow(row), content: row.content };
}

function toIndexRow({ jobId, firstLine, lastLine, firstAt, lastAt, counts }: RowOf<typeof INDEX_ROW>): IndexRow {
  return {
    jobId,
    firstLine: Number(firstLine),
    lastLine: Number(lastLine),
    firstAtMs: firstAt.getTime(),
    lastAtMs: lastAt.getTime(),
    counts,
  };
}

function* batchesOf(content: string, { firstLine }: Chunk, after: number, filter: LogFilter): Generator<LogBatch> {
  let line = firstLine;
  let lines: NumberedLine[] = [];
  for (let at = 0; at < content.length; line += 1) {
    const end = content.indexOf('\n', at);
    if (line > after) {
      const parsed = parseLine(content.slice(at, end));
      if (isWanted(parsed, filter)) lines.push({ line, ...parsed });
      if (lines.length === BATCH_LINES) {
        yield { lines, through: line };
        lines = [];
      }
    }
    at = end + 1;
  }
  if (lines.length > 0) yield { lines, through: line - 1 };
}

const NEXT = statement('logs-next', {
  values: [t.uuid, t.bigintValue, t.bigintValue, t.nullable(t.int), t.nullable(t.int), t.bigintValue],
  row: NEXT_ROW,
})(`
  SELECT ${selectList(CHUNK_ROW, 'c')}, j.deleted_at IS NOT NULL OR ($4::int IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM deployments d
    WHERE d.job_id = j.id AND d.number = $4 AND (
      ($5::int IS NULL AND d.ended_at IS NULL)
      OR EXISTS (
        SELECT 1 FROM attempts a
        WHERE a.deployment_id = d.id AND a.phase <> 'ended' AND ($5 IS NULL OR a.number = $5)
      )
    )
  )) AS "isOver"
  FROM jobs j
  LEFT JOIN LATERAL (
    SELECT job_id, first_line, last_line, first_at, last_at, counts, content
    FROM (
      SELECT *, sum(bytes) OVER (ORDER BY last_line) - bytes AS before
      FROM (SELECT * FROM log_chunks WHERE job_id = j.id AND last_line > $2 ORDER BY last_line LIMIT $3) AS next
    ) AS measured
    WHERE before < $6
  ) c ON true
  WHERE j.id = $1
  ORDER BY c.last_line`);

const INDEX = statement('logs-index', { values: [t.uuid, t.bigintValue, t.bigintValue], row: INDEX_ROW })(`
  SELECT ${selectList(INDEX_ROW)} FROM log_chunks
  WHERE job_id = $1 AND last_line <= $2 ORDER BY last_line DESC LIMIT $3`);
