import { hostOf, hostsOf } from '../../jobs/route-rules.js';
import { goodAttempt, inService } from './plan-active.js';
import type { Draft } from './plan-draft.js';
import type { AttemptFacts, DeploymentFacts, HostChanges } from './plan-facts.js';
import { ailmentOf } from './plan-healing.js';
import { after } from './plan-order.js';
import { hasNoUse, isTriedAgain, leadsTo, wantedPort } from './plan-reach.js';

/** A name that is still another job's is asked for again: it leaves within lateCallerSeconds. */
const HOST_CHECK_SECONDS = 2;
/** A host of its own may be another job's for good. */
const OWN_HOST_CHECK_SECONDS = 10;

/** Leads the job's addresses to the attempt that serves, in the same transaction that makes it serve. */
export function planRoute(draft: Draft): HostChanges {
  const active = draft.all().find(({ id }) => id === draft.activeDeploymentId);
  const target = active ? targetOf(draft, active) : null;
  for (const deployment of draft.all()) {
    for (const attempt of deployment.attempts) {
      const routedPort = attempt.id === target?.attempt.id ? target.port : null;
      if (attempt.routedPort === routedPort) continue;
      const unroutedAt = routedPort === null ? draft.now : null;
      draft.move(deployment, attempt, attempt.phase, { routedPort, unroutedAt });
    }
  }
  return planHosts(draft, active ?? draft.withStatus('queued', 'deploying').at(-1));
}

type Target = { readonly attempt: AttemptFacts; readonly port: number };

/** One that ails is better than none. */
function targetOf(draft: Draft, active: DeploymentFacts): Target | null {
  const port = wantedPort(draft.job, active);
  if (port === null) return null;
  const serving = inService(draft, active).filter((attempt) => !ailmentOf(attempt, active, draft.now)?.isDead);
  const attempt =
    goodAttempt(draft, active) ?? serving.findLast(({ routedPort }) => routedPort !== null) ?? serving.at(-1);
  if (attempt?.instance?.privateIp == null) return null;
  return leadsTo(draft, active, attempt, port) ? { attempt, port } : null;
}

/** A stopped job keeps its names: they are its own until it is deleted. */
function planHosts(draft: Draft, deployment: DeploymentFacts | undefined): HostChanges {
  const { hosts, desiredState, name, domain } = draft.job;
  if (desiredState === 'deleted') return { added: [], removed: hosts };
  if (!deployment) return { added: [], removed: [] };
  const wanted = wantedHosts(draft, deployment);
  const added = wanted.filter((host) => !hosts.includes(host));
  const seconds = added.includes(hostOf(name, domain) ?? '') ? HOST_CHECK_SECONDS : OWN_HOST_CHECK_SECONDS;
  if (added.length > 0) draft.wakeAt(after(draft.now, seconds));
  return { added, removed: hosts.filter((host) => !wanted.includes(host)) };
}

function wantedHosts(draft: Draft, deployment: DeploymentFacts): string[] {
  const serving = inService(draft, deployment).at(-1);
  const hosts = hostsOf(draft.job, deployment.definition);
  if (!serving) return hosts;
  if (hasNoUse(draft, deployment, serving)) return [];
  // Else it would gain them with every try, and lose them again half a minute later.
  return isTriedAgain(draft, deployment, serving) ? hosts.filter((host) => draft.job.hosts.includes(host)) : hosts;
}
