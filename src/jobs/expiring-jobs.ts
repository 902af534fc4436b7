import { type ExpiringRows, expiringRows } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';

// A reference to a version is only ever copied from another one, under the lock of its job's row: one without a
// reference now never gets one again.
const SECRETS = statement('retain-secrets', { values: [t.bigintValue] })(`
  DELETE FROM job_secrets WHERE (job_id, version) IN (
    SELECT s.job_id, s.version FROM job_secrets s JOIN jobs j ON j.id = s.job_id
    WHERE j.deleted_at IS NOT NULL OR (
      s.version IS DISTINCT FROM j.secrets_version
      AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.job_id = s.job_id AND d.secrets_version = s.version)
    )
    LIMIT $1
  )
  RETURNING 1`);

export const EXPIRING_JOBS = expiringRows('jobs', {
  table: 'jobs',
  // Only its rows refer to the objects with its log: those are deleted first.
  condition: `deleted_at < clock_timestamp() - make_interval(days => $2)
      AND NOT EXISTS (SELECT 1 FROM job_logs l WHERE l.job_id = jobs.id)`,
});

export const EXPIRING_SECRETS: ExpiringRows = {
  name: 'secrets',
  deleteSome: (transaction, most) => transaction.run(SECRETS, [most]),
};
