import { scopeType } from '../auth/access-rules.js';
import { t } from '../database/statement.js';
import type { Caller, Scope } from '../http/caller.js';

/** Types of `sightOf`. */
export const sightTypes = [scopeType, t.bool] as const;

/** By what a statement decides which webhooks and deliveries a caller sees. */
export function sightOf({ scope, role }: Caller): [scope: Scope, isAdmin: boolean] {
  return [scope, role === 'admin'];
}
