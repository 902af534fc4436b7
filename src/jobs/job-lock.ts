import type { Queryable } from '../database/database.js';
import { Problem } from '../http/problem.js';
import type { SecretsRef } from '../secrets/secret-store.js';
import type { JobDefinition } from './job-definition.js';
import type { DesiredState } from './job-status.js';
import { definitionOf, type StoredDefinition } from './stored-definition.js';

/** SQL: the living job named $1 that may be changed, at one of the versions $2 (null: any). */
export const CHANGEABLE_JOB = `
  name = $1 AND deleted_at IS NULL AND desired_state <> 'deleted' AND ($2::int[] IS NULL OR version = ANY ($2))`;

export type LockedJob = {
  id: string;
  name: string;
  definition: JobDefinition;
  desired_state: DesiredState;
  active_deployment_id: string | null;
  secrets_version: number | null;
  secret_names: string[];
};

/** The secrets of the job itself, not of what it runs. */
export function secretsOf({ secrets_version: version, secret_names: names }: LockedJob): SecretsRef {
  return { version, names };
}

/**
 * Locks the job's row, the fence of everything that belongs to it: neither the job pass nor another request changes the
 * job before this transaction ends.
 * @throws Problem job-not-found, job-deleting, precondition-failed
 */
export async function lockJob(transaction: Queryable, name: string, versions: number[] | null): Promise<LockedJob> {
  const [row] = await transaction.prepared<LockedRow>('lock-job', LOCK_JOB, [name, versions]);
  if (!row) return await explainRefusal(transaction, name, versions);
  return { ...row, definition: definitionOf(row.definition) };
}

type LockedRow = Omit<LockedJob, 'definition'> & { readonly definition: StoredDefinition };

const LOCK_JOB = `
  SELECT id, name, definition, desired_state, active_deployment_id, secrets_version, secret_names
  FROM jobs WHERE ${CHANGEABLE_JOB} FOR NO KEY UPDATE`;

/** Why a statement about CHANGEABLE_JOB found no row. */
export async function explainRefusal(database: Queryable, name: string, versions: number[] | null): Promise<never> {
  const [job] = await database.query<{ desired_state: DesiredState; version: number }>(
    `SELECT desired_state, version FROM jobs WHERE name = $1 AND deleted_at IS NULL`,
    [name],
  );
  if (!job) throw jobNotFound(name);
  if (versions && !versions.includes(job.version)) {
    throw new Problem('precondition-failed', `The job “${name}” is at version "${job.version}".`);
  }
  if (job.desired_state === 'deleted') throw new Problem('job-deleting', `The job “${name}” is being deleted.`);
  // The statement found no row, and by now it would find one.
  throw new Problem('conflict', `The job “${name}” was changed meanwhile: try again.`);
}

export function jobNotFound(name: string): Problem {
  return new Problem('job-not-found', `There is no job named “${name}”.`);
}
