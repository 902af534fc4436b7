import type { FastifyRequest } from 'fastify';

/** Each may do what the ones before it may. */
export const ROLES = ['viewer', 'deployer', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** Prefixes of job names; null is every job. */
export type Scope = readonly string[] | null;

/**
 * What jobs may name and cost when a token deploys or stores them, within what the operator's settings allow. A missing
 * member sets no limit.
 */
export type Allow = {
  /** Hosts of registries, or hosts with the beginning of a path: `docker.io`, `registry.example.com/team-a`. */
  readonly registries?: string[] | undefined;
  readonly amis?: string[] | undefined;
  /** Instance profiles, by name. */
  readonly profiles?: string[] | undefined;
  readonly securityGroups?: string[] | undefined;
  readonly subnets?: string[] | undefined;
  /** Instance types, or families as `t3.*`. */
  readonly types?: string[] | undefined;
  readonly maxDiskGiB?: number | undefined;
  /** Domains that hosts of a job's own may be, or be below. Missing: none for a token with a scope. */
  readonly hosts?: string[] | undefined;
};

/** Who sent a request, and what this caller may do. */
export type Caller = {
  /** Id of the token; `admin` for ADMIN_TOKEN, `anonymous` where the API requires none. */
  readonly id: string;
  /** Of the token; null where there is none. */
  readonly name: string | null;
  readonly role: Role;
  readonly scope: Scope;
  /** Living jobs there may be in the scope when this caller makes one; null = as many as the cluster may have. */
  readonly maxJobs: number | null;
  /** Instances the jobs of the scope may have when this caller requests one more; null = no limit of its own. */
  readonly maxInstances: number | null;
  /** Webhooks there may be in the scope when this caller makes one; null = as many as a scope has by default. */
  readonly maxWebhooks: number | null;
  /** Null = what the settings allow. */
  readonly allow: Allow | null;
  /** Null = as the settings say. */
  readonly requestsPerMinute: number | null;
};

export const ADMIN: Caller = {
  id: 'admin',
  name: null,
  role: 'admin',
  scope: null,
  maxJobs: null,
  maxInstances: null,
  maxWebhooks: null,
  allow: null,
  requestsPerMinute: null,
};
export const ANONYMOUS: Caller = { ...ADMIN, id: 'anonymous' };

const CALLERS = new WeakMap<FastifyRequest, Caller>();

export function rememberCaller(request: FastifyRequest, caller: Caller): void {
  CALLERS.set(request, caller);
}

/** Undefined on public routes and those of agents. */
export function findCaller(request: FastifyRequest): Caller | undefined {
  return CALLERS.get(request);
}

/** For routes with a role. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = CALLERS.get(request);
  if (!caller) throw new Error('this route has no caller');
  return caller;
}
