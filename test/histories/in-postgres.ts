import { createHash } from 'node:crypto';
import type { Queryable } from '../../src/database/database.js';
import { shapeKeyOf } from '../../src/deployments/shape-key.js';
import type { ShapeSpec } from '../../src/deployments/shape-spec.js';
import type { JobFacts, JobPlan } from '../../src/scheduler/plan/plan-facts.js';
import type { AttemptRow, DeploymentRow, InstanceRow, JobRow, OrderRow, Rows, ShapeRow } from './rows.js';

// The model's rows of one job as rows of Postgres, and back: what both sides are compared as.

/** All that a pass over one job reads and writes. */
export type JobTables = {
  readonly job: JobRow;
  readonly deployments: readonly DeploymentRow[];
  readonly attempts: readonly AttemptRow[];
  readonly orders: readonly OrderRow[];
  readonly instances: readonly InstanceRow[];
  readonly shapes: readonly ShapeRow[];
};

export function tablesOf(rows: Rows, job: JobRow): JobTables {
  const deployments = rows.deploymentsOf(job.id);
  const attempts = deployments.flatMap(({ id }) => rows.attemptsOf(id));
  const used = new Set(attempts.flatMap(({ assignment }) => assignment?.instanceId ?? []));
  const keys = new Set(attempts.map(({ shapeKey }) => shapeKey));
  return structuredClone({
    job,
    deployments,
    attempts,
    orders: attempts.flatMap(({ id }) => rows.ordersOf(id)),
    instances: [...rows.instances.values()].filter(({ id }) => used.has(id)),
    shapes: [...rows.shapes.values()].filter(({ key }) => keys.has(key)),
  });
}

