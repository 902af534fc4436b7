import type { ExpiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

/** The latest deployments of a job stay whatever their age: enough to roll back to. */
const DEPLOYMENTS_KEPT = 50;
/**
 * Of one deployment: a service that never gets healthy has an attempt every five minutes. As many as the planner reads.
 */
const ATTEMPTS_KEPT = 20;

// Of an attempt `a`. The fleet finds an instance to end by its attempt: without the row, the instance would never end.
const HAS_INSTANCE = `EXISTS (
  SELECT 1 FROM assignments s JOIN instances i ON i.id = s.instance_id
  WHERE s.attempt_id = a.id AND i.terminated_at IS NULL)`;

// Its job's row is locked first, as always: a rollback that is copying the deployment must not lose it half way.
const DEPLOYMENTS = statement('retain-deployments', { values: [t.bigintValue, t.int, t.int] })(`
  WITH old AS (
    SELECT d.id, d.job_id FROM deployments d JOIN jobs j ON j.id = d.job_id
    WHERE d.ended_at < clock_timestamp() - make_interval(days => $2) AND d.number <= j.deployment_count - $3
      AND NOT EXISTS (
        SELECT 1 FROM attempts a WHERE a.deployment_id = d.id AND (a.phase <> 'ended' OR ${HAS_INSTANCE}))
    LIMIT $1
  ), locked AS (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM old) ORDER BY id FOR NO KEY UPDATE
  )
  DELETE FROM deployments WHERE id IN (SELECT old.id FROM old JOIN locked ON locked.id = old.job_id)
  RETURNING 1`);

const ATTEMPTS = statement('retain-attempts', { values: [t.bigintValue, t.int, t.int] })(`
  WITH old AS (
    SELECT a.id, a.job_id FROM attempts a
    WHERE a.phase = 'ended' AND a.ended_at < clock_timestamp() - make_interval(days => $2)
      AND a.number <= (SELECT max(number) FROM attempts x WHERE x.deployment_id = a.deployment_id) - $3
      AND NOT ${HAS_INSTANCE}
    LIMIT $1
  ), locked AS (
    SELECT id FROM jobs WHERE id IN (SELECT job_id FROM old) ORDER BY id FOR NO KEY UPDATE
  )
  DELETE FROM attempts WHERE id IN (SELECT old.id FROM old JOIN locked ON locked.id = old.job_id)
  RETURNING 1`);

export const EXPIRING_DEPLOYMENTS: ExpiringRows = {
  name: 'deployments',
  deleteSome: (transaction, most, { days }) => transaction.run(DEPLOYMENTS, [most, days, DEPLOYMENTS_KEPT]),
};

export const EXPIRING_ATTEMPTS: ExpiringRows = {
  name: 'attempts',
  deleteSome: (transaction, most, { days }) => transaction.run(ATTEMPTS, [most, days, ATTEMPTS_KEPT]),
};
