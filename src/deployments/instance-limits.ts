import { type Caller, inScopeSql, type Scope } from '../auth/access-rules.js';
import type { Queryable } from '../database/database.js';
import { Problem } from '../http/problem.js';

/** Instances the jobs of a scope may have when one more is asked for. */
export type InstanceLimit = { readonly scope: Scope; readonly most: number };

/** Any number no other advisory lock of ours uses. */
const LOCK = 7_246_014;

/** The caller's own; null = none. MAX_INSTANCES is the fleet's business: beyond it deployments wait. */
export function instanceLimitOf({ scope, maxInstances }: Pick<Caller, 'scope' | 'maxInstances'>): InstanceLimit | null {
  return maxInstances === null ? null : { scope, most: maxInstances };
}

/**
 * One after the other from here to the end of the transaction, so that no two take the last place. Before any job's row
 * is locked: everybody takes it in this order.
 */
export async function lockLimits(transaction: Queryable): Promise<void> {
  await transaction.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
}

/**
 * After what asks for one more was written. Until an instance is terminated it counts, whatever its attempt came to:
 * a ceiling that forgets what still runs is none.
 * @throws Problem instance-limit-reached
 */
export async function checkInstances(transaction: Queryable, limit: InstanceLimit | null): Promise<void> {
  if (limit === null) return;
  const { scope, most } = limit;
  const [row] = await transaction.prepared<{ instances: number }>('count-instances', COUNT, [scope]);
  if (!row || row.instances <= most) return;
  const where = scope === null ? '' : ` for jobs with names that begin with ${scope.join(' or ')}`;
  throw new Problem(
    'instance-limit-reached',
    `There may be ${most} instances${where}, and this would be one of ${row.instances}: cancel or stop something, or wait for what is ending.`,
  );
}

// Living attempts, whether they have an instance or wait for it; deployments without one yet; and instances of attempts
// that have ended. Healing attempts are counted, and never refused.
const COUNT = `
  WITH j AS (SELECT id FROM jobs WHERE deleted_at IS NULL AND ${inScopeSql('name', '$1')})
  SELECT (
    (SELECT count(*) FROM j JOIN attempts a ON a.job_id = j.id WHERE a.phase <> 'ended')
    + (SELECT count(*) FROM j JOIN deployments d ON d.job_id = j.id
       WHERE d.status IN ('queued', 'deploying') AND d.cancel_requested_at IS NULL
         AND NOT EXISTS (SELECT FROM attempts a WHERE a.deployment_id = d.id AND a.phase <> 'ended'))
    + (SELECT count(*) FROM instances i JOIN assignments x ON x.instance_id = i.id
       JOIN attempts a ON a.id = x.attempt_id AND a.phase = 'ended' JOIN j ON j.id = a.job_id
       WHERE i.terminated_at IS NULL)
  )::int AS instances`;
