import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { authorTypes, authorValues } from '../events/author.js';
import type { JobDefinition } from '../jobs/job-definition.js';
import { CHANGEABLE_JOB } from '../jobs/job-lock.js';
import { JOB_ROW, selectJobsFrom, type JobRow } from '../jobs/job-view.js';
import { storedJson } from '../jobs/stored-definition.js';
import { currentOrigin } from '../process/origin.js';
import type { SecretsRef } from '../secrets/secret-store.js';
import type { DeploymentTrigger } from './deployment-status.js';
import { DEPLOYMENT_ROW, type DeploymentRow, selectDeploymentsFrom } from './deployment-view.js';
import { dueNow } from '../database/wake.js';
import { insertEvents } from '../events/event-sql.js';

export type NewDeployment = {
  readonly image: string;
  readonly trigger: DeploymentTrigger;
  /** Default: the job's own. */
  readonly definition?: JobDefinition;
  /** Default: the job's own. */
  readonly secrets?: SecretsRef;
  /** What a copy shares with its original in addition to image and definition: the same digest on the same AMI. */
  readonly copyOf?: { readonly number: number; readonly imageDigest: string | null; readonly imageId: string | null };
  /** An instance in quarantine that the first attempt gets. */
  readonly adopts?: string;
};

/**
 * Inserts the next deployment of the job, which is wanted running from now on. One statement: its update locks the
 * job's row, so the counter gives every deployment its own number. Undefined: no such job at one of these versions, or
 * it is being deleted.
 */
export async function insertDeployment(
  database: Queryable,
  name: string,
  versions: number[] | null,
  { image, trigger, definition, secrets, copyOf, adopts }: NewDeployment,
): Promise<DeploymentRow | undefined> {
  const [row] = await database.run(INSERT_DEPLOYMENT, [
    name,
    versions,
    image,
    trigger,
    definition ? storedJson(definition) : null,
    copyOf?.number ?? null,
    copyOf?.imageDigest ?? null,
    copyOf?.imageId ?? null,
    adopts ?? null,
    secrets !== undefined,
    secrets?.version ?? null,
    secrets?.names ?? [],
    ...authorValues(),
    originValue(),
  ]);
  return row;
}

const INSERT_DEPLOYMENT = statement('insert-deployment', {
  values: [
    t.text,
    t.nullable(t.arrayOf(t.int)),
    t.text,
    t.text,
    t.nullable(t.json),
    t.nullable(t.int),
    t.nullable(t.text),
    t.nullable(t.text),
    t.nullable(t.text),
    t.bool,
    t.nullable(t.int),
    t.arrayOf(t.text),
    ...authorTypes,
    t.nullable(t.json),
  ],
  row: DEPLOYMENT_ROW,
})(`
  WITH j AS (
    UPDATE jobs SET
      deployment_count = deployment_count + 1,
      status = 'deploying',
      version = version + (desired_state <> 'running')::int,
      updated_at = CASE WHEN desired_state = 'running' THEN updated_at ELSE clock_timestamp() END,
      desired_state = 'running',
      ${dueNow('jobs')}
    WHERE ${CHANGEABLE_JOB}
    RETURNING id, name, deployment_count, COALESCE($5::jsonb, definition) AS definition,
      CASE WHEN $10 THEN $11::int ELSE secrets_version END AS secrets_version,
      CASE WHEN $10 THEN $12::text[] ELSE secret_names END AS secret_names
  ), d AS (
    INSERT INTO deployments (id, job_id, number, image, definition, secrets_version, secret_names, trigger, copied_from,
      image_digest, image_id, adopts, origin, deadline_at)
    SELECT gen_random_uuid(), j.id, j.deployment_count, $3, j.definition, j.secrets_version, j.secret_names, $4,
           $6::int, $7, $8, $9, $15::jsonb,
           clock_timestamp() + make_interval(secs => (j.definition #>> '{rollout,deadlineSeconds}')::int)
    FROM j
    RETURNING *
  ), recorded AS (
    ${insertEvents(
      {
        type: 'deployment.created',
        actor: '$13',
        cause: '$14::jsonb',
        jobId: 'j.id',
        job: 'j.name',
        deployment: 'd.number',
        instance: 'd.adopts',
        data: `jsonb_build_object('trigger', d.trigger, 'image', d.image, 'copiedFrom', d.copied_from)`,
      },
      'FROM d JOIN j ON j.id = d.job_id',
    )}
  )
  ${selectDeploymentsFrom('d JOIN j ON j.id = d.job_id')}`);

export type NewJob = {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly definition: JobDefinition;
  /** With it, deployment 1 is made. */
  readonly image: string | undefined;
  readonly secrets: SecretsRef & { readonly sealed: Buffer | null };
};

/** Undefined: the name is taken. */
export async function insertJob(
  database: Queryable,
  { id, name, kind, definition, image, secrets }: NewJob,
): Promise<JobRow | undefined> {
  const { version, names, sealed } = secrets;
  const [row] = await database.run(INSERT_JOB, [
    name,
    kind,
    storedJson(definition),
    image ?? null,
    id,
    version,
    names,
    sealed,
    ...authorValues(),
    originValue(),
  ]);
  return row;
}

const INSERT_JOB = statement('insert-job', {
  values: [
    t.text,
    t.text,
    t.json,
    t.nullable(t.text),
    t.uuid,
    t.nullable(t.int),
    t.arrayOf(t.text),
    t.nullable(t.bytea),
    ...authorTypes,
    t.nullable(t.json),
  ],
  row: JOB_ROW,
})(`
  WITH created AS (
    INSERT INTO jobs (id, name, kind, definition, secrets_count, secrets_version, secret_names, status,
      deployment_count, next_pass_at)
    SELECT $5, $1, $2, $3::jsonb, COALESCE($6::int, 0), $6, $7::text[],
           CASE WHEN has_image THEN 'deploying' ELSE 'idle' END,
           CASE WHEN has_image THEN 1 ELSE 0 END,
           CASE WHEN has_image THEN clock_timestamp() END
    FROM (SELECT $4::text IS NOT NULL AS has_image) given
    ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING *
  ), first AS (
    INSERT INTO deployments (id, job_id, number, image, definition, secrets_version, secret_names, trigger, origin,
      deadline_at)
    SELECT gen_random_uuid(), created.id, 1, $4, created.definition, created.secrets_version, created.secret_names, 'api',
           $11::jsonb,
           clock_timestamp() + make_interval(secs => (created.definition #>> '{rollout,deadlineSeconds}')::int)
    FROM created WHERE $4::text IS NOT NULL
  ), secrets AS (
    INSERT INTO job_secrets (job_id, version, sealed)
    SELECT created.id, created.secrets_version, $8::bytea FROM created WHERE created.secrets_version IS NOT NULL
  ), recorded AS (
    ${insertEvents(
      {
        type: { sql: 'event.type' },
        actor: '$9',
        cause: '$10::jsonb',
        jobId: 'created.id',
        job: 'created.name',
        deployment: 'event.deployment',
        data: 'event.data',
      },
      `FROM created CROSS JOIN LATERAL (
        SELECT 'job.created', NULL::int, jsonb_build_object('kind', created.kind)
        UNION ALL
        SELECT 'deployment.created', 1, jsonb_build_object('trigger', 'api', 'image', $4::text, 'copiedFrom', NULL)
        WHERE $4::text IS NOT NULL
      ) event(type, deployment, data)`,
    )}
  )
  ${selectJobsFrom('created')}`);

function originValue(): string | null {
  const origin = currentOrigin();
  return origin ? JSON.stringify(origin) : null;
}
