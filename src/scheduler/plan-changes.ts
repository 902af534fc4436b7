import type { AttemptPhase } from '../deployments/attempt-status.js';
import type { DeploymentStatus } from '../deployments/deployment-status.js';
import type { AttemptFacts, DeploymentFacts, DeploymentRow, JobFacts, JobPlan } from './plan-facts.js';

/** What a plan changed, for the log and for metrics. */
export type Change =
  | {
      readonly kind: 'deployment';
      readonly before: DeploymentFacts;
      readonly after: DeploymentRow;
      readonly status: DeploymentStatus;
      readonly reason: string | null;
    }
  | {
      readonly kind: 'attempt';
      readonly deployment: DeploymentFacts;
      readonly number: number;
      readonly phase: AttemptPhase;
      readonly reason: string | null;
      readonly instanceId: string | null;
      /** The phase it was in, and for how long; null = it is new. */
      readonly left: { readonly phase: AttemptPhase; readonly durationMs: number } | null;
    };

/** Deployments of another status and attempts of another phase than before, new ones among them, in the order of their life. */
export function changesOf(job: JobFacts, plan: JobPlan, now: Date): Change[] {
  return job.deployments.flatMap((deployment) => {
    const after = plan.deployments.find(({ id }) => id === deployment.id);
    const changed: Change[] =
      after && after.status !== deployment.status
        ? [{ kind: 'deployment', before: deployment, after, status: after.status, reason: after.reason }]
        : [];
    const attempts = [...movedAttempts(deployment, plan, now), ...newAttempts(deployment, plan)];
    return [...attempts, ...changed];
  });
}

function movedAttempts(deployment: DeploymentFacts, plan: JobPlan, now: Date): Change[] {
  return deployment.attempts.flatMap((before): Change[] => {
    const after = plan.attempts.find(({ id }) => id === before.id);
    if (!after || after.phase === before.phase) return [];
    const durationMs = Math.max(0, now.getTime() - (reachedAt(before) ?? now).getTime());
    const { phase, reason } = after;
    const left = { phase: before.phase, durationMs };
    return [
      {
        kind: 'attempt',
        deployment,
        number: before.number,
        phase,
        reason,
        instanceId: before.instance?.id ?? null,
        left,
      },
    ];
  });
}

function newAttempts(deployment: DeploymentFacts, plan: JobPlan): Change[] {
  return plan.newAttempts
    .filter(({ deploymentId }) => deploymentId === deployment.id)
    .map(({ number, reason }) => ({
      kind: 'attempt',
      deployment,
      number,
      phase: 'waiting',
      reason,
      instanceId: null,
      left: null,
    }));
}

function reachedAt({ phase, ...times }: AttemptFacts): Date | null {
  return phase === 'waiting' ? times.createdAt : times[`${phase}At`];
}
