import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { wakeRows } from '../database/wake.js';

/**
 * Makes jobs due whose addresses are of another domain than the present one, or are missing, and those that have or want
 * hosts of their own, which depend on more settings: once, when a process starts, as nothing else looks at a job that just
 * serves. @param domain null = no job has an address
 */
export async function wakeMisplaced(database: Queryable, domain: string | null): Promise<void> {
  await database.run(WAKE_MISPLACED, [domain]);
}

const WAKE_MISPLACED = statement('wake-misplaced', { values: [t.nullable(t.text)] })(
  wakeRows(
    'jobs',
    `deleted_at IS NULL AND (
      EXISTS (
        SELECT 1 FROM routes r
        WHERE r.job_id = jobs.id AND r.removed_at IS NULL AND r.host IS DISTINCT FROM jobs.name || '.' || $1)
      OR ($1 IS NOT NULL AND jsonb_typeof(definition -> 'route') = 'object' AND NOT EXISTS (
        SELECT 1 FROM routes r WHERE r.job_id = jobs.id AND r.removed_at IS NULL))
      OR definition -> 'route' ? 'hosts'
      OR EXISTS (
        SELECT 1 FROM deployments d WHERE d.id = jobs.active_deployment_id AND d.definition -> 'route' ? 'hosts'))`,
  ),
);
