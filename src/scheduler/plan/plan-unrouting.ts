import { after, spotNoticedAt } from './plan-order.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';

/** EC2 ends a spot instance so long after its notice. The container is stopped somewhat earlier: the order has to get there. */
const SPOT_SECONDS = 120;
const SPOT_SLACK_SECONDS = 10;
/** Of a longer stopGraceSeconds the end is lost: callers come first. */
const SPOT_GRACE_SECONDS = 60;

/**
 * Until when an attempt has to go on serving those who still come to it; null = nobody was led to it. The last of them may
 * come lateCallerSeconds after it was unrouted, and has all of drainSeconds from then on.
 */
export function servesUntil(
  { job: { lateCallerSeconds }, now }: Pick<Draft, 'job' | 'now'>,
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  drainSeconds = deployment.definition.rollout.drainSeconds,
): Date | null {
  const { routedPort, unroutedAt } = attempt;
  const since = routedPort === null ? unroutedAt : now;
  return since && inTimeForSpot(after(since, lateCallerSeconds + drainSeconds), attempt, deployment);
}

/** The time, or an earlier one where EC2 would end the instance before the container could be stopped. */
export function inTimeForSpot(at: Date, attempt: AttemptFacts, { definition }: DeploymentFacts): Date {
  const noticedAt = spotNoticedAt(attempt);
  if (!noticedAt) return at;
  const grace = Math.min(definition.rollout.stopGraceSeconds, SPOT_GRACE_SECONDS);
  const last = after(noticedAt, SPOT_SECONDS - grace - SPOT_SLACK_SECONDS);
  return last < at ? last : at;
}
