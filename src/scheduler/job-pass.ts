import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { applyPlans, type Planned } from './apply-plans.js';
import { claimJobs } from './load-jobs.js';
import type { JobFacts } from './plan-facts.js';
import { planJob } from './plan-job.js';

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
  ) {}

  async run(limit = BATCH_SIZE): Promise<PassResult> {
    const { now, planned, applied } = await this.database.transaction(async (transaction) => {
      const claimed = await claimJobs(transaction, this.cluster, limit);
      const planned = claimed.jobs.map((job) => this.plan(job, claimed.now));
      const applied = planned.length > 0 ? await applyPlans(transaction, planned) : undefined;
      return { now: claimed.now, planned, applied };
    });
    if (applied) {
      if (applied.orderedInstances.length > 0) this.signals.send('orders', applied.orderedInstances);
      if (applied.wokenShapes.length > 0) this.signals.send('shapes');
      if (applied.changedJobs.length > 0) this.signals.send('changes', applied.changedJobs);
    }
    return { jobs: planned.length, nextPassAt: earliest(planned), now };
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

function earliest(planned: readonly Planned[]): Date | null {
  const times = planned.flatMap(({ plan }) => (plan.nextPassAt ? [plan.nextPassAt.getTime()] : []));
  return times.length > 0 ? new Date(Math.min(...times)) : null;
}
