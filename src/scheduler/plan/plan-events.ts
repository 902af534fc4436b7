import type { AttemptPhase } from '../../deployments/attempt-status.js';
import type { NewEvent } from '../../events/append-events.js';
import type { AttemptFacts, AttemptRow, DeploymentFacts, DeploymentRow, JobFacts, JobPlan } from './plan-facts.js';
import { routeEventsOf } from './plan-route-events.js';

type PhaseTime = Extract<keyof AttemptRow, `${string}At`>;
/** In the order of an attempt's life; one pass may move it through several. */
const PHASES: readonly (readonly [AttemptPhase, PhaseTime])[] = [
  ['assigned', 'assignedAt'],
  ['pulling', 'pullingAt'],
  ['starting', 'startingAt'],
  ['healthy', 'healthyAt'],
  ['unrouting', 'unroutingAt'],
  ['stopping', 'stoppingAt'],
  ['ended', 'endedAt'],
];

/**
 * Events of the changes in a plan, causes before effects.
 * @param gained those of the plan's new hosts that were no other job's
 */
export function eventsOf(job: JobFacts, plan: JobPlan, gained: readonly string[]): NewEvent[] {
  const deployments = new Map(job.deployments.map((deployment) => [deployment.id, deployment]));
  const attempts = new Map(
    job.deployments.flatMap((deployment) =>
      deployment.attempts.map((attempt) => [attempt.id, { deployment, attempt }]),
    ),
  );
  const events = [
    ...plan.attempts.flatMap((row) => {
      const before = attempts.get(row.id);
      return before ? phasesOf(before.deployment, before.attempt, row) : [];
    }),
    // The newest first: an older one drains because the newer is active, or is active again because the newer was lost.
    ...plan.deployments.toReversed().flatMap((row) => {
      const before = deployments.get(row.id);
      return before && before.status !== row.status ? [statusOf(before, row)] : [];
    }),
    ...plan.newAttempts.map(({ deploymentId, number: attempt, reason }): Draft => {
      const deployment = deployments.get(deploymentId)?.number ?? null;
      return { type: 'attempt.waiting', deployment, attempt, cause: { reason } };
    }),
    ...routeEventsOf(job, plan, gained),
    ...jobEventsOf(job, plan),
  ];
  return events.map((event) => ({ ...event, actor: 'scheduler', jobId: job.id, job: job.name }));
}

type Draft = Omit<NewEvent, 'actor' | 'jobId' | 'job'>;

function phasesOf({ number: deployment }: DeploymentFacts, before: AttemptFacts, after: AttemptRow): Draft[] {
  const about = { deployment, attempt: before.number, instance: before.instance?.id ?? null };
  return PHASES.filter(([, time]) => before[time] === null && after[time] !== null).map(([phase]) => {
    const type = `attempt.${phase}` as const;
    // Until an attempt is stopped or ends, its reason is still that of its beginning.
    const isLeaving = phase === 'unrouting' || phase === 'stopping' || phase === 'ended';
    return { type, ...about, ...(isLeaving && { cause: { reason: after.reason }, data: { message: after.message } }) };
  });
}

function statusOf({ number: deployment, status: from }: DeploymentFacts, after: DeploymentRow): Draft {
  const { reason, message, failedPhase, exitCode } = after;
  const data = { from, message, failedPhase, exitCode };
  return { type: `deployment.${after.status}` as NewEvent['type'], deployment, cause: { reason }, data };
}

function jobEventsOf(job: JobFacts, plan: JobPlan): Draft[] {
  if (plan.isGone) return [{ type: 'job.deleted' }];
  if (plan.status === job.status) return [];
  const isActive = ({ id }: { readonly id: string }): boolean => id === plan.activeDeploymentId;
  const active = plan.deployments.find(isActive) ?? job.deployments.find(isActive);
  const deployment = job.deployments.find(isActive)?.number ?? null;
  if (plan.status === 'degraded') {
    const { reason = null, message = null } = active ?? {};
    return [{ type: 'job.degraded', deployment, cause: { reason }, data: { message } }];
  }
  return job.status === 'degraded' && plan.status === 'running' ? [{ type: 'job.recovered', deployment }] : [];
}
