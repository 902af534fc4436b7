import { t } from '../database/statement.js';
import { type Caller, type Role, ROLES, type Scope } from '../http/caller.js';

/**
 * Who a route is for: a role; `agent` (agents only, by their own tokens); `registration` (agents without a token, by
 * their identity document); `public`; or `metrics`, which the operator opens to everyone or leaves to viewers.
 */
export type Who = Role | 'agent' | 'registration' | 'metrics' | 'public';

/**
 * What a token with a scope may do on a route. `whole`: nothing, the route shows or changes more than jobs of a scope.
 * `job`: the parameter `name` must be in the scope. `filtered`: the handler checks the scope by itself.
 */
export type ScopeRule = 'whole' | 'job' | 'filtered';

export type RouteAccess = { readonly who: Who; readonly scope: ScopeRule };

/** A route that declares no access is for operators only. */
export const CLOSED: RouteAccess = { who: 'admin', scope: 'whole' };
export const PUBLIC: RouteAccess = { who: 'public', scope: 'whole' };

declare module 'fastify' {
  /** What a route declares; see `@Access`. */
  // eslint-disable-next-line @typescript-eslint/consistent-type-definitions -- Fastify's own is an interface, which this adds to
  interface FastifyContextConfig {
    access?: RouteAccess;
    bodyLimit?: number;
  }
}

export type Verdict = 'granted' | 'needs-role' | 'needs-whole-scope' | 'outside-scope';

/** @param jobName the path's, where the route has one */
export function checkAccess(
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

/** Type of a scope as a value of a statement. */
export const scopeType = t.nullable(t.arrayOf(t.text));

/** The same as SQL. @param name of a job; @param prefixes `$n`, a value of `scopeType` */
export function inScopeSql(name: string, prefixes: string): string {
  return `(${prefixes}::text[] IS NULL OR EXISTS (
    SELECT 1 FROM unnest(${prefixes}::text[]) AS prefix WHERE starts_with(${name}, prefix)))`;
}
