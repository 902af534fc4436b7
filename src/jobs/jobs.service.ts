import { Injectable } from '@nestjs/common';
import { inScopeSql, scopeType } from '../auth/access-rules.js';
import type { Caller, Scope } from '../http/caller.js';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import { authorTypes, authorValues } from '../events/author.js';
import type { EventType } from '../events/event-types.js';
import { decodeCursor, type Page, pageColumns, pageSql, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { bodyErrors, summarize } from '../http/validation-errors.js';
import { SecretStore } from '../secrets/secret-store.js';
import { checkAllowed, type OperatorLists } from './allowed.js';
import { checkHosts, placeOf } from './allowed-hosts.js';
import { ChangeWaiter } from './change-waiter.js';
import { JobDefinition, JobName } from './job-definition.js';
import { CHANGEABLE_JOB, explainRefusal, jobNotFound, lockJob, secretsOf } from './job-lock.js';
import type { JobStatus } from './job-status.js';
import { createJobView, JOB_ROW, type JobRow, selectJobsFrom } from './job-view.js';
import type { JobGoal, JobPatch, JobResponse, ListJobs, WatchJob } from './job.schema.js';
import { type MergePatch, mergePatch } from '../http/merge-patch.js';
import { storedJson } from './stored-definition.js';
import { dueNow } from '../database/wake.js';
import { insertEvents } from '../events/event-sql.js';

/** A job as returned, and the version in its ETag. */
export type VersionedJob = { readonly job: JobResponse; readonly version: number };

/** Stores what callers want of a job; the scheduler carries it out. */
@Injectable()
export class JobsService {
  readonly #toJob: (row: JobRow) => JobResponse;

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly waiter: ChangeWaiter,
    private readonly secrets: SecretStore,
    @Setting('fleet') private readonly lists: OperatorLists,
    @Setting('http') http: Pick<Config['http'], 'publicUrl'>,
    @Setting('addresses') private readonly addresses: Config['addresses'],
  ) {
    this.#toJob = createJobView(http.publicUrl, addresses);
  }

  /** @throws Problem job-not-found */
  async get(name: string): Promise<VersionedJob> {
    return this.#versioned(await this.#find(name));
  }

  /** As `get`, once the job reaches its goal or the wait ends. */
  async watch(name: string, { wait, until }: WatchJob, signal: AbortSignal): Promise<VersionedJob> {
    let row = await this.#find(name);
    if (isReached(row.status, until)) return this.#versioned(row);
    const { id } = row;
    await this.waiter.wait(id, wait * 1000, signal, async () => {
      const found = await this.#findIfThere(name);
      // Or another job has this name: the requested one is gone.
      if (found?.id !== id) throw new Problem('job-not-found', `The job “${name}” is gone: it was deleted meanwhile.`);
      row = found;
      return isReached(row.status, until);
    });
    return this.#versioned(row);
  }

  /** Jobs of the scope, by name. */
  async list({ limit, cursor, status }: ListJobs, scope: Scope): Promise<Page<JobResponse>> {
    const after = cursor === undefined ? '' : decodeCursor(cursor, JobName);
    const rows = await this.database.run(LIST_JOBS, [after, status ?? null, limit + 1, scope]);
    return toPage(rows, limit, ({ name }) => name, this.#toJob);
  }

  /** Stores; the next deployment applies it. @throws Problem */
  async patch(
    name: string,
    { secrets: change, ...patch }: JobPatch,
    versions: number[] | null,
    caller: Pick<Caller, 'allow' | 'scope'>,
  ): Promise<VersionedJob> {
    return await this.database.transaction(async (transaction) => {
      const job = await lockJob(transaction, name, versions);
      const definition = mergeDefinition(job.definition, patch);
      // A token that may name more could deploy what this one stores.
      checkAllowed({ definition }, this.lists, caller.allow);
      checkHosts({ name, definition }, placeOf(this.addresses), caller, job.definition);
      const secrets = await this.secrets.change(transaction, job.id, secretsOf(job), change, definition.env);
      const fields = JSON.stringify([...Object.keys(patch), ...(change === undefined ? [] : ['secrets'])]);
      const [row] = await transaction.run(PATCH_JOB, [
        job.id,
        storedJson(definition),
        secrets.version,
        secrets.names,
        fields,
        ...authorValues(),
      ]);
      return this.#versioned(row ?? (await explainRefusal(transaction, name, versions)));
    });
  }

  /** @throws Problem */
  async stop(name: string, versions: number[] | null): Promise<VersionedJob> {
    const [row] = await this.database.run(STOP_JOB, [name, versions, ...authorValues()]);
    if (!row) return await explainRefusal(this.database, name, versions);
    this.signals.jobsDue();
    return this.#versioned(row);
  }

  /** Repeatable until the job is gone. @throws Problem */
  async delete(name: string, versions: number[] | null): Promise<VersionedJob> {
    const [row] = await this.database.run(DELETE_JOB, [name, versions, ...authorValues()]);
    if (!row) return await explainRefusal(this.database, name, versions);
    this.signals.jobsDue();
    return this.#versioned(row);
  }

  #versioned(row: JobRow): VersionedJob {
    return { job: this.#toJob(row), version: row.version };
  }

  async #find(name: string): Promise<JobRow> {
    const row = await this.#findIfThere(name);
    if (!row) throw jobNotFound(name);
    return row;
  }

  async #findIfThere(name: string): Promise<JobRow | undefined> {
    const [row] = await this.database.run(GET_JOB, [name]);
    return row;
  }
}

