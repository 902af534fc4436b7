import type { NewEvent } from '../../events/append-events.js';
import type { AttemptFacts, AttemptRow, DeploymentFacts, DeploymentRow, JobFacts, JobPlan } from './plan-facts.js';

/** Why the addresses of a job lead nowhere any more: `why` of `route.cleared`. */
export const CLEARED_WHY = ['stopped', 'deleted', 'nothing-serves', 'no-address'] as const;

type RouteEvent = Omit<NewEvent, 'actor' | 'jobId' | 'job'>;

/**
 * Events of a job's addresses: the hosts it has and where they lead, before and after a plan. One of each kind at most,
 * with the whole list, so that a receiver that missed some needs the last one only.
 * @param gained those of the plan's new hosts that were no other job's
 */
export function routeEventsOf(job: JobFacts, plan: JobPlan, gained: readonly string[]): RouteEvent[] {
  const added = gained.filter((host) => !job.hosts.includes(host));
  const removed = job.hosts.filter((host) => plan.hosts.removed.includes(host));
  const hosts = [...job.hosts.filter((host) => !removed.includes(host)), ...added].toSorted();
  const attempts = attemptsOf(job, plan);
  const before = job.hosts.length === 0 ? undefined : attempts.find((one) => one.before.routedPort !== null);
  const after = hosts.length === 0 ? undefined : attempts.find((one) => one.after.routedPort !== null);

  const hasOtherHosts = added.length + removed.length > 0;
  const changed: RouteEvent = {
    type: 'route.hosts-changed',
    ...(after && placeOf(after)),
    data: { added: added.toSorted(), removed, hosts },
  };
  return [...(hasOtherHosts ? [changed] : []), ...leadOf(job, { hosts, before, after })];
}

/** An attempt with its deployment, before and after the plan. */
type Led = {
  readonly deployment: { readonly before: DeploymentFacts; readonly after: DeploymentFacts | DeploymentRow };
  readonly before: AttemptFacts;
  readonly after: AttemptFacts | AttemptRow;
};

function attemptsOf(job: JobFacts, plan: JobPlan): Led[] {
  const deployments = new Map(plan.deployments.map((row) => [row.id, row]));
  const attempts = new Map(plan.attempts.map((row) => [row.id, row]));
  return job.deployments.flatMap((deployment) =>
    deployment.attempts.map((before) => ({
      deployment: { before: deployment, after: deployments.get(deployment.id) ?? deployment },
      before,
      after: attempts.get(before.id) ?? before,
    })),
  );
}

type Change = {
  readonly hosts: readonly string[];
  readonly before: Led | undefined;
  readonly after: Led | undefined;
};

function leadOf(job: JobFacts, { hosts, before, after }: Change): RouteEvent[] {
  if (after) {
    if (before?.before.id === after.before.id && before.before.routedPort === after.after.routedPort) return [];
    const from = before ? placeOf(before) : null;
    const data = { hosts, port: after.after.routedPort, from };
    const cause = before && { cause: { reason: whyLeft(before).reason } };
    return [{ type: 'route.switched', ...placeOf(after), ...cause, data }];
  }
  if (!before) return [];
  const { reason, message } = whyLeft(before);
  const data = { hosts: job.hosts.toSorted(), why: whyCleared(job, hosts), message };
  return [{ type: 'route.cleared', ...placeOf(before), cause: { reason }, data }];
}

function placeOf({ deployment, before: { number: attempt, instance } }: Led) {
  return { deployment: deployment.before.number, attempt, instance: instance?.id ?? null };
}

/** Until an attempt is given up its reason is that of its beginning: what its deployment says is why callers leave it. */
function whyLeft({ deployment, after }: Led): { reason: string | null; message: string | null } {
  const isGivenUp = after.phase === 'unrouting' || after.phase === 'stopping' || after.phase === 'ended';
  const { reason, message } = isGivenUp ? after : deployment.after;
  return { reason, message };
}

function whyCleared({ desiredState }: JobFacts, hosts: readonly string[]): (typeof CLEARED_WHY)[number] {
  if (desiredState !== 'running') return desiredState;
  return hosts.length === 0 ? 'no-address' : 'nothing-serves';
}
