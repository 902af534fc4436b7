import { hostsOf, ownHostsOf, routedPortOf } from '../../jobs/route-rules.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts, JobFacts } from './plan-facts.js';
import { after, type Failure } from './plan-order.js';
import { REASONS } from './plan-reasons.js';

// The health check looks from the instance itself, and says nothing of the way to it: security groups, and what else is
// between. So a process beside the ingress connects to the port (ingress/reach-checks.service.ts) before callers are led there.

/** A check that takes longer is shown: it mostly takes milliseconds. */
const SHOWN_AFTER_SECONDS = 5;
/** What heals a job serves then, whatever was found. Longer than a check takes (reach-checks.service.ts). */
const HEALING_WAITS_SECONDS = 45;
/** A port that could not be connected to is tried again: a security group may have been mended. */
const AGAIN_SECONDS = 60;

/** What is known of the way from the ingress to an attempt. */
export type Reach = 'ready' | 'waiting' | Failure;

/** Has the port of a healthy attempt checked. @returns whether it may serve */
export function planReach(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): Reach {
  const port = wantedPort(draft.job, deployment);
  if (port === null) return 'ready';
  askAbout(draft, deployment, attempt, port);
  const { reachAskedAt, reachedAs } = draft.attempt(attempt);
  if (!isReliedOn(draft, deployment) || reachedAs === 'http' || reachedAs === 'silent') return 'ready';
  if (reachedAs !== null) return unreachable(draft.attempt(attempt), port);

  const shownAt = after(reachAskedAt ?? draft.now, SHOWN_AFTER_SECONDS);
  if (draft.now < shownAt) draft.wakeAt(shownAt);
  else
    draft.change(deployment, { reason: 'route-unreachable', message: `${REASONS['route-unreachable'].text}, so far` });
  return 'waiting';
}

/** The same for one that heals a job whose callers have nothing else: for a while, since it is better than none. */
export function isHealingReady(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): boolean {
  if (planReach(draft, deployment, attempt) !== 'waiting') return true;
  const readyAt = after(draft.attempt(attempt).reachAskedAt ?? draft.now, HEALING_WAITS_SECONDS);
  if (draft.now >= readyAt) return true;
  draft.wakeAt(readyAt);
  return false;
}

/**
 * Whether callers are led to an attempt that serves: an address that nobody asked for is one only where HTTP is spoken.
 * Has it checked where that is not known, as when a scheduler starts with JOBS_URL for the first time.
 */
export function leadsTo(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts, port: number): boolean {
  if (attempt.routedPort === port || isReliedOn(draft, deployment)) return true;
  askAbout(draft, deployment, attempt, port);
  const { reachedAs, reachAskedAt } = draft.attempt(attempt);
  if (reachedAs === 'nothing' && reachAskedAt) {
    const againAt = after(reachAskedAt, AGAIN_SECONDS);
    if (draft.now < againAt) draft.wakeAt(againAt);
    else draft.move(deployment, draft.attempt(attempt), attempt.phase, { reachAskedAt: draft.now, reachedAs: null });
  }
  return reachedAs === 'http';
}

/** Whether an address that nobody asked for turned out to be none. */
export function hasNoUse(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): boolean {
  const { reachedAs } = attempt;
  return reachedAs !== null && reachedAs !== 'http' && !isReliedOn(draft, deployment);
}

/** Whether the way to what serves already is being checked, where callers were never led there. The first check was asked for before. */
export function isTriedAgain(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts): boolean {
  const { reachedAs, reachAskedAt } = attempt;
  if (reachedAs !== null || !reachAskedAt || !deployment.activeAt) return false;
  return reachAskedAt > deployment.activeAt && !isReliedOn(draft, deployment);
}

/** The port that the job's addresses are to lead to; null = it has none. */
export function wantedPort(job: JobFacts, { definition }: DeploymentFacts): number | null {
  return hostsOf(job, definition).length === 0 ? null : routedPortOf(definition).host;
}

/** The definition names the port or hosts of its own, or callers were led to the job before. */
function isReliedOn(draft: Draft, { definition }: DeploymentFacts): boolean {
  const { route } = definition;
  if (route !== false && (route.port !== undefined || ownHostsOf(definition).length > 0)) return true;
  const attempts = draft.all().flatMap((deployment) => deployment.attempts);
  return attempts.some(({ routedPort, unroutedAt }) => routedPort !== null || unroutedAt !== null);
}

function askAbout(draft: Draft, deployment: DeploymentFacts, attempt: AttemptFacts, port: number): void {
  if (attempt.reachPort === port) return;
  draft.move(deployment, attempt, attempt.phase, { reachPort: port, reachAskedAt: draft.now, reachedAs: null });
}

function unreachable({ instance, reachedAs }: AttemptFacts, port: number): Failure {
  const address = `${instance?.privateIp ?? instance?.id ?? 'the instance'}:${port}`;
  const why =
    reachedAs === 'other'
      ? `what listens at ${address} does not answer HTTP`
      : `the API cannot connect to ${address}: the instance’s security group must let it in, and the container must listen on all addresses`;
  return { reason: 'route-unreachable', message: `${REASONS['route-unreachable'].text}: ${why}` };
}
