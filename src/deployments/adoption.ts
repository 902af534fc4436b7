import type { Queryable } from '../database/database.js';
import { Problem } from '../http/problem.js';

/** The deployment of this job that already adopts the instance and has not ended. */
export async function findAdoption(
  transaction: Queryable,
  jobId: string,
  instanceId: string,
): Promise<{ id: string } | undefined> {
  const [row] = await transaction.query<{ id: string }>(
    `SELECT id FROM deployments
     WHERE job_id = $1 AND adopts = $2 AND status IN ('queued', 'deploying', 'active', 'draining')`,
    [jobId, instanceId],
  );
  return row;
}

/**
 * Locks the instance's row: two requests for it take turns, and the second sees what the first wrote.
 * @throws Problem instance-not-found, not-quarantined
 */
export async function checkAdoptable(transaction: Queryable, id: string): Promise<void> {
  const [instance] = await transaction.query<{ is_free: boolean; is_used: boolean }>(
    `SELECT quarantined AND retire_reason IS NULL AND terminated_at IS NULL AS is_free, assigned AS is_used
     FROM instances WHERE id = $1 FOR NO KEY UPDATE`,
    [id],
  );
  if (!instance) throw new Problem('instance-not-found', `There is no instance ${id}.`);
  if (!instance.is_free) throw new Problem('not-quarantined', `The instance ${id} is not in quarantine.`);
  // An instance is given to one attempt, for life.
  if (instance.is_used) throw notQuarantined(id, 'was given to a deployment already, which failed: retire it.');
  const [other] = await transaction.query<{ job: string; number: number }>(
    `SELECT j.name AS job, d.number FROM deployments d JOIN jobs j ON j.id = d.job_id
     WHERE d.adopts = $1 AND d.status IN ('queued', 'deploying', 'active', 'draining')`,
    [id],
  );
  if (other) throw notQuarantined(id, `is being adopted by deployment ${other.number} of the job “${other.job}”.`);
}

function notQuarantined(id: string, why: string): Problem {
  return new Problem('not-quarantined', `The instance ${id} ${why}`);
}
