import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import { ChangeWaiter } from '../jobs/change-waiter.js';
import { Shutdown } from '../process/shutdown.js';

/** How late a line may be whose signal was lost. */
const FALLBACK_EVERY_MS = 2_000;

/**
 * Lets a follower of a log wait for the next line, or for the end. Signals wake it; where one was lost, a fallback
 * query does, one statement for all logs that are followed in this process.
 */
@Injectable()
export class LogWaiter implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Logs');
  readonly #waiter: ChangeWaiter;
  /** By job, the last result of the fallback query. */
  #seen = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #isQuerying = false;

  constructor(
    private readonly database: Database,
    signals: Signals,
    shutdown: Shutdown,
  ) {
    this.#waiter = new ChangeWaiter(signals, shutdown, ['logs', 'changes']);
  }

  onApplicationBootstrap(): void {
    this.#timer ??= setInterval(() => void this.#queryAll(), FALLBACK_EVERY_MS).unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.#timer);
  }

  /** Logs that are waited for now. */
  get size(): number {
    return this.#waiter.size;
  }

  /** As ChangeWaiter's. */
  async wait(jobId: string, waitMs: number, signal: AbortSignal, look: () => Promise<boolean>): Promise<void> {
    await this.#waiter.wait(jobId, waitMs, signal, look);
  }

  async #queryAll(): Promise<void> {
    const { jobIds } = this.#waiter;
    if (this.#isQuerying) return;
    if (jobIds.length === 0) {
      this.#seen.clear();
      return;
    }
    this.#isQuerying = true;
    try {
      const rows = await this.database.run(FOLLOWED, [jobIds]);
      const changed = rows.filter(({ id, seen }) => this.#seen.get(id) !== seen).map(({ id }) => id);
      // A job whose row is gone.
      const gone = jobIds.filter((jobId) => !rows.some(({ id }) => id === jobId));
      this.#seen = new Map(rows.map(({ id, seen }) => [id, seen]));
      if (changed.length + gone.length > 0) this.#waiter.wake([...changed, ...gone]);
    } catch (error) {
      this.#logger.warn('followed logs could not be queried', { error: String(error) });
    } finally {
      this.#isQuerying = false;
    }
  }
}

// What wakes a follower: a line, or the end of an attempt, of a deployment or of the job.
const FOLLOWED = statement('logs-fallback', { values: [t.arrayOf(t.uuid)], row: { id: t.uuid, seen: t.text } })(`
  SELECT j.id, concat_ws(' ', l.last_line, j.deployment_count, j.deleted_at IS NULL,
    (SELECT count(*) FROM attempts a WHERE a.job_id = j.id AND a.phase <> 'ended'),
    (SELECT count(*) FROM deployments d WHERE d.job_id = j.id AND d.status IN ('queued', 'deploying', 'active', 'draining'))
  ) AS seen
  FROM jobs j LEFT JOIN job_logs l ON l.job_id = j.id
  WHERE j.id = ANY ($1::uuid[])`);
