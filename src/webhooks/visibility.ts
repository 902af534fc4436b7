import { scopeType } from '../auth/access-rules.js';
import { t } from '../database/statement.js';
import type { Caller, Scope } from '../http/caller.js';

/** Types of `visibilityValues`. */
export const visibilityTypes = [scopeType, t.bool] as const;

/** By what a statement decides which webhooks and deliveries a caller sees. */
export function visibilityValues({ scope, role }: Caller): [scope: Scope, isAdmin: boolean] {
  return [scope, role === 'admin'];
}
