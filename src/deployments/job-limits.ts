import { inScopeSql, scopeType } from '../auth/access-rules.js';
import type { Caller, Scope } from '../http/caller.js';
import type { Database, Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import type { JobRow } from '../jobs/job-view.js';
import { checkInstances, lockLimits, type InstanceLimit } from './instance-limits.js';
import { insertJob, type NewJob } from './new-deployment.js';

/** Living jobs there may be in a scope. A job that is being deleted counts until its instance is gone. */
export type JobLimit = { readonly scope: Scope; readonly most: number };

/** The limits of the whole cluster and of the caller's own scope. */
export function jobLimitsOf({ scope, maxJobs }: Pick<Caller, 'scope' | 'maxJobs'>, most: number | undefined) {
  const limits: JobLimit[] = [];
  if (most !== undefined) limits.push({ scope: null, most });
  if (maxJobs !== null) limits.push({ scope, most: maxJobs });
  return limits;
}

/** As `insertJob`; where there are limits, requests take turns, so that no two get the last place. */
export async function insertJobWithin(
  database: Database,
  limits: readonly JobLimit[],
  job: NewJob,
  instances: InstanceLimit | null,
): Promise<JobRow | undefined> {
  const limit = job.image === undefined ? null : instances;
  if (limits.length === 0 && limit === null) return await insertJob(database, job);
  return await database.transaction(async (transaction) => {
    await lockLimits(transaction);
    const row = await insertJob(transaction, job);
    // After the insert: a taken name is the more useful problem to report, and the count is current.
    if (row) for (const jobs of limits) await checkLimit(transaction, jobs);
    if (row) await checkInstances(transaction, limit);
    return row;
  });
}

async function checkLimit(transaction: Queryable, { scope, most }: JobLimit): Promise<void> {
  const [row] = await transaction.run(COUNT, [scope]);
  if (!row || row.jobs <= most) return;
  const where = scope === null ? 'in this cluster' : `with names that begin with ${scope.join(' or ')}`;
  throw new Problem('job-limit-reached', `There may be ${most} jobs ${where}: delete one first.`);
}

const COUNT = statement('count-jobs', { values: [scopeType], row: { jobs: t.int } })(
  `SELECT count(*)::int AS jobs FROM jobs WHERE deleted_at IS NULL AND ${inScopeSql('name', '$1')}`,
);
