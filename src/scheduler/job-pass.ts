import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import type { NewEvent } from '../events/append-events.js';
import { passes } from '../process/loop.js';
import { Occurrence } from '../process/observation.js';
import { applyPlans, type Planned } from './apply-plans.js';
import { claimJobs } from './load-jobs.js';
import type { JobFacts } from './plan-facts.js';
import { planJob } from './plan-job.js';

/** Plans that were committed, each with the rows as they were before it. */
export const jobPlans = new Occurrence<{
  readonly planned: readonly Planned[];
  readonly now: Date;
  readonly durationMs: number;
}>('job-plans');

export const BATCH_SIZE = 500;
/** A job whose plan throws is a bug of ours: it must neither stop the others nor fill the log. */
const POISONED_PAUSE_SECONDS = 60;

export type PassResult = {
  readonly jobs: number;
  /** The earliest wake-up among these jobs. */
  readonly nextPassAt: Date | null;
  readonly now: Date;
};

/** One claim → load → plan → apply over a batch of due jobs, in one transaction without a network call in it. */
export class JobPass {
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly cluster: string,
    private readonly onPlanError: (job: JobFacts, error: unknown) => void,
    /** What a pass changed, once it is committed. */
    private readonly onChanged: (planned: readonly Planned[], events: readonly NewEvent[]) => void = () => undefined,
  ) {}

  async run(limit = BATCH_SIZE): Promise<PassResult> {
    const claimed: JobFacts[] = [];
    try {
      return await this.runBatch(limit, claimed);
    } catch (error) {
      const [job] = claimed;
      if (!job || !isAboutAValue(error)) throw error;
      // One value that Postgres refuses must not stop the others of its batch.
      if (claimed.length === 1) await this.postpone(job, error);
      else for (let left = claimed.length; left > 0; left -= 1) await this.run(1);
      return { jobs: claimed.length, nextPassAt: null, now: new Date(0) };
    }
  }

  private async runBatch(limit: number, claimedJobs: JobFacts[]): Promise<PassResult> {
    const startedAt = performance.now();
    const { now, lagsMs, planned, applied } = await this.database.transaction(async (transaction) => {
      const claimed = await claimJobs(transaction, this.cluster, limit);
      claimedJobs.push(...claimed.jobs);
      const planned = claimed.jobs.map((job) => this.plan(job, claimed.now));
      const applied = planned.length > 0 ? await applyPlans(transaction, planned) : undefined;
      return { now: claimed.now, lagsMs: claimed.lagsMs, planned, applied };
    });
    if (planned.length > 0) {
      const durationMs = performance.now() - startedAt;
      passes.tell({ pass: 'job', durationMs, lagsMs });
      jobPlans.tell({ planned, now, durationMs });
      this.onChanged(planned, applied?.events ?? []);
    }
    if (applied) {
      if (applied.orderedInstances.length > 0) this.signals.send('orders', applied.orderedInstances);
      if (applied.wokenShapes.length > 0) this.signals.send('shapes');
      if (applied.events.length > 0) this.signals.sendHere('new-events');
      if (applied.changedJobs.length > 0) this.signals.send('changes', applied.changedJobs);
    }
    return { jobs: planned.length, nextPassAt: earliest(planned), now };
  }

  private async postpone(job: JobFacts, error: unknown): Promise<void> {
    this.onPlanError(job, error);
    await this.database.query(POSTPONE, [job.id, POISONED_PAUSE_SECONDS]);
  }

  private plan(job: JobFacts, now: Date): Planned {
    try {
      return { job, plan: planJob(job, now) };
    } catch (error) {
      this.onPlanError(job, error);
      const { status, activeDeploymentId } = job;
      const nextPassAt = new Date(now.getTime() + POISONED_PAUSE_SECONDS * 1000);
      const nothing = { deployments: [], attempts: [], newAttempts: [], orders: [] };
      return { job, plan: { status, activeDeploymentId, isGone: false, nextPassAt, ...nothing } };
    }
  }
}

const POSTPONE = `UPDATE jobs SET next_pass_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1`;

/** Data exceptions and violated constraints: https://www.postgresql.org/docs/current/errcodes-appendix.html */
function isAboutAValue(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^2[23]...$/.test(String(error.code));
}

function earliest(planned: readonly Planned[]): Date | null {
  const times = planned.flatMap(({ plan }) => (plan.nextPassAt ? [plan.nextPassAt.getTime()] : []));
  return times.length > 0 ? new Date(Math.min(...times)) : null;
}
