import type { Caller } from '../http/caller.js';
import type { Addresses } from '../config/config.js';
import { isWithin } from '../config/host-name.js';
import { Problem } from '../http/problem.js';
import { summarize } from '../http/validation-errors.js';
import type { JobDefinition } from './job-definition.js';
import { faultOfHost, NO_HOSTS, ownHostsOf, type Place, shown } from './route-rules.js';

type WithRoute = Pick<JobDefinition, 'route'>;

/** Where jobs have their addresses; without JOBS_URL nowhere. */
export function placeOf(addresses: Addresses | undefined): Place {
  return { domain: addresses?.domain ?? null, hostRules: addresses?.hostRules ?? NO_HOSTS };
}

/**
 * Checks the hosts of its own that a job is to have, whenever a caller stores or deploys them. Whether another job has
 * one is seen when it is taken.
 * @param stored the definition of the job as it is: whoever may deploy the job may deploy that; null = there is none yet
 * @throws Problem forbidden, with pointers as into the body of a deployment
 */
export function checkHosts(
  { name, definition }: { readonly name: string; readonly definition: WithRoute },
  place: Place,
  caller: Pick<Caller, 'allow' | 'scope'>,
  stored: WithRoute | null,
): void {
  const known = stored === null ? [] : ownHostsOf(stored);
  const errors = ownHostsOf(definition).flatMap((host, index) => {
    const detail = faultOfHost(host, { name, ...place }) ?? faultOfToken(host, caller, known);
    return detail === undefined ? [] : [{ pointer: `#/route/hosts/${index}`, detail }];
  });
  if (errors.length > 0) throw new Problem('forbidden', summarize(errors), { errors });
}

/** A token for some jobs is not for the hosts of all others: without a list of its own it takes none. */
function faultOfToken(host: string, { allow, scope }: Pick<Caller, 'allow' | 'scope'>, known: readonly string[]) {
  const hosts = allow?.hosts;
  if (hosts === undefined) {
    if (scope === null || known.includes(host)) return undefined;
    return 'must be left out: a token with a scope needs allow.hosts for it';
  }
  if (hosts.some((one) => isWithin(host, one))) return undefined;
  if (hosts.length === 0) return 'must be left out: this token allows none';
  return `must be one of ${shown(hosts)}, or below one: this token allows no more`;
}
