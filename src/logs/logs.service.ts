import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { deploymentNotFound } from '../deployments/deployments.service.js';
import type { Page } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { jobNotFound } from '../jobs/job-lock.js';
import type { LogFilter } from './log-filter.js';
import type { LogBatch } from './log-batch.js';
import { type Followed, type LogRead, LogReader } from './log-reader.js';
import { formatCursor, type LogCursor, type LogLineResponse, type ReadLogs } from './log.schema.js';
import { LogWaiter } from './log-waiter.js';
import { retryWhileUnavailable } from './retry-while-unavailable.js';

/** A log that was found, and the place in it where reading begins. */
export type OpenLog = {
  readonly jobId: string;
  readonly filter: LogFilter;
  readonly isFollowed: boolean;
  /** What ends when it ends. */
  readonly followed: Followed;
  /** Number of its latest line now. */
  readonly lastLine: number;
  /** After this line, without the first `skip` lines. */
  readonly after: number;
  readonly skip: number;
};

const DEFAULT_TAIL = 1_000;
/** A follower queries again after so long, even if every signal that should have woken it was lost. */
const LONGEST_WAIT_MS = 600_000;
/** Of a page, in characters. */
const MAX_PAGE_LENGTH = 1_048_576;

/** Shows what containers print. */
@Injectable()
export class LogsService {
  constructor(
    private readonly database: Database,
    private readonly reader: LogReader,
    private readonly waiter: LogWaiter,
  ) {}

  /**
   * Begins after `cursor`, else where the query says.
   * @throws Problem job-not-found, deployment-not-found, attempt-not-found, unavailable
   */
  async open(name: string, query: ReadLogs, cursor: LogCursor | undefined): Promise<OpenLog> {
    const { deployment = null, attempt = null, stream = null, since = null, follow } = query;
    const [job] = await this.database.run(JOB, [name, deployment, attempt]);
    if (!job) throw jobNotFound(name);
    if (deployment !== null && !job.hasDeployment) throw deploymentNotFound(name, deployment);
    const fromDeployment = deployment ?? cursor?.fromDeployment ?? job.current ?? 1;
    if (attempt !== null && deployment !== null && !job.hasAttempt) {
      throw new Problem(
        'attempt-not-found',
        `Deployment ${deployment} of the job “${name}” has no attempt ${attempt}.`,
      );
    }
    const toDeployment = deployment ?? (follow ? null : fromDeployment);
    const filter = { fromDeployment, toDeployment, attempt, stream, since };
    const lastLine = Number(job.lastLine ?? 0);
    const tail = query.tail ?? (since === null ? DEFAULT_TAIL : null);
    const start = cursor
      ? { after: cursor.line, skip: 0 }
      : await this.reader.findStart(job.id, lastLine, filter, tail);
    return {
      jobId: job.id,
      filter,
      isFollowed: follow,
      followed: deployment === null ? null : { deployment, attempt },
      lastLine,
      ...start,
    };
  }

  /** What there is; of a log that is followed also new lines, until there can be no more or `signal` aborts. */
  async *read(log: OpenLog, signal: AbortSignal): AsyncGenerator<LogBatch> {
    let { after, skip } = log;
    while (log.isFollowed || after < log.lastLine) {
      const read = await (log.isFollowed ? this.#waitForNext(log, after, signal) : this.#next(log, after));
      if (!read || read.isEmpty) return;
      for await (const batch of read.batches) {
        if (signal.aborted) return;
        const wanted = batch.gone ?? batch.lines.length;
        // The line that reports missing ones is kept, unless all of them were to be skipped.
        const lines = batch.gone === undefined || skip >= wanted ? batch.lines.slice(skip) : batch.lines;
        skip = Math.max(0, skip - wanted);
        after = batch.through;
        if (lines.length > 0) yield { lines, through: after };
      }
    }
  }

  /** @param limit lines at most */
  async readPage(log: OpenLog, limit: number, signal: AbortSignal): Promise<Page<LogLineResponse>> {
    const items: LogLineResponse[] = [];
    let length = 0;
    for await (const { lines } of this.read(log, signal)) {
      for (const { line, ...item } of lines) {
        items.push(item);
        length += item.text.length;
        if (items.length < limit && length < MAX_PAGE_LENGTH) continue;
        return { items, nextCursor: formatCursor({ fromDeployment: log.filter.fromDeployment, line }) };
      }
    }
    return { items, nextCursor: null };
  }

  async #next({ jobId, filter, followed }: OpenLog, after: number): Promise<LogRead> {
    return await this.reader.next(jobId, after, filter, followed);
  }

  /** @returns undefined when `signal` aborted */
  async #waitForNext(log: OpenLog, after: number, signal: AbortSignal): Promise<LogRead | undefined> {
    let read: LogRead | undefined;
    while (!signal.aborted) {
      await this.waiter.wait(log.jobId, LONGEST_WAIT_MS, signal, async () => {
        read = await retryWhileUnavailable(() => this.#next(log, after), signal);
        return read === undefined || !read.isEmpty || read.isOver;
      });
      if (read && (!read.isEmpty || read.isOver)) return read;
    }
    return undefined;
  }
}

const JOB = statement('logs-job', {
  values: [t.text, t.nullable(t.int), t.nullable(t.int)],
  row: {
    id: t.uuid,
    lastLine: t.nullable(t.bigint),
    current: t.nullable(t.int),
    hasDeployment: t.bool,
    hasAttempt: t.bool,
  },
})(`
  SELECT j.id, l.last_line AS "lastLine",
    COALESCE(
      (SELECT number FROM deployments d WHERE d.id = j.active_deployment_id),
      (SELECT max(deployment) FROM attempt_logs a WHERE a.job_id = j.id AND a.version > 0)
    ) AS current,
    d.id IS NOT NULL AS "hasDeployment",
    EXISTS (SELECT 1 FROM attempts a WHERE a.deployment_id = d.id AND a.number = $3::int) AS "hasAttempt"
  FROM jobs j
  LEFT JOIN job_logs l ON l.job_id = j.id
  LEFT JOIN deployments d ON d.job_id = j.id AND d.number = $2::int
  WHERE j.name = $1 AND j.deleted_at IS NULL`);