/** The model names rows by words, Postgres by uuids. */
export function uuidOf(id: string): string {
  const hex = createHash('md5').update(id).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function keyOf(modelKey: string): string {
  return shapeKeyOf(JSON.parse(modelKey) as ShapeSpec);
}

/** Inserts the rows. Times that the database compares with its clock are moved from `now` of the history to today's. */
export async function insertTables(transaction: Queryable, tables: JobTables, now: Date): Promise<void> {
  const { job, deployments, attempts, orders, instances, shapes } = tables;
  const [{ clock } = { clock: now }] = await transaction.query<{ clock: Date }>('SELECT clock_timestamp() AS clock');
  const today = (at: Date | null): Date | null => at && new Date(at.getTime() - now.getTime() + clock.getTime());
  const active = job.activeDeploymentId && uuidOf(job.activeDeploymentId);
  await insert(transaction, 'jobs', [
    {
      ...{ id: uuidOf(job.id), name: job.id, kind: 'service', definition: deployments[0]?.definition ?? {} },
      ...{ desired_state: job.desiredState, status: job.status, active_deployment_id: active, next_pass_at: clock },
      ...DEFAULTS.jobs,
    },
  ]);
  await insert(
    transaction,
    'deployments',
    deployments.map((row) => ({ ...snakeCase(deploymentColumns(row)), job_id: uuidOf(job.id), secret_names: [] })),
  );
  await insert(
    transaction,
    'shapes',
    shapes.map(({ key, spec, verdict, warm, nextPassAt }) => ({
      ...{ key: keyOf(key), spec, warm, capacity: {}, next_pass_at: today(nextPassAt) },
      ...{ verdict_reason: verdict?.reason ?? null, verdict_message: verdict?.message ?? null },
      ...{ verdict_at: verdict?.at ?? null, verdict_is_final: verdict?.isFinal ?? false },
    })),
  );
  await insert(
    transaction,
    'attempts',
    attempts.map((row) => ({
      ...snakeCase(attemptColumns(row)),
      ...{ id: uuidOf(row.id), job_id: uuidOf(job.id), priority: row.priority, created_at: row.createdAt },
    })),
  );
  await insert(
    transaction,
    'instances',
    instances.map(({ id, state, stateReason, privateIp, imageId, unreachableAt, retireReason, ...row }) => ({
      ...snakeCase({ id, state, stateReason, privateIp, imageId, unreachableAt, retireReason }),
      ...snakeCase({ launchedAt: row.launchedAt, terminatedAt: row.terminatedAt, quarantined: row.quarantined }),
      ...{ assigned: true, orders_after: 0 },
    })),
  );
  await insert(
    transaction,
    'assignments',
    attempts.flatMap(({ id, assignment }) =>
      assignment ? { attempt_id: uuidOf(id), instance_id: assignment.instanceId, assigned_at: assignment.at } : [],
    ),
  );
  await insert(
    transaction,
    'orders',
    orders.map(({ instanceId, attemptId, number, purpose, spec, createdAt, takenAt, answeredAt, ...row }) => ({
      ...snakeCase({ instanceId, number, purpose, spec, createdAt, takenAt, answeredAt, probeState: row.probeState }),
      ...{ attempt_id: uuidOf(attemptId), kind: spec.kind, result_status: row.status, result_error: row.error },
      answer: answeredAt && row.answer,
    })),
  );
}

/** The model's plan, with the names that Postgres has for its rows. */
export function translatePlan(plan: JobPlan): JobPlan {
  return {
    ...plan,
    activeDeploymentId: plan.activeDeploymentId && uuidOf(plan.activeDeploymentId),
    deployments: plan.deployments.map((row) => ({ ...row, id: uuidOf(row.id) })),
    attempts: plan.attempts.map((row) => ({ ...row, id: uuidOf(row.id), shapeKey: keyOf(row.shapeKey) })),
    newAttempts: plan.newAttempts.map((row) => ({ ...row, deploymentId: uuidOf(row.deploymentId) })),
    orders: plan.orders.map((row) => ({ ...row, attemptId: uuidOf(row.attemptId) })),
  };
}

/** Facts of the model, as Postgres would have them. */
export function translateFacts(facts: JobFacts): JobFacts {
  return {
    ...facts,
    id: uuidOf(facts.id),
    activeDeploymentId: facts.activeDeploymentId && uuidOf(facts.activeDeploymentId),
    deployments: facts.deployments.map((deployment) => ({
      ...deployment,
      id: uuidOf(deployment.id),
      attempts: deployment.attempts.map((row) => ({ ...row, id: uuidOf(row.id), shapeKey: keyOf(row.shapeKey) })),
    })),
  };
}

/** Columns by which loaded rows are found; planners do not read them. */
const NO_FACTS = new Set(['now', 'jobId', 'deploymentId', 'attemptId', 'instanceId', 'priority', 'spec', 'assignment']);

/** As JSON has it, without what is no fact. */
export function plainFacts(facts: JobFacts): unknown {
  return JSON.parse(
    JSON.stringify(facts, function (this: object, key: string, value: unknown) {
      if (key === 'definition') return value;
      return NO_FACTS.has(key) && !('trigger' in this && key === 'spec') ? undefined : value;
    }),
  );
}

/** What the tables hold after a pass, by names both sides have. New rows were created just now: their time is left out. */
export function plainTables(tables: JobTables, before: JobTables, now: Date): unknown {
  const { job, deployments, attempts, orders, shapes } = tables;
  const known = new Set(before.attempts.map(({ id }) => id));
  const placeOf = new Map(attempts.map((row) => [row.id, `${uuidOf(row.deploymentId)} ${row.number}`]));
  const asked = new Set(before.orders.map(orderKey));
  return plain({
    job: {
      ...{ desiredState: job.desiredState, status: job.status, isGone: job.isGone, nextPassAt: job.nextPassAt },
      activeDeploymentId: job.activeDeploymentId && uuidOf(job.activeDeploymentId),
    },
    deployments: deployments.map(deploymentColumns),
    attempts: attempts.map((row) => ({
      ...attemptColumns(row),
      priority: row.priority,
      createdAt: known.has(row.id) ? row.createdAt : null,
    })),
    orders: orders.map((row) => ({
      ...{ place: placeOf.get(row.attemptId), instanceId: row.instanceId, number: row.number, purpose: row.purpose },
      ...{ spec: row.spec, createdAt: asked.has(orderKey(row)) ? row.createdAt : null, takenAt: row.takenAt },
    })),
    shapes: shapes.map(({ key, spec, nextPassAt }) => ({ key: keyOf(key), spec, isDue: isDue(nextPassAt, now) })),
  });
}

/** The same of what Postgres holds of the job. */
export async function readTables(transaction: Queryable, before: JobTables): Promise<unknown> {
  const jobId = uuidOf(before.job.id);
  const known = before.attempts.map(({ id }) => uuidOf(id));
  const asked = before.orders.map(({ instanceId, number }) => `${instanceId} ${number}`);
  const [job] = await transaction.query(
    `SELECT desired_state AS "desiredState", status, deleted_at IS NOT NULL AS "isGone", next_pass_at AS "nextPassAt",
       active_deployment_id AS "activeDeploymentId" FROM jobs WHERE id = $1`,
    [jobId],
  );
  const deployments = await transaction.query(`SELECT ${list(DEPLOYMENT)} FROM deployments WHERE job_id = $1`, [jobId]);
  const attempts = await transaction.query(
    `SELECT ${list(ATTEMPT)}, priority, CASE WHEN id = ANY ($2) THEN created_at END AS "createdAt"
     FROM attempts WHERE job_id = $1`,
    [jobId, known],
  );
  const orders = await transaction.query(
    `SELECT a.deployment_id || ' ' || a.number AS place, o.instance_id AS "instanceId", o.number, o.purpose, o.spec,
       CASE WHEN o.instance_id || ' ' || o.number = ANY ($2) THEN o.created_at END AS "createdAt",
       o.taken_at AS "takenAt"
     FROM orders o JOIN attempts a ON a.id = o.attempt_id WHERE a.job_id = $1`,
    [jobId, asked],
  );
  const shapes = await transaction.query(
    `SELECT key, spec, COALESCE(next_pass_at <= clock_timestamp(), false) AS "isDue" FROM shapes s
     WHERE EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = $1 AND a.shape_key = s.key)`,
    [jobId],
  );
  return plain({ job, deployments, attempts, orders, shapes });
}

const DEPLOYMENT = [
  ...([
    'id',
    'number',
    'image',
    'imageDigest',
    'imageId',
    'definition',
    'secretsVersion',
    'trigger',
    'origin',
  ] as const),
  ...(['status', 'reason', 'message', 'failedPhase', 'retryable', 'exitCode', 'lastLogLines', 'deadlineAt'] as const),
  ...(['cancelRequestedAt', 'createdAt', 'startedAt', 'activeAt', 'endedAt'] as const),
];
const ATTEMPT = [
  ...(['deploymentId', 'number', 'shapeKey', 'phase', 'reason', 'message', 'counted', 'assignedAt'] as const),
  ...(['pullingAt', 'startingAt', 'healthyAt', 'stoppingAt', 'endedAt', 'logsCompleteAt'] as const),
];
const DEFAULTS = { jobs: { version: 1, deployment_count: 0, secrets_count: 0, secret_names: [] } };

function deploymentColumns(row: DeploymentRow): object {
  return { ...Object.fromEntries(DEPLOYMENT.map((name) => [name, row[name]])), id: uuidOf(row.id) };
}

function attemptColumns(row: AttemptRow): object {
  const columns = Object.fromEntries(ATTEMPT.map((name) => [name, row[name]]));
  return { ...columns, deploymentId: uuidOf(row.deploymentId), shapeKey: keyOf(row.shapeKey) };
}

function orderKey({ instanceId, number }: OrderRow): string {
  return `${instanceId} ${number}`;
}

function isDue(at: Date | null, now: Date): boolean {
  return at !== null && at <= now;
}

/** As JSON has it, each list by its rows' own texts. */
function plain(tables: Record<string, unknown>): unknown {
  const json = sortKeys(JSON.parse(JSON.stringify(tables))) as Record<string, unknown>;
  for (const rows of Object.values(json)) if (Array.isArray(rows)) rows.sort(byText);
  return json;
}

function byText(a: unknown, b: unknown): number {
  return JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
}

function sortKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(sortKeys);
  const entries = Object.entries(value).map(([key, one]) => [key, sortKeys(one)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function list(names: readonly string[]): string {
  return names.map((name) => `${snake(name)} AS "${name}"`).join(', ');
}

function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function snakeCase(row: object): object {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [snake(name), value]));
}

async function insert(transaction: Queryable, table: string, rows: readonly object[]): Promise<void> {
  const [first] = rows;
  if (!first) return;
  const columns = Object.keys(first).join(', ');
  await transaction.query(
    `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)`,
    [JSON.stringify(rows)],
  );
}
