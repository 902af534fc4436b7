/** Each may do what the ones before it may. */
export const ROLES = ['viewer', 'deployer', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/**
 * Who a route is for: a role; `agent` (agents only, by a guard of their own); `public`; or `metrics`, which the operator
 * opens to everyone or leaves to viewers.
 */
export type Who = Role | 'agent' | 'metrics' | 'public';

/**
 * What a token with a scope may do on a route. `whole`: nothing, the route shows or changes more than jobs of a scope.
 * `job`: the parameter `name` must be in the scope. `filtered`: the handler looks at the scope by itself.
 */
export type ScopeRule = 'whole' | 'job' | 'filtered';

export type RouteAccess = { readonly who: Who; readonly scope: ScopeRule };

/** A route that says nothing is for nobody but operators. */
export const CLOSED: RouteAccess = { who: 'admin', scope: 'whole' };

/** Prefixes of job names; null is every job. */
export type Scope = readonly string[] | null;

/** Who sent a request, and what that is good for. */
export type Caller = {
  /** Id of the token; `admin` for ADMIN_TOKEN, `anonymous` where nobody is asked for one. */
  readonly id: string;
  readonly role: Role;
  readonly scope: Scope;
  /** Living jobs there may be in the scope when this caller makes one; null = as many as the cluster may have. */
  readonly maxJobs: number | null;
  /** Instances the jobs of the scope may have when this caller asks for one more; null = no limit of its own. */
  readonly maxInstances: number | null;
  /** Null = as the settings say. */
  readonly requestsPerMinute: number | null;
};

export const ADMIN: Caller = {
  id: 'admin',
  role: 'admin',
  scope: null,
  maxJobs: null,
  maxInstances: null,
  requestsPerMinute: null,
};
export const ANONYMOUS: Caller = { ...ADMIN, id: 'anonymous' };

export type Verdict = 'granted' | 'needs-role' | 'needs-whole-scope' | 'outside-scope';

/** @param jobName the path's, where the route has one */
export function judge(
  { role, scope }: Pick<Caller, 'role' | 'scope'>,
  route: { readonly who: Role; readonly scope: ScopeRule },
  jobName: string | undefined,
): Verdict {
  if (ROLES.indexOf(role) < ROLES.indexOf(route.who)) return 'needs-role';
  if (scope === null || route.scope === 'filtered') return 'granted';
  if (route.scope === 'whole' || jobName === undefined) return 'needs-whole-scope';
  return isInScope(scope, jobName) ? 'granted' : 'outside-scope';
}

export function isInScope(scope: Scope, jobName: string): boolean {
  return scope === null || scope.some((prefix) => jobName.startsWith(prefix));
}

/** The same as SQL. @param name of a job; @param prefixes `$n`, an array of text or null */
export function inScopeSql(name: string, prefixes: string): string {
  return `(${prefixes}::text[] IS NULL OR EXISTS (
    SELECT 1 FROM unnest(${prefixes}::text[]) AS prefix WHERE starts_with(${name}, prefix)))`;
}
