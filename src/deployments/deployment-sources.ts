import type { Queryable } from '../database/database.js';
import type { JobDefinition } from '../jobs/job-definition.js';
import type { LockedJob } from '../jobs/job-lock.js';
import { definitionOf, type StoredDefinition } from '../jobs/stored-definition.js';
import type { DeploymentStatus } from './deployment-status.js';

/** A deployment to copy or to check. */
export type Source = {
  id: string;
  number: number;
  image: string;
  image_digest: string | null;
  image_id: string | null;
  definition: JobDefinition;
  secrets_version: number | null;
  secret_names: string[];
  status: DeploymentStatus;
  active_at: Date | null;
};

type SourceRow = Omit<Source, 'definition'> & { readonly definition: StoredDefinition };

/** Finds deployments of a job whose row is locked: they stay unchanged until the transaction ends. */
export class DeploymentSources {
  constructor(
    private readonly transaction: Queryable,
    private readonly job: LockedJob,
  ) {}

  find(number: number): Promise<Source | undefined> {
    return this.#first('number = $2', 'number', [number]);
  }

  findLatest(): Promise<Source | undefined> {
    return this.#first('true', 'number DESC');
  }

  /** The deployment that serves or is about to: the active one first. */
  findRunning(): Promise<Source | undefined> {
    return this.#first(
      `status IN ('queued', 'deploying', 'active')`,
      '(id IS NOT DISTINCT FROM $2::uuid) DESC, number DESC',
      [this.job.active_deployment_id],
    );
  }

  /** The active one, or else the last that was. */
  findLastServing(): Promise<Source | undefined> {
    return this.#first('active_at IS NOT NULL', `(id IS NOT DISTINCT FROM $2::uuid) DESC, ${GOOD_AND_NEW}`, [
      this.job.active_deployment_id,
    ]);
  }

  findServedBefore(number: number): Promise<Source | undefined> {
    return this.#first('active_at IS NOT NULL AND number < $2', GOOD_AND_NEW, [number]);
  }

  /** The newest that was to replace this one and does not serve. A rollback from this one does not count. */
  findNewerThan(number: number): Promise<Source | undefined> {
    return this.#first(`number > $2 AND trigger <> 'rollback'`, 'number DESC', [number]);
  }

  async #first(condition: string, order: string, values: readonly unknown[] = []): Promise<Source | undefined> {
    const [row] = await this.transaction.query<SourceRow>(
      `SELECT id, number, image, image_digest, image_id, definition, secrets_version, secret_names, status, active_at
       FROM deployments WHERE job_id = $1 AND ${condition} ORDER BY ${order} LIMIT 1`,
      [this.job.id, ...values],
    );
    return row && { ...row, definition: definitionOf(row.definition) };
  }
}

/** A failed one that was active gave its place back to its predecessor: chosen only if there is no better one. */
const GOOD_AND_NEW = `(status NOT IN ('failed', 'cancelled')) DESC, number DESC`;
