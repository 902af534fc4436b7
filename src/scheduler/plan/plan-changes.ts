import type { AttemptFacts, AttemptRow, DeploymentFacts, DeploymentRow, JobFacts, JobPlan } from './plan-facts.js';

/** The rows whose status or phase a plan changed, for metrics. */
export type Moved = {
  /** Deployments whose status changed. */
  readonly deployments: readonly { readonly before: DeploymentFacts; readonly after: DeploymentRow }[];
  /** Attempts whose phase changed. `since`: when the phase it left had begun. */
  readonly attempts: readonly {
    readonly deployment: DeploymentFacts;
    readonly before: AttemptFacts;
    readonly after: AttemptRow;
    readonly since: Date;
  }[];
};

export function movedBy(job: JobFacts, plan: JobPlan): Moved {
  return {
    deployments: job.deployments.flatMap((before) => {
      const after = plan.deployments.find(({ id }) => id === before.id);
      return after && after.status !== before.status ? [{ before, after }] : [];
    }),
    attempts: job.deployments.flatMap((deployment) =>
      deployment.attempts.flatMap((before) => {
        const after = plan.attempts.find(({ id }) => id === before.id);
        const since = beganAt(before);
        return after && after.phase !== before.phase && since ? [{ deployment, before, after, since }] : [];
      }),
    ),
  };
}

function beganAt({ phase, ...times }: AttemptFacts): Date | null {
  return phase === 'waiting' ? times.createdAt : times[`${phase}At`];
}