/** Applies a patch to the stored definition and checks the result. @throws Problem `invalid-request`, with pointers */
export function mergeDefinition(stored: JobDefinition, patch: MergePatch): JobDefinition {
  const merged = JobDefinition.safeParse(mergePatch(stored, patch));
  if (merged.success) return merged.data;
  const errors = bodyErrors(merged.error.issues);
  throw new Problem('invalid-request', summarize(errors), { errors });
}

function isReached(status: JobStatus, goal: JobGoal): boolean {
  return REACHED[goal].has(status);
}

/** A wait for a service to run also ends when it will not run by itself. */
const REACHED: Readonly<Record<JobGoal, ReadonlySet<JobStatus>>> = {
  settled: new Set(['idle', 'running', 'degraded', 'stopped', 'failed', 'succeeded']),
  running: new Set(['running', 'idle', 'stopped', 'failed', 'succeeded', 'deleting']),
  stopped: new Set(['stopped', 'idle', 'failed', 'succeeded']),
  gone: new Set(),
};

/** CTE: records an event of the request for the job in `changed`. */
const requestedSql = (type: EventType): string => `recorded AS (
    ${insertEvents({ type, actor: '$3', cause: '$4::jsonb', jobId: 'id', job: 'name' }, 'FROM changed')}
  )`;

const GET_JOB = statement('get-job', { values: [t.text], row: JOB_ROW })(
  `${selectJobsFrom('jobs')} WHERE j.name = $1 AND j.deleted_at IS NULL`,
);

// Columns and joins are `selectJobsFrom` (job-view.ts).
const LIST_JOBS = statement('list-jobs', {
  values: [t.text, t.nullable(t.text), t.bigintValue, scopeType],
  row: { ...JOB_ROW, ...pageColumns },
})(
  pageSql(
    `${selectJobsFrom('jobs')}
  WHERE j.deleted_at IS NULL AND j.name > $1 AND ($2::text IS NULL OR j.status = $2)
    AND ${inScopeSql('j.name', '$4')}
  ORDER BY j.name LIMIT $3`,
    'name',
  ),
);

const PATCH_JOB = statement('patch-job', {
  values: [t.uuid, t.json, t.nullable(t.int), t.arrayOf(t.text), t.json, ...authorTypes],
  row: JOB_ROW,
})(`
  WITH changed AS (
    UPDATE jobs SET definition = $2, secrets_version = $3, secret_names = $4, version = version + 1,
      updated_at = clock_timestamp()
    WHERE id = $1 RETURNING *
  ), recorded AS (
    ${insertEvents(
      {
        type: 'job.changed',
        actor: '$6',
        cause: '$7::jsonb',
        jobId: 'id',
        job: 'name',
        data: `jsonb_build_object('fields', $5::jsonb, 'version', version)`,
      },
      'FROM changed',
    )}
  ) ${selectJobsFrom('changed')}`);

const REQUESTED = { values: [t.text, t.nullable(t.arrayOf(t.int)), ...authorTypes], row: JOB_ROW } as const;

// jobs.status stays: the job pass writes it from what still runs.
const STOP_JOB = statement(
  'stop-job',
  REQUESTED,
)(`
  WITH changed AS (
    UPDATE jobs SET
      desired_state = 'stopped',
      version = version + (desired_state <> 'stopped')::int,
      updated_at = CASE WHEN desired_state = 'stopped' THEN updated_at ELSE clock_timestamp() END,
      ${dueNow('jobs')}
    WHERE ${CHANGEABLE_JOB} RETURNING *
  ), ${requestedSql('job.stop-requested')}
  ${selectJobsFrom('changed')}`);

const DELETE_JOB = statement(
  'delete-job',
  REQUESTED,
)(`
  WITH changed AS (
    UPDATE jobs SET
      desired_state = 'deleted',
      status = 'deleting',
      version = version + (desired_state <> 'deleted')::int,
      updated_at = CASE WHEN desired_state = 'deleted' THEN updated_at ELSE clock_timestamp() END,
      ${dueNow('jobs')}
    WHERE name = $1 AND deleted_at IS NULL AND ($2::int[] IS NULL OR version = ANY ($2)) RETURNING *
  ), ${requestedSql('job.delete-requested')}
  ${selectJobsFrom('changed')}`);
