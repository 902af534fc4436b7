import { randomUUID } from 'node:crypto';
import type { Queryable } from '../database/database.js';
import { assignments, type Column, columnsOf, recordset, type Statement, statement, t } from '../database/statement.js';
import { toJsonb } from '../database/to-jsonb.js';
import { Attempt } from '../deployments/attempt.entity.js';
import { OUTCOME, PHASE_TIMES } from '../deployments/deployment-columns.js';
import { Deployment } from '../deployments/deployment.entity.js';
import { shapeKeyOf } from '../deployments/shape-key.js';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import { appendEvents, type NewEvent } from '../events/append-events.js';
import { eventsOf } from './plan/plan-events.js';
import type { JobFacts, JobPlan } from './plan/plan-facts.js';
import { wakeRows } from '../database/wake.js';

export type Planned = { readonly job: JobFacts; readonly plan: JobPlan };

/** What to notify other processes of after the commit. */
export type Applied = {
  readonly changedJobs: readonly string[];
  readonly orderedInstances: readonly string[];
  readonly wokenShapes: readonly string[];
  readonly events: readonly NewEvent[];
};

/** Writes all plans of a pass with one statement per table, in the lock order jobs → … → shapes (their rows are locked). */
export async function applyJobPlans(transaction: Queryable, planned: readonly Planned[]): Promise<Applied> {
  const deployments = planned.flatMap(({ plan }) => plan.deployments);
  const attempts = planned.flatMap(({ plan }) => plan.attempts);
  const orders = planned.flatMap(({ plan }) => plan.orders);
  const newAttempts = planned.flatMap(({ job, plan }) =>
    plan.newAttempts.map((attempt) => ({
      ...attempt,
      id: randomUUID(),
      jobId: job.id,
      shapeKey: shapeKeyOf(attempt.spec),
    })),
  );

  await write(transaction, UPDATE_JOBS, planned.map(jobRow));
  await write(transaction, UPDATE_DEPLOYMENTS, deployments.map(only(DEPLOYMENT)));
  await write(transaction, UPDATE_ATTEMPTS, attempts.map(only(ATTEMPT)));
  await insertShapes(transaction, newAttempts);
  await write(transaction, INSERT_ATTEMPTS, newAttempts);
  await write(
    transaction,
    INSERT_ORDERS,
    orders.map((order) => ({ ...order, kind: order.spec.kind })),
  );

  const gained = await changeHosts(transaction, planned);

  const events = planned.flatMap(({ job, plan }) => eventsOf(job, plan, gained.get(job.id) ?? []));
  await appendEvents(transaction, events);

  const gone = planned.flatMap(({ job, plan }) => (plan.isGone ? [job.id] : []));
  if (gone.length > 0) await transaction.run(DELETE_SECRETS, [gone]);

  const ended = attempts.filter(({ phase }) => phase === 'ended');
  const wokenShapes = [...new Set([...newAttempts, ...ended].map(({ shapeKey }) => shapeKey))];
  if (wokenShapes.length > 0) {
    const woken = await transaction.run(WAKE_SHAPES, [wokenShapes]);
    const keys = new Set(woken.map(({ key }) => key));
    // Retention deleted these between the insert and here: it did not see the new attempt.
    await insertShapes(
      transaction,
      newAttempts.filter(({ shapeKey }) => !keys.has(shapeKey)),
    );
  }

  await beginUnrouting(transaction, planned);

  return {
    changedJobs: planned.filter(isVisible).map(({ job }) => job.id),
    orderedInstances: [...new Set(orders.map(({ instanceId }) => instanceId))],
    wokenShapes,
    events,
  };
}

async function write(
  transaction: Queryable,
  written: Statement<readonly [string]>,
  rows: readonly object[],
): Promise<void> {
  if (rows.length > 0) await transaction.run(written, [toJsonb(rows)]);
}

async function insertShapes(
  transaction: Queryable,
  attempts: readonly { shapeKey: string; spec: ShapeSpec }[],
): Promise<void> {
  const byKey = new Map(attempts.map(({ shapeKey, spec }) => [shapeKey, spec]));
  // In key order: two passes inserting the same new shapes must not wait for each other in a circle.
  const rows = [...byKey].map(([key, spec]) => ({ key, spec })).sort((a, b) => (a.key < b.key ? -1 : 1));
  await write(transaction, INSERT_SHAPES, rows);
}

