import type { Queryable } from '../database/database.js';
import { type Column, columnsOf, type RowOf, selectList, type Statement, statement, t } from '../database/statement.js';
import type { JobDefinition } from '../jobs/job-definition.js';
import type { LockedJob } from '../jobs/job-lock.js';
import { definitionOf } from '../jobs/stored-definition.js';
import { MADE_OF } from './deployment-columns.js';
import { Deployment } from './deployment.entity.js';

const ROW = { ...MADE_OF, ...columnsOf(Deployment, 'imageId', 'secretNames', 'status', 'activeAt') } as const;
type SourceRow = RowOf<typeof ROW>;

/** A deployment to copy or to check. */
export type Source = Omit<SourceRow, 'definition'> & { readonly definition: JobDefinition };

/** Finds deployments of a job whose row is locked: they stay unchanged until the transaction ends. */
export class DeploymentSources {
  constructor(
    private readonly transaction: Queryable,
    private readonly job: LockedJob,
  ) {}

  find(number: number): Promise<Source | undefined> {
    return this.#first(BY_NUMBER, number);
  }

  findLatest(): Promise<Source | undefined> {
    return this.#first(LATEST);
  }

  /** The deployment that serves or is about to: the active one first. */
  findRunning(): Promise<Source | undefined> {
    return this.#first(RUNNING, this.job.activeDeploymentId);
  }

  /** The active one, or else the last that was. */
  findLastServing(): Promise<Source | undefined> {
    return this.#first(LAST_SERVING, this.job.activeDeploymentId);
  }

  findServedBefore(number: number): Promise<Source | undefined> {
    return this.#first(SERVED_BEFORE, number);
  }

  /** The newest that was to replace this one and does not serve. A rollback from this one does not count. */
  findNewerThan(number: number): Promise<Source | undefined> {
    return this.#first(NEWER, number);
  }

  async #first<Rest extends readonly unknown[]>(
    source: Statement<readonly [string, ...Rest], SourceRow>,
    ...rest: Rest
  ): Promise<Source | undefined> {
    const [row] = await this.transaction.run(source, [this.job.id, ...rest]);
    return row && { ...row, definition: definitionOf(row.definition) };
  }
}

const first = <const V extends readonly Column[]>(name: string, values: V, condition: string, order: string) =>
  statement(`deployment-source-${name}`, { values: [t.uuid, ...values], row: ROW, isPrepared: false })(
    `SELECT ${selectList(ROW)} FROM deployments WHERE job_id = $1 AND ${condition} ORDER BY ${order} LIMIT 1`,
  );

/** A failed one that was active gave its place back to its predecessor: chosen only if there is no better one. */
const GOOD_AND_NEW = `(status NOT IN ('failed', 'cancelled')) DESC, number DESC`;
const ACTIVE_FIRST = '(id IS NOT DISTINCT FROM $2::uuid) DESC';
const ACTIVE_ID = [t.nullable(t.uuid)] as const;

const BY_NUMBER = first('by-number', [t.int], 'number = $2', 'number');
const LATEST = first('latest', [], 'true', 'number DESC');
const RUNNING = first(
  'running',
  ACTIVE_ID,
  `status IN ('queued', 'deploying', 'active')`,
  `${ACTIVE_FIRST}, number DESC`,
);
const LAST_SERVING = first('last-serving', ACTIVE_ID, 'active_at IS NOT NULL', `${ACTIVE_FIRST}, ${GOOD_AND_NEW}`);
const SERVED_BEFORE = first('served-before', [t.int], 'active_at IS NOT NULL AND number < $2', GOOD_AND_NEW);
const NEWER = first('newer', [t.int], `number > $2 AND trigger <> 'rollback'`, 'number DESC');
