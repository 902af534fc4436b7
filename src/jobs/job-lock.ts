import type { Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import type { SecretsRef } from '../secrets/secret-store.js';
import type { JobDefinition } from './job-definition.js';
import { Job } from './job.entity.js';
import { definitionOf } from './stored-definition.js';

/** SQL: the living job named $1 that may be changed, at one of the versions $2 (null: any). */
export const CHANGEABLE_JOB = `
  name = $1 AND deleted_at IS NULL AND desired_state <> 'deleted' AND ($2::int[] IS NULL OR version = ANY ($2))`;

const LOCKED_ROW = {
  ...columnsOf(Job, 'id', 'name', 'definition', 'desiredState', 'activeDeploymentId'),
  ...columnsOf(Job, 'secretsVersion', 'secretNames'),
} as const;

export type LockedJob = Omit<RowOf<typeof LOCKED_ROW>, 'definition'> & { readonly definition: JobDefinition };

/** The secrets of the job itself, not of what it runs. */
export function secretsOf({ secretsVersion: version, secretNames: names }: LockedJob): SecretsRef {
  return { version, names };
}

/**
 * Locks the job's row, the fence of everything that belongs to it: neither the job pass nor another request changes the
 * job before this transaction ends.
 * @throws Problem job-not-found, job-deleting, precondition-failed
 */
export async function lockJob(transaction: Queryable, name: string, versions: number[] | null): Promise<LockedJob> {
  const [row] = await transaction.run(LOCK_JOB, [name, versions]);
  if (!row) return await explainRefusal(transaction, name, versions);
  return { ...row, definition: definitionOf(row.definition) };
}

const LOCK_JOB = statement('lock-job', { values: [t.text, t.nullable(t.arrayOf(t.int))], row: LOCKED_ROW })(
  `SELECT ${selectList(LOCKED_ROW)} FROM jobs WHERE ${CHANGEABLE_JOB} FOR NO KEY UPDATE`,
);

/** Why a statement about CHANGEABLE_JOB found no row. */
export async function explainRefusal(database: Queryable, name: string, versions: number[] | null): Promise<never> {
  const [job] = await database.run(REFUSED, [name]);
  if (!job) throw jobNotFound(name);
  if (versions && !versions.includes(job.version)) {
    throw new Problem('precondition-failed', `The job “${name}” is at version "${job.version}".`);
  }
  if (job.desiredState === 'deleted') throw new Problem('job-deleting', `The job “${name}” is being deleted.`);
  // The statement found no row, and by now it would find one.
  throw new Problem('conflict', `The job “${name}” was changed meanwhile: try again.`);
}

const REFUSED_ROW = columnsOf(Job, 'desiredState', 'version');
const REFUSED = statement('job-refused', { values: [t.text], row: REFUSED_ROW, isPrepared: false })(
  `SELECT ${selectList(REFUSED_ROW)} FROM jobs WHERE name = $1 AND deleted_at IS NULL`,
);

export function jobNotFound(name: string): Problem {
  return new Problem('job-not-found', `There is no job named “${name}”.`);
}