/**
 * Names are locked and taken in their order: two passes that want the same ones, or of which each gives up what the other
 * wants, must not wait for each other in a circle.
 * @returns what each job got: a name that is still another's it did not
 */
async function changeHosts(transaction: Queryable, planned: readonly Planned[]): Promise<Map<string, string[]>> {
  const removed = planned.flatMap(({ job, plan }) => plan.hosts.removed.map((host) => ({ host, jobId: job.id })));
  const added = planned.flatMap(({ job, plan }) => plan.hosts.added.map((host) => ({ host, jobId: job.id })));
  if (removed.length > 0) await transaction.run(LOCK_HOSTS, [[...removed, ...added].map(({ host }) => host)]);
  await write(transaction, REMOVE_HOSTS, removed);
  const seconds = Math.max(...planned.map(({ job }) => job.lateCallerSeconds));
  const got = added.length > 0 ? await transaction.run(ADD_HOSTS, [toJsonb(added), seconds]) : [];
  const byJob = Map.groupBy(got, ({ jobId }) => jobId);
  return new Map([...byJob].map(([jobId, rows]) => [jobId, rows.map(({ host }) => host)]));
}

/**
 * From when on callers are led elsewhere: until the commit every lookup still leads them there. So it is counted from the
 * last statement before it, and Postgres takes the transaction back where the commit does not follow, as when this process
 * stands still: else a container could be stopped, or a host given away, while callers still come.
 */
async function beginUnrouting(transaction: Queryable, planned: readonly Planned[]): Promise<void> {
  const attempts = planned.flatMap(({ job, plan }) => {
    const left = new Set(plan.attempts.filter(({ routedPort }) => routedPort === null).map(({ id }) => id));
    const all = job.deployments.flatMap((deployment) => deployment.attempts);
    return all.filter(({ id, routedPort }) => routedPort !== null && left.has(id)).map(({ id }) => id);
  });
  const hosts = planned.flatMap(({ job, plan }) => plan.hosts.removed.map((host) => ({ host, jobId: job.id })));
  if (attempts.length + hosts.length === 0) return;
  await transaction.run(BEGIN_UNROUTING, [toJsonb(hosts), attempts, `${COMMIT_SECONDS} s`]);
}

/** From the last statement of a pass to its commit; a part of lateCallerSeconds (plan-late-callers.ts). */
const COMMIT_SECONDS = 2;

function jobRow({ job, plan }: Planned): object {
  const { status, activeDeploymentId, isGone, nextPassAt } = plan;
  return { id: job.id, status, activeDeploymentId, isGone, nextPassAt };
}

/** Only the columns of the table: facts have more, and JSON of all of it would double the work. */
function only<Name extends string>(columns: Readonly<Record<Name, Column>>) {
  const names = ['id', ...Object.keys(columns)] as ('id' | Name)[];
  return (row: Readonly<Record<'id' | Name, unknown>>) => Object.fromEntries(names.map((name) => [name, row[name]]));
}

function isVisible({ job, plan }: Planned): boolean {
  return (
    plan.deployments.length + plan.attempts.length + plan.newAttempts.length > 0 ||
    plan.hosts.added.length + plan.hosts.removed.length > 0 ||
    plan.isGone ||
    plan.status !== job.status ||
    plan.activeDeploymentId !== job.activeDeploymentId
  );
}

const UPDATE_JOBS = statement('update-jobs', { values: [t.json] })(`
  UPDATE jobs j SET status = p.status, active_deployment_id = p."activeDeploymentId", next_pass_at = p."nextPassAt",
    deleted_at = CASE WHEN p."isGone" THEN clock_timestamp() END
  FROM jsonb_to_recordset($1::jsonb)
    AS p(id uuid, status text, "activeDeploymentId" uuid, "isGone" boolean, "nextPassAt" timestamptz)
  WHERE j.id = p.id`);

const LOCK_HOSTS = statement('lock-hosts', { values: [t.arrayOf(t.text)], row: { host: t.text } })(
  `SELECT host FROM routes WHERE host = ANY($1) ORDER BY host FOR UPDATE`,
);

const REMOVE_HOSTS = statement('remove-hosts', { values: [t.json] })(`
  UPDATE routes r SET removed_at = clock_timestamp()
  FROM ${recordset({ host: t.text, jobId: t.uuid }, 'p')}
  WHERE r.host = p.host AND r.job_id = p."jobId" AND r.removed_at IS NULL`);

