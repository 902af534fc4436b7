import { after, spotNoticedAt } from './plan-order.js';
import type { AttemptFacts, DeploymentFacts } from './plan-facts.js';

/**
 * How long callers may still come by an older answer. An ingress goes by one for a second, and for 22 more while none of us
 * answers (`Cache-Control` of ingress.controller.ts), in whole seconds: 24. The lookup that then fails takes two or three,
 * as the one that brought the answer did, and two are from the time of a plan to its commit.
 */
export const STALE_SECONDS = 33;

/** EC2 ends a spot instance so long after its notice. The container is stopped somewhat earlier: the order has to get there. */
const SPOT_SECONDS = 120;
const SPOT_SLACK_SECONDS = 10;
/** Of a longer stopGraceSeconds the end is lost: callers come first. */
const SPOT_GRACE_SECONDS = 60;

/**
 * Until when an attempt has to go on serving those who still come to it; null = nobody was led to it. The last of them may
 * come STALE_SECONDS after it was unrouted, and has all of drainSeconds from then on.
 */
export function servesUntil(
  attempt: AttemptFacts,
  deployment: DeploymentFacts,
  now: Date,
  drainSeconds = deployment.definition.rollout.drainSeconds,
): Date | null {
  const { routedPort, unroutedAt } = attempt;
  const since = routedPort === null ? unroutedAt : now;
  return since && inTimeForSpot(after(since, STALE_SECONDS + drainSeconds), attempt, deployment);
}

/** The time, or an earlier one where EC2 would end the instance before the container could be stopped. */
export function inTimeForSpot(at: Date, attempt: AttemptFacts, { definition }: DeploymentFacts): Date {
  const noticedAt = spotNoticedAt(attempt);
  if (!noticedAt) return at;
  const grace = Math.min(definition.rollout.stopGraceSeconds, SPOT_GRACE_SECONDS);
  const last = after(noticedAt, SPOT_SECONDS - grace - SPOT_SLACK_SECONDS);
  return last < at ? last : at;
}
