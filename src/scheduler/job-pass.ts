import type { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import type { Signals } from '../database/signals.js';
import type { NewEvent } from '../events/append-events.js';
import { passes } from '../process/loop.js';
import { Occurrence } from '../process/observation.js';
import { applyJobPlans, type Planned } from './apply-job-plans.js';
import { claimJobs, type ClaimedJob } from './load-jobs.js';
import type { JobFacts, Premises } from './plan/plan-facts.js';
import { planJob } from './plan/plan-job.js';

/** Committed plans, each with the rows before it. */
export const jobPlans = new Occurrence<{
  readonly planned: readonly Planned[];
  readonly now: Date;
  readonly durationMs: number;
}>('job-plans');

export const BATCH_SIZE = 500;
/** A job whose plan throws is a bug of ours: it must neither stop the others nor fill the log. */
const POISONED_PAUSE_SECONDS = 60;
/** Of the processor. A plan takes a millisecond; a job that costs this much would hold up all others, pass after pass. */
const PLAN_BUDGET_MS = 250;
/** After this a pass commits what it has planned; other jobs stay due: no lock or transaction is held longer. */
const PASS_BUDGET_MS = 2_000;
/** A failed batch is retried in parts for this long. Beyond that the fault is the database's, not one job's. */
const LONGEST_SEARCH_MS = 120_000;

export type PassResult = {
  readonly jobs: number;
  /** The earliest wake-up among these jobs. */
  readonly nextPassAt: Date | null;
  readonly now: Date;
};

export type JobPassOptions = {
  readonly onPlanError: (job: ClaimedJob, error: unknown) => void;
  /** Called with what a pass changed, once it is committed. */
  readonly onChanged?: (planned: readonly Planned[], events: readonly NewEvent[]) => void;
  /** Milliseconds of the processor that this thread has used. */
  readonly usedMs?: () => number;
  /** Milliseconds on a clock that never jumps. */
  readonly nowMs?: () => number;
};

/** Between two passes, one being due each second: this process was suspended, or Postgres did not answer, agents either. */
const GAP_MS = 5_000;

/** One claim → load → plan → apply over a batch of due jobs, in one transaction without a network call in it. */
export class JobPass {
  #lastEndedMs: number | null = null;
  /** By the database's clock. */
  #listeningSince = new Date(0);

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly premises: Premises,
    private readonly options: JobPassOptions,
  ) {}

  async run(limit = BATCH_SIZE): Promise<PassResult> {
    const claimed: ClaimedJob[] = [];
    try {
      return await this.#runBatch(limit, null, (jobs) => claimed.push(...jobs));
    } catch (error) {
      if (claimed.length === 0 || !mayBeOneJobs(error)) throw error;
      await this.#runInHalves(claimed, error, performance.now() + LONGEST_SEARCH_MS);
      return { jobs: claimed.length, nextPassAt: null, now: new Date(0) };
    }
  }

  /** A single job that fails a whole batch must not stop the others: it is found, and put off alone. */
  async #runInHalves(jobs: readonly ClaimedJob[], error: unknown, giveUpAtMs: number): Promise<void> {
    const [job] = jobs;
    if (job && jobs.length === 1) {
      await this.#postpone(job, error);
      return;
    }
    const middle = Math.ceil(jobs.length / 2);
    for (const half of [jobs.slice(0, middle), jobs.slice(middle)]) {
      try {
        const ids = half.map(({ id }) => id);
        await this.#runBatch(half.length, ids);
      } catch (failure) {
        if (!mayBeOneJobs(failure) || performance.now() > giveUpAtMs) throw failure;
        await this.#runInHalves(half, failure, giveUpAtMs);
      }
    }
  }

  async #runBatch(
    limit: number,
    among: readonly string[] | null,
    onClaimed?: (jobs: readonly ClaimedJob[]) => void,
  ): Promise<PassResult> {
    const startedAt = performance.now();
    const { nowMs = () => performance.now() } = this.options;
    const isAfterGap = this.#lastEndedMs === null || nowMs() - this.#lastEndedMs > GAP_MS;
    const { now, lagsMs, planned, left, applied } = await this.database.transaction(async (transaction) => {
      const claimed = await claimJobs(transaction, this.premises, limit, { among, ...(onClaimed && { onClaimed }) });
      if (isAfterGap) this.#listeningSince = claimed.now;
      const planned = this.#planAll(claimed.jobs, claimed.now);
      const applied = planned.length > 0 ? await applyJobPlans(transaction, planned) : undefined;
      const left = claimed.jobs.length - planned.length;
      return { now: claimed.now, lagsMs: claimed.lagsMs, planned, left, applied };
    });
    this.#lastEndedMs = nowMs();
    if (planned.length > 0) {
      const durationMs = performance.now() - startedAt;
      passes.publish({ pass: 'job', durationMs, lagsMs });
      jobPlans.publish({ planned, now, durationMs });
      this.options.onChanged?.(planned, applied?.events ?? []);
    }
    if (applied) {
      if (applied.orderedInstances.length > 0) this.signals.ordersWritten(applied.orderedInstances);
      if (applied.wokenShapes.length > 0) this.signals.shapesDue();
      if (applied.events.length > 0) this.signals.eventsWritten();
      if (applied.changedJobs.length > 0) this.signals.jobsChanged(applied.changedJobs);
    }
    return { jobs: planned.length, nextPassAt: left > 0 ? now : earliest(planned), now };
  }

  #planAll(jobs: readonly JobFacts[], now: Date): Planned[] {
    const { usedMs = threadMs } = this.options;
    const endMs = usedMs() + PASS_BUDGET_MS;
    const planned: Planned[] = [];
    for (const job of jobs) {
      planned.push(this.#plan(job, now));
      if (usedMs() >= endMs) break;
    }
    return planned;
  }

  async #postpone(job: ClaimedJob, error: unknown): Promise<void> {
    this.options.onPlanError(job, error);
    await this.database.run(POSTPONE, [job.id, POISONED_PAUSE_SECONDS]);
  }

  #plan(job: JobFacts, now: Date): Planned {
    try {
      const { usedMs = threadMs } = this.options;
      const beganMs = usedMs();
      const plan = planJob(job, now, this.#listeningSince);
      const tookMs = usedMs() - beganMs;
      if (tookMs <= PLAN_BUDGET_MS) return { job, plan };
      throw new Error(`its plan took ${Math.round(tookMs)} ms of the processor, ${PLAN_BUDGET_MS} ms are allowed`);
    } catch (error) {
      this.options.onPlanError(job, error);
      const { status, activeDeploymentId } = job;
      const nextPassAt = new Date(now.getTime() + POISONED_PAUSE_SECONDS * 1000);
      const rows = { deployments: [], attempts: [], newAttempts: [], orders: [] };
      const nothing = { ...rows, hosts: { added: [], removed: [] } };
      return { job, plan: { status, activeDeploymentId, isGone: false, nextPassAt, ...nothing } };
    }
  }
}

const POSTPONE = statement('job-postpone', { values: [t.uuid, t.double], isPrepared: false })(
  `UPDATE jobs SET next_pass_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1`,
);

/**
 * Data exceptions, violated constraints, limits of a program, and timeouts: of a statement, of a transaction, or of our
 * own code in between. https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
function mayBeOneJobs(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // Neither has a code: a value too large for our code, and pg's own query_timeout.
  if (error instanceof RangeError || error.message === 'Query read timeout') return true;
  return 'code' in error && /^(2[23]...|54...|57014|25P03|25P04)$/.test(String(error.code));
}

function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function earliest(planned: readonly Planned[]): Date | null {
  const times = planned.flatMap(({ plan }) => (plan.nextPassAt ? [plan.nextPassAt.getTime()] : []));
  return times.length > 0 ? new Date(Math.min(...times)) : null;
}