// A name that was another job's is free once nobody can be led there by it any more. A version before this one leaves
// the names of a job that it deletes. Of two jobs that want one in the same pass one gets it: Postgres refuses a statement
// that would write a row twice.
const ADD_HOSTS = statement('add-hosts', { values: [t.json, t.double], row: { host: t.text, jobId: t.uuid } })(`
  INSERT INTO routes (host, job_id)
  SELECT DISTINCT ON (p.host) p.host, p."jobId" FROM ${recordset({ host: t.text, jobId: t.uuid }, 'p')}
  ORDER BY p.host, p."jobId"
  ON CONFLICT (host) DO UPDATE SET job_id = excluded.job_id, created_at = excluded.created_at, removed_at = NULL
  WHERE routes.removed_at <= clock_timestamp() - make_interval(secs => $2) OR routes.job_id = excluded.job_id
    OR EXISTS (
      SELECT 1 FROM jobs o
      WHERE o.id = routes.job_id AND o.deleted_at <= clock_timestamp() - make_interval(secs => $2))
  RETURNING host, job_id AS "jobId"`);

const BEGIN_UNROUTING = statement('begin-unrouting', { values: [t.json, t.arrayOf(t.uuid), t.text] })(`
  WITH attempts AS (
    UPDATE attempts SET unrouted_at = clock_timestamp() WHERE id = ANY($2)
  ), hosts AS (
    UPDATE routes r SET removed_at = clock_timestamp()
    FROM ${recordset({ host: t.text, jobId: t.uuid }, 'p')}
    WHERE r.host = p.host AND r.job_id = p."jobId" AND r.removed_at IS NOT NULL
  )
  SELECT set_config('idle_in_transaction_session_timeout', $3, true)`);

// A deleted job keeps the history that people may want to read, for a while, but no secrets.
const DELETE_SECRETS = statement('delete-secrets', { values: [t.arrayOf(t.uuid)] })(
  `DELETE FROM job_secrets WHERE job_id = ANY($1)`,
);

const DEPLOYMENT = { ...columnsOf(Deployment, 'imageDigest', 'imageId'), ...OUTCOME } as const;
const UPDATE_DEPLOYMENTS = statement('update-deployments', { values: [t.json] })(`
  UPDATE deployments d SET ${assignments(DEPLOYMENT, 'p')}
  FROM ${recordset({ id: t.uuid, ...DEPLOYMENT }, 'p')} WHERE d.id = p.id`);

const ATTEMPT = {
  ...columnsOf(Attempt, 'phase', 'reason', 'message', 'counted', 'endedAt', 'logsCompleteAt'),
  ...columnsOf(Attempt, 'routedPort', 'unroutedAt', 'reachPort', 'reachAskedAt', 'reachedAs'),
  ...PHASE_TIMES,
} as const;
const UPDATE_ATTEMPTS = statement('update-attempts', { values: [t.json] })(`
  UPDATE attempts a SET ${assignments(ATTEMPT, 'p')}
  FROM ${recordset({ id: t.uuid, ...ATTEMPT }, 'p')} WHERE a.id = p.id`);

const INSERT_SHAPES = statement('insert-shapes', { values: [t.json] })(`
  INSERT INTO shapes (key, spec, next_pass_at)
  SELECT p.key, p.spec, clock_timestamp() FROM jsonb_to_recordset($1::jsonb) AS p(key text, spec jsonb)
  ON CONFLICT (key) DO NOTHING`);

const INSERT_ATTEMPTS = statement('insert-attempts', { values: [t.json] })(`
  INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority, reason)
  SELECT p.id, p."jobId", p."deploymentId", p.number, p."shapeKey", p.priority, p.reason
  FROM jsonb_to_recordset($1::jsonb) AS p(id uuid, "jobId" uuid, "deploymentId" uuid, number int, "shapeKey" text,
    priority smallint, reason text)`);

const INSERT_ORDERS = statement('insert-orders', { values: [t.json] })(`
  INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec)
  SELECT p."instanceId", p.number, p."attemptId", p.purpose, p.kind, p.spec
  FROM jsonb_to_recordset($1::jsonb) AS p("instanceId" text, number int, "attemptId" uuid, purpose text, kind text,
    spec jsonb)`);

const WAKE_SHAPES = statement('wake-shapes', { values: [t.arrayOf(t.text)], row: { key: t.text } })(
  wakeRows('shapes', 'key = ANY($1)'),
);
