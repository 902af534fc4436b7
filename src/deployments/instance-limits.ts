import { inScopeSql, scopeType } from '../auth/access-rules.js';
import type { Caller, Scope } from '../http/caller.js';
import { ADVISORY_LOCKS } from '../database/advisory-locks.js';
import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';

/** Instances the jobs of a scope may have, the requested one included. */
export type InstanceLimit = { readonly scope: Scope; readonly most: number };

/** The caller's own; null = none. The fleet applies MAX_INSTANCES: beyond it deployments wait. */
export function instanceLimitOf({ scope, maxInstances }: Pick<Caller, 'scope' | 'maxInstances'>): InstanceLimit | null {
  return maxInstances === null ? null : { scope, most: maxInstances };
}

/**
 * Makes requests take turns from here to the end of the transaction, so that no two get the last place. Called before
 * any job's row is locked: every caller locks in this order.
 */
export async function lockLimits(transaction: Queryable): Promise<void> {
  await transaction.run(LOCK_LIMITS, [ADVISORY_LOCKS.instanceLimits]);
}

/**
 * Called after the request for one more was written. An instance counts until it is terminated, however its attempt
 * ended: a ceiling without what still runs is none.
 * @throws Problem instance-limit-reached
 */
export async function checkInstances(transaction: Queryable, limit: InstanceLimit | null): Promise<void> {
  if (limit === null) return;
  const { scope, most } = limit;
  const [row] = await transaction.run(COUNT, [scope]);
  if (!row || row.instances <= most) return;
  const where = scope === null ? '' : ` for jobs with names that begin with ${scope.join(' or ')}`;
  throw new Problem(
    'instance-limit-reached',
    `There may be ${most} instances${where}, and with this there would be ${row.instances}: cancel or stop something, or wait for what is ending.`,
  );
}

const LOCK_LIMITS = statement('deployment-lock-limits', { values: [t.bigintValue], isPrepared: false })(
  'SELECT pg_advisory_xact_lock($1)',
);

/** Longer than an instance lives that no attempt waits for any more. */
const LEFT_BEHIND_MINUTES = 30;

// Living attempts, whether they have an instance or wait for it; deployments without one yet; instances of attempts
// that have ended; and what was launched for attempts that ended before they had one, also of deleted jobs: a caller
// that deploys and cancels in turn would else have as many as EC2 starts meanwhile. What is known of those is only that
// they have the same shape, and that no other attempt waits for them. Healing attempts are counted, and never refused.
const COUNT = statement('count-instances', { values: [scopeType], row: { instances: t.int } })(`
  WITH j AS (SELECT id FROM jobs WHERE deleted_at IS NULL AND ${inScopeSql('name', '$1')})
  SELECT (
    (SELECT count(*) FROM j JOIN attempts a ON a.job_id = j.id WHERE a.phase <> 'ended')
    + (SELECT count(*) FROM j JOIN deployments d ON d.job_id = j.id
       WHERE d.status IN ('queued', 'deploying') AND d.cancel_requested_at IS NULL
         AND NOT EXISTS (SELECT FROM attempts a WHERE a.deployment_id = d.id AND a.phase <> 'ended'))
    + (SELECT count(*) FROM instances i JOIN assignments x ON x.instance_id = i.id
       JOIN attempts a ON a.id = x.attempt_id AND a.phase = 'ended' JOIN j ON j.id = a.job_id
       WHERE i.terminated_at IS NULL)
    + (SELECT COALESCE(sum(LEAST(GREATEST(0, free.instances - wanted.attempts), left_behind.attempts)), 0)
       FROM (
         SELECT shape_key, sum(number) AS instances FROM (
           SELECT shape_key, count(*) AS number FROM instances WHERE terminated_at IS NULL AND NOT assigned GROUP BY 1
           UNION ALL
           SELECT shape_key, sum(count) FROM launches WHERE status IN ('planned', 'unknown') GROUP BY 1
         ) made GROUP BY 1
       ) free
       CROSS JOIN LATERAL (
         SELECT count(*) AS attempts FROM attempts w WHERE w.shape_key = free.shape_key AND w.phase = 'waiting'
       ) wanted
       CROSS JOIN LATERAL (
         SELECT count(*) AS attempts FROM attempts a JOIN jobs ON jobs.id = a.job_id
         WHERE a.shape_key = free.shape_key AND a.phase = 'ended'
           AND a.ended_at > clock_timestamp() - interval '${LEFT_BEHIND_MINUTES} minutes'
           AND ${inScopeSql('jobs.name', '$1')}
           AND NOT EXISTS (SELECT FROM assignments x WHERE x.attempt_id = a.id)
       ) left_behind)
  )::int AS instances`);
