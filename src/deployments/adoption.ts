import type { Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { Deployment } from './deployment.entity.js';

/** The deployment of this job that already adopts the instance and has not ended. */
export async function findAdoption(
  transaction: Queryable,
  jobId: string,
  instanceId: string,
): Promise<{ id: string } | undefined> {
  const [row] = await transaction.run(ADOPTION, [jobId, instanceId]);
  return row;
}

/**
 * Locks the instance's row: two requests for it take turns, and the second sees what the first wrote.
 * @throws Problem instance-not-found, not-quarantined
 */
export async function checkAdoptable(transaction: Queryable, id: string): Promise<void> {
  const [instance] = await transaction.run(LOCK_INSTANCE, [id]);
  if (!instance) throw new Problem('instance-not-found', `There is no instance ${id}.`);
  if (!instance.isFree) throw new Problem('not-quarantined', `The instance ${id} is not in quarantine.`);
  // An instance is given to one attempt, for life.
  if (instance.isUsed) throw notQuarantined(id, 'was given to a deployment already, which failed: retire it.');
  const [other] = await transaction.run(ADOPTER, [id]);
  if (other) throw notQuarantined(id, `is being adopted by deployment ${other.number} of the job “${other.job}”.`);
}

function notQuarantined(id: string, why: string): Problem {
  return new Problem('not-quarantined', `The instance ${id} ${why}`);
}

const ADOPTION = statement('deployment-adoption', {
  values: [t.uuid, t.text],
  row: columnsOf(Deployment, 'id'),
  isPrepared: false,
})(`
  SELECT id FROM deployments
  WHERE job_id = $1 AND adopts = $2 AND status IN ('queued', 'deploying', 'active', 'draining')`);

const LOCK_INSTANCE = statement('deployment-lock-instance', {
  values: [t.text],
  row: { isFree: t.bool, isUsed: t.bool },
  isPrepared: false,
})(`
  SELECT quarantined AND retire_reason IS NULL AND terminated_at IS NULL AS "isFree", assigned AS "isUsed"
  FROM instances WHERE id = $1 FOR NO KEY UPDATE`);

const ADOPTER = statement('deployment-adopter', {
  values: [t.text],
  row: { job: t.text, ...columnsOf(Deployment, 'number') },
  isPrepared: false,
})(`
  SELECT j.name AS job, d.number FROM deployments d JOIN jobs j ON j.id = d.job_id
  WHERE d.adopts = $1 AND d.status IN ('queued', 'deploying', 'active', 'draining')`);
