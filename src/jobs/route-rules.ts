import type { JobDefinition } from './job-definition.js';

// Which address a job has, and which of its ports that leads to.

/** Why a job has no URL. */
export const URL_REASONS = {
  'no-domain': 'the operator has not set JOBS_URL',
  off: 'route is false',
  'no-ports': 'it publishes no port',
  'several-ports': 'it publishes several ports: route.port names one of them',
  'reserved-name': 'names that end in two hyphens and digits are kept for deployments',
  'not-http': 'what listens at its port does not answer HTTP',
  'route-unreachable': 'the ingress cannot connect to its port',
  'not-deployed': 'it has no deployment yet',
  'next-deployment': 'it gets one with its next deployment',
  'host-still-draining': 'the name was another job’s until just now: it is free in less than a minute',
} as const;
export type UrlReason = keyof typeof URL_REASONS;

/**
 * What a process beside the ingress found at the port of an attempt: HTTP, a connection on which nothing was said, one that
 * said something else or was closed, or no connection.
 */
export const REACHED_AS = ['http', 'silent', 'other', 'nothing'] as const;
export type ReachedAs = (typeof REACHED_AS)[number];

export type PortChoice =
  { readonly host: number; readonly reason?: undefined } | { readonly host: null; readonly reason: UrlReason };

/** The host port that the addresses of a job with this definition lead to. */
export function routedPortOf({ route, ports }: Pick<JobDefinition, 'route' | 'ports'>): PortChoice {
  if (route === false) return { host: null, reason: 'off' };
  const chosen = route.port === undefined ? ports : ports.filter(({ container }) => container === route.port);
  const [first] = chosen;
  if (first === undefined) return { host: null, reason: 'no-ports' };
  return chosen.length === 1 || route.port !== undefined
    ? { host: first.host }
    : { host: null, reason: 'several-ports' };
}

/** `<job>--<number>` is for one deployment of a job. */
const OF_A_DEPLOYMENT = /--\d+$/;

/** The host name that a job has by its own name; null = it has none. */
export function hostOf(name: string, domain: string | null): string | null {
  return domain === null || OF_A_DEPLOYMENT.test(name) ? null : `${name}.${domain}`;
}
