import { Inject, Injectable } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { jobPrefix, type ObjectFolder, OBJECTS, parseChunkKey } from './chunk-objects.js';
import { JobLog } from './job-log.entity.js';
import { HOLD, RECOUNT } from './sealer.js';

export type DroppedLogs = {
  /** Jobs whose log is shorter now, or gone. */
  readonly jobs: number;
  readonly failed: number;
  readonly error?: unknown;
  readonly hasMore: boolean;
};

/** Jobs of one run. */
const JOBS = 100;
/** Rows of one transaction: followers' and agents' statements wait for its locks. */
const BATCH = 500;
/** So long a process that died keeps others from the job. */
const CLAIM_SECONDS = 300;
/** When a job that failed, or is done, is checked again. */
const PAUSE_SECONDS = 60;

/**
 * Drops the oldest lines of each job: what is too old, what is too much, and all of a job that was deleted long ago.
 * Objects are deleted before the rows that name them, and with them objects without a row. Lines in the database are
 * dropped also while the object store is away, as they have a bound. The store is then tried once a run.
 */
@Injectable()
export class LogRetention {
  constructor(
    private readonly database: Database,
    @Inject(OBJECTS) private readonly objects: Pick<ObjectFolder, 'list' | 'delete'>,
    @Setting('logs') private readonly limits: Pick<Config['logs'], 'maxBytes' | 'retentionDays'>,
    @Setting('retentionDays') private readonly deletedJobDays: number,
  ) {}

  async run(): Promise<DroppedLogs> {
    const { maxBytes, retentionDays } = this.limits;
    const values = [maxBytes, retentionDays, this.deletedJobDays, JOBS, CLAIM_SECONDS] as const;
    const jobs = await this.database.run(OVERDUE, values);
    const errors: unknown[] = [];
    let refusal: Refusal | undefined;
    const store = async (work: () => Promise<void>): Promise<void> => {
      if (refusal) throw refusal.error;
      await work().catch((error: unknown) => {
        refusal = { error };
        throw error;
      });
    };
    for (const { jobId, isGone } of jobs) {
      try {
        await this.#shorten(jobId, isGone, store);
      } catch (error) {
        errors.push(error);
      }
    }
    return {
      jobs: jobs.length - errors.length,
      failed: errors.length,
      ...(errors.length > 0 && { error: errors[0] }),
      hasMore: errors.length === 0 && jobs.length === JOBS,
    };
  }

  async #shorten(jobId: string, isGone: boolean, store: (work: () => Promise<void>) => Promise<void>): Promise<void> {
    const through = isGone ? Number.MAX_SAFE_INTEGER : await this.#overdueThrough(jobId);
    await this.#deleteRows(jobId, through, true);
    await store(() => this.#deleteObjects(jobId, through));
    await this.#deleteRows(jobId, through, false);
    if (isGone) await this.database.run(FORGET, [jobId]);
    else await this.database.run(DONE, [jobId, PAUSE_SECONDS]);
  }

  /** Number of the latest line to drop; 0 = none. */
  async #overdueThrough(jobId: string): Promise<number> {
    const { maxBytes, retentionDays } = this.limits;
    const [row] = await this.database.run(HORIZON, [jobId, maxBytes, retentionDays]);
    return Number(row?.through ?? 0);
  }

  async #deleteRows(jobId: string, through: number, isRecent: boolean): Promise<void> {
    for (let deleted = BATCH; deleted === BATCH;) {
      deleted = await this.database.transaction(async (transaction) => {
        await transaction.run(HOLD, [jobId]);
        const rows = await transaction.run(DROP, [jobId, through, isRecent, BATCH]);
        if (rows.length > 0) await transaction.run(RECOUNT, [jobId]);
        return rows.length;
      });
    }
  }

  async #deleteObjects(jobId: string, through: number): Promise<void> {
    for await (const keys of this.objects.list(jobPrefix(jobId))) {
      const old = keys.filter((key) => (parseChunkKey(key)?.lastLine ?? 0) <= through);
      await this.objects.delete(old);
      // In the order of their lines: after one that stays, all stay.
      if (old.length < keys.length) return;
    }
  }
}

type Refusal = { readonly error: unknown };

const OVERDUE = statement('logs-overdue', {
  values: [t.bigintValue, t.int, t.int, t.bigintValue, t.double],
  row: { ...columnsOf(JobLog, 'jobId'), isGone: t.bool },
})(`
  WITH overdue AS (
    SELECT l.job_id, COALESCE(j.deleted_at < clock_timestamp() - make_interval(days => $3), false) AS is_gone
    FROM job_logs l JOIN jobs j ON j.id = l.job_id
    WHERE (l.dropping_until IS NULL OR l.dropping_until < clock_timestamp()) AND (
      l.bytes > $1
      OR j.deleted_at < clock_timestamp() - make_interval(days => $3)
      OR l.job_id IN (SELECT c.job_id FROM log_chunks c WHERE c.stored_at < clock_timestamp() - make_interval(days => $2))
    )
    ORDER BY l.job_id LIMIT $4 FOR UPDATE OF l SKIP LOCKED
  )
  UPDATE job_logs l SET dropping_until = clock_timestamp() + make_interval(secs => $5)
  FROM overdue WHERE l.job_id = overdue.job_id
  RETURNING l.job_id AS "jobId", overdue.is_gone AS "isGone"`);

// The oldest are dropped until the rest fits.
const HORIZON = statement('logs-horizon', {
  values: [t.uuid, t.bigintValue, t.int],
  row: { through: t.nullable(t.bigint) },
})(`
  SELECT max(last_line) AS through FROM (
    SELECT last_line, stored_at, sum(bytes) OVER (ORDER BY last_line DESC) AS kept FROM log_chunks WHERE job_id = $1
  ) AS c
  WHERE kept > $2 OR stored_at < clock_timestamp() - make_interval(days => $3)`);

const DROP = statement('logs-drop', { values: [t.uuid, t.bigintValue, t.bool, t.bigintValue] })(`
  DELETE FROM log_chunks WHERE (job_id, last_line) IN (
    SELECT job_id, last_line FROM log_chunks
    WHERE job_id = $1 AND last_line <= $2 AND (content IS NOT NULL) = $3 ORDER BY last_line LIMIT $4
  )
  RETURNING 1`);

const FORGET = statement('logs-forget', { values: [t.uuid] })(`DELETE FROM job_logs WHERE job_id = $1`);

const DONE = statement('logs-done', { values: [t.uuid, t.double] })(
  `UPDATE job_logs SET dropping_until = clock_timestamp() + make_interval(secs => $2) WHERE job_id = $1`,
);
