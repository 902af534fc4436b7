import { type HostRules, isWithin } from '../config/host-name.js';
import type { JobDefinition } from './job-definition.js';

// Which address a job has, and which of its ports that leads to.

/** Why a job has no URL. */
export const URL_REASONS = {
  'no-domain': 'the operator has not set JOBS_URL',
  off: 'route is false',
  'no-ports': 'it publishes no port',
  'several-ports': 'it publishes several ports: route.port names one of them',
  'reserved-name':
    'names that end in two hyphens and digits are kept for deployments, and those that read as an address lead there below a domain that is made of one',
  'not-http': 'what listens at its port does not answer HTTP',
  'route-unreachable': 'the ingress cannot connect to its port',
  deleting: 'it is being deleted',
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

/** Why a host of a job's own (`route.hosts`) does not lead to it. */
export const HOST_REASONS = {
  ...URL_REASONS,
  'host-taken': 'another job has it',
  'host-not-allowed': 'JOBS_HOSTS of the operator no longer has it',
} as const;
export type HostReason = keyof typeof HOST_REASONS;

/** Where jobs have their addresses, as the operator's settings say. */
export type Place = {
  /** In which every job has a name; null = no job has an address. */
  readonly domain: string | null;
  readonly hostRules: HostRules;
};

export const NO_HOSTS: HostRules = { domains: [], reserved: [] };

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
const OF_A_DEPLOYMENT = '--[0-9]+$';

/** Domains like 203-0-113-20.sslip.io, whose DNS answers each name by the first address that it finds in it. */
const OF_AN_ADDRESS = /(^|[.-])([0-9]{1,3}([.-][0-9]{1,3}){3}|[0-9a-f]{8})\./;
/** The same, written with dots: a number before it is the first of its four. */
const OF_A_DOTTED_ADDRESS = /(^|[.-])[0-9]{1,3}(\.[0-9]{1,3}){3}\./;
/** IPv4 in decimal or hexadecimal digits, IPv6 with all of its groups or with `--` for some. */
const READS_AS_ADDRESS = '(^|-)[0-9]{1,3}(-[0-9]{1,3}){3}(-|$)|^[0-9a-f]{8}$|([0-9a-f]{1,4}-){7}[0-9a-f]{1,4}|--';

/** Names of jobs that have no host in this domain: a regular expression, for JavaScript as for Postgres. */
export function keptNames(domain: string): string {
  const kept = [OF_A_DEPLOYMENT];
  if (OF_AN_ADDRESS.test(domain)) kept.push(READS_AS_ADDRESS);
  if (OF_A_DOTTED_ADDRESS.test(domain)) kept.push('(^|-)[0-9]{1,3}$');
  return kept.join('|');
}

/** The host name that a job has by its own name; null = it has none. */
export function hostOf(name: string, domain: string | null): string | null {
  return domain === null || new RegExp(keptNames(domain)).test(name) ? null : `${name}.${domain}`;
}

/** All hosts of a job with this definition: its name, and those of its own that it may have. */
export function hostsOf(
  { name, domain, hostRules }: Place & { readonly name: string },
  definition: Pick<JobDefinition, 'route' | 'ports'>,
): string[] {
  if (domain === null || routedPortOf(definition).host === null) return [];
  const byName = hostOf(name, domain);
  const own = ownHostsOf(definition).filter((host) => faultOfHost(host, { name, domain, hostRules }) === undefined);
  return [...new Set([...(byName === null ? [] : [byName]), ...own])];
}

/** Those that the definition names. */
export function ownHostsOf({ route }: Pick<JobDefinition, 'route'>): readonly string[] {
  return route === false ? [] : (route.hosts ?? []);
}

/** Why the job may not have the host; undefined = it may, unless another job has it. */
export function faultOfHost(
  host: string,
  { name, domain, hostRules: { domains, reserved } }: Place & { readonly name: string },
): string | undefined {
  if (domain === null) return 'must be left out: JOBS_URL is not set';
  if (host === hostOf(name, domain)) return undefined;
  if (isWithin(host, domain)) return `must not be in ${domain}: names there are those of jobs (JOBS_URL)`;
  if (reserved.includes(host)) return 'must not be the API’s own host';
  if (domains.some((one) => isWithin(host, one))) return undefined;
  if (domains.length === 0) return 'must be left out: JOBS_HOSTS has none';
  return `must be one of ${shown(domains)}, or below one: JOBS_HOSTS`;
}

/** A list in a problem is for people: none reads a hundred entries. */
const MOST_SHOWN = 10;

export function shown(names: readonly string[]): string {
  return names.slice(0, MOST_SHOWN).join(', ') + (names.length > MOST_SHOWN ? ' …' : '');
}
