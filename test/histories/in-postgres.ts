import type { Queryable } from '../../src/database/database.ts';
import { shapeKeyOf } from '../../src/deployments/shape-key.ts';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import type { LaunchRow as NewLaunchRow } from '../../src/fleet/apply-fleet-plans.ts';
import type { ShapeFacts } from '../../src/fleet/load-shapes.ts';
import type { CapacityState } from '../../src/fleet/plan/plan-capacity.ts';
import type { FleetPlan } from '../../src/fleet/plan/plan-fleet.ts';
import type { JobFacts, JobPlan } from '../../src/scheduler/plan/plan-facts.ts';
import type {
  AttemptRow,
  DeploymentRow,
  InstanceRow,
  JobRow,
  LaunchRow,
  OrderRow,
  RouteRow,
  Rows,
  ShapeRow,
} from './rows.ts';

// The model's rows as rows of Postgres, and back: in what form both sides are compared.

/** What a pass over one job, or over one shape, reads and writes. */
export type Tables = {
  readonly jobs: readonly JobRow[];
  readonly deployments: readonly DeploymentRow[];
  readonly attempts: readonly AttemptRow[];
  readonly orders: readonly OrderRow[];
  readonly instances: readonly InstanceRow[];
  readonly launches: readonly LaunchRow[];
  readonly shapes: readonly ShapeRow[];
  readonly routes: readonly RouteRow[];
};

export function tablesOfJob(rows: Rows, job: JobRow): Tables {
  const deployments = rows.deploymentsOf(job.id);
  const attempts = deployments.flatMap(({ id }) => rows.attemptsOf(id));
  const routes = [...rows.routes.values()];
  // Of other jobs with what their names need: SQL also frees those of a job that is long gone, which the model has none of.
  const others = [...rows.jobs.values()].filter(({ id }) => id !== job.id && routes.some(({ jobId }) => jobId === id));
  return structuredClone({
    jobs: [job, ...others.map((other) => ({ ...other, activeDeploymentId: null, isGone: false }))],
    deployments,
    attempts,
    orders: attempts.flatMap(({ id }) => rows.ordersOf(id)),
    instances: instancesOf(rows, attempts),
    launches: [],
    // New attempts may be of any shape.
    shapes: [...rows.shapes.values()],
    routes,
  });
}

export function tablesOfShape(rows: Rows, shape: ShapeRow): Tables {
  const attempts = [...rows.attempts.values()].filter(({ shapeKey }) => shapeKey === shape.key);
  const jobIds = new Set(attempts.map(({ jobId }) => jobId));
  const deploymentIds = new Set(attempts.map(({ deploymentId }) => deploymentId));
  const own = [...rows.instances.values()].filter(({ shapeKey }) => shapeKey === shape.key);
  return structuredClone({
    jobs: [...rows.jobs.values()].filter(({ id }) => jobIds.has(id)),
    deployments: [...rows.deployments.values()].filter(({ id }) => deploymentIds.has(id)),
    attempts,
    orders: [],
    instances: [...new Set([...own, ...instancesOf(rows, attempts)])],
    launches: [...rows.launches.values()].filter(({ shapeKey }) => shapeKey === shape.key),
    shapes: [shape],
    routes: [],
  });
}

function instancesOf(rows: Rows, attempts: readonly AttemptRow[]): InstanceRow[] {
  const used = new Set(attempts.flatMap(({ assignment }) => assignment?.instanceId ?? []));
  return [...rows.instances.values()].filter(({ id }) => used.has(id));
}

/** Once for a database: see `freezeClock`. */
export async function makeClock(database: Queryable): Promise<void> {
  await database.query('CREATE SCHEMA history');
  await database.query(`
    CREATE FUNCTION history.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT current_setting('history.now')::timestamptz $$`);
}

/** For the rest of the transaction the clock that statements read stands still at a time of the history. */
export async function freezeClock(transaction: Queryable, now: Date): Promise<void> {
  await transaction.query(
    `SELECT set_config('history.now', $1, true),
       set_config('search_path', 'history, "scheduler-jobs", pg_catalog', true)`,
    [now.toISOString()],
  );
}

/** The model names rows by words, Postgres by uuids; in the same order, for some statements sort by them. */
export function uuidOf(id: string): string {
  const hex = Buffer.from(id).toString('hex').padEnd(32, '0');
  if (hex.length > 32) throw new Error(`${id} is too long for a uuid`);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export function keyOf(modelKey: string): string {
  return shapeKeyOf(JSON.parse(modelKey) as ShapeSpec);
}

export async function insertTables(transaction: Queryable, tables: Tables): Promise<void> {
  const { jobs, deployments, attempts, orders, instances, launches, shapes, routes } = tables;
  const launched = new Set(launches.map(({ id }) => id));
  await insert(transaction, 'jobs', jobs, ({ id, isGone, activeDeploymentId, ...row }) => ({
    ...snakeCase(row),
    ...{ id: uuidOf(id), name: id, kind: 'service', definition: {}, secret_names: [] },
    ...{ active_deployment_id: activeDeploymentId && uuidOf(activeDeploymentId), version: 1 },
    ...{ deleted_at: isGone ? new Date(0) : null, deployment_count: 0, secrets_count: 0 },
  }));
  await insert(transaction, 'routes', routes, ({ jobId, ...row }) => ({ ...snakeCase(row), job_id: uuidOf(jobId) }));
  await insert(transaction, 'deployments', deployments, (row) => ({
    ...snakeCase(deploymentOf(row)),
    ...{ job_id: uuidOf(row.jobId), secret_names: [] },
  }));
  await insert(transaction, 'shapes', shapes, ({ key, spec, verdict, warm, nextPassAt, capacity }) => ({
    ...{ key: keyOf(key), spec, warm, capacity: translateCapacity(capacity), next_pass_at: nextPassAt },
    ...{ verdict_reason: verdict?.reason ?? null, verdict_message: verdict?.message ?? null },
    ...{ verdict_at: verdict?.at ?? null, verdict_is_final: verdict?.isFinal ?? false },
  }));
  await insert(transaction, 'attempts', attempts, (row) => ({
    ...snakeCase(row),
    ...{ id: uuidOf(row.id), job_id: uuidOf(row.jobId), deployment_id: uuidOf(row.deploymentId) },
    shape_key: keyOf(row.shapeKey),
  }));
  await insert(transaction, 'launches', launches, ({ offer: { type, ...place }, ...row }) => ({
    ...snakeCase({ ...row, ...place }),
    ...{ id: uuidOf(row.id), shape_key: keyOf(row.shapeKey), instance_type: type },
    ...{ epoch: 1, input: '\\x', image_id: 'ami-0', secret_hash: `\\x${Buffer.from(row.id).toString('hex')}` },
  }));
  await insert(transaction, 'instances', instances, ({ isAssigned, launchId, shapeKey, ...row }) => ({
    ...snakeCase(row),
    ...{ assigned: isAssigned, orders_after: 0, shape_key: shapeKey && keyOf(shapeKey) },
    launch_id: launchId !== null && launched.has(launchId) ? uuidOf(launchId) : null,
  }));
  const assigned = attempts.filter(({ assignment }) => assignment);
  await insert(transaction, 'assignments', assigned, ({ id, assignment }) => ({
    ...{ attempt_id: uuidOf(id), instance_id: assignment?.instanceId, assigned_at: assignment?.at },
  }));
  await insert(transaction, 'orders', orders, ({ attemptId, spec, status, error, answer, ...row }) => ({
    ...snakeCase(row),
    ...{ attempt_id: uuidOf(attemptId), spec, kind: spec.kind, result_status: status, result_error: error },
    answer: row.answeredAt && answer,
  }));
}

/** The model's plan, with the names that Postgres has for its rows. */
export function translateJobPlan(plan: JobPlan): JobPlan {
  return {
    ...plan,
    activeDeploymentId: plan.activeDeploymentId && uuidOf(plan.activeDeploymentId),
    deployments: plan.deployments.map((row) => ({ ...row, id: uuidOf(row.id) })),
    attempts: plan.attempts.map((row) => ({ ...row, id: uuidOf(row.id), shapeKey: keyOf(row.shapeKey) })),
    newAttempts: plan.newAttempts.map((row) => ({ ...row, deploymentId: uuidOf(row.deploymentId) })),
    orders: plan.orders.map((row) => ({ ...row, attemptId: uuidOf(row.attemptId) })),
  };
}

export function translateFleetPlan(plan: FleetPlan): FleetPlan {
  return {
    ...plan,
    capacity: translateCapacity(plan.capacity),
    assignments: plan.assignments.map((row) => ({
      ...row,
      attemptId: uuidOf(row.attemptId),
      jobId: uuidOf(row.jobId),
    })),
  };
}

/** The row that the fleet pass writes of a plan's launch. */
export function launchRowOf({ launch }: FleetPlan, shapeKey: string): NewLaunchRow | null {
  if (!launch) return null;
  const { id, count, offer } = launch;
  return {
    ...{ id: uuidOf(id), shapeKey: keyOf(shapeKey), epoch: '1', input: Buffer.alloc(0), count, imageId: 'ami-0' },
    ...{ instanceType: offer.type, subnetId: offer.subnetId, market: offer.market, secretHash: Buffer.from(id) },
  };
}

function translateCapacity({ lastLaunch, ...capacity }: CapacityState): CapacityState {
  return { ...capacity, ...(lastLaunch && { lastLaunch: { ...lastLaunch, id: uuidOf(lastLaunch.id) } }) };
}

/** Facts of a job as the model has them, under Postgres's names. */
export function translateJobFacts(facts: JobFacts): JobFacts {
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

/** What a fleet pass reads of one shape. */
export type FleetFacts = Omit<ShapeFacts, 'adoptions'>;

export function translateFleetFacts({ launches, demand, ...facts }: FleetFacts): FleetFacts {
  const first = demand.first.map((row) => ({ ...row, id: uuidOf(row.id), jobId: uuidOf(row.jobId) }));
  return {
    ...facts,
    launches: launches.map((row) => ({ ...row, id: uuidOf(row.id) })),
    demand: { ...demand, first },
  };
}

/** By these loaded rows are found; planners do not read them. */
const NO_FACTS = new Set(['now', 'jobId', 'deploymentId', 'attemptId', 'instanceId', 'priority', 'spec', 'assignment']);

/** As JSON has it, without what is no fact. */
export function plainJobFacts(facts: JobFacts): unknown {
  return JSON.parse(JSON.stringify(facts, (key, value: unknown) => (NO_FACTS.has(key) ? undefined : value)));
}

export function plainFleetFacts({ launches, recent, supply, demand }: FleetFacts): unknown {
  return plain({
    launches: launches.map((row) => pick(row, LAUNCH_FACTS)),
    recent: { inOrder: recent.map((row) => pick(row, RECENT_FACTS)) },
    supply: supply.map((row) => pick(row, SUPPLY_FACTS)),
    demand: { ...demand, first: demand.first.map((row) => pick(row, ['id', 'jobId', 'priority', 'createdAt'])) },
  });
}

const OUTCOME = ['offer', 'failure', 'reason', 'message', 'rows'] as const;
const LAUNCH_FACTS = ['id', 'status', 'count', 'tries', ...OUTCOME] as const;
const RECENT_FACTS = ['at', 'registered', 'lost', 'stateReason', ...OUTCOME] as const;
const SUPPLY_FACTS = ['id', 'state', 'launchedAt', 'registeredAt', 'lastSeenAt', 'attempt'] as const;

/** What the tables hold, by names both sides have; but when new rows were made, which the tables write by themselves. */
export function plainTables({ jobs, attempts, orders, ...tables }: Tables): unknown {
  const { deployments, instances, launches, shapes, routes } = tables;
  const placeOf = new Map(attempts.map((row) => [row.id, placeIn(row)]));
  return plain({
    jobs: jobs.map(({ id, activeDeploymentId, ...row }) => ({
      ...row,
      ...{ id: uuidOf(id), activeDeploymentId: activeDeploymentId && uuidOf(activeDeploymentId) },
    })),
    deployments: deployments.map(deploymentOf),
    attempts: attempts.map((row) => ({
      ...pick(row, ATTEMPT),
      ...{ place: placeIn(row), shapeKey: keyOf(row.shapeKey), instanceId: row.assignment?.instanceId ?? null },
    })),
    orders: orders.map(({ attemptId, ...row }) => ({ ...pick(row, ORDER), place: placeOf.get(attemptId) })),
    instances: instances.map((row) => pick(row, INSTANCE)),
    launches: launches.map(({ id, shapeKey, ...row }) => ({
      ...pick(row, LAUNCH),
      ...{ id: uuidOf(id), shapeKey: keyOf(shapeKey), offer: row.offer },
    })),
    shapes: shapes.map(({ key, capacity, ...row }) => ({
      ...row,
      ...{ key: keyOf(key), capacity: translateCapacity(capacity) },
    })),
    routes: routes.map((row) => ({ ...row, jobId: uuidOf(row.jobId) })),
  });
}

/** The same of what Postgres holds. */
export async function readTables(transaction: Queryable): Promise<unknown> {
  const jobs = await transaction.query(
    `SELECT ${list(['id', 'desiredState', 'status', 'activeDeploymentId', 'nextPassAt'])},
       deleted_at IS NOT NULL AS "isGone" FROM jobs`,
  );
  const deployments = await transaction.query(`SELECT ${list(['id', ...DEPLOYMENT])} FROM deployments`);
  const attempts = await transaction.query(
    `SELECT ${list(ATTEMPT, 'a')}, a.deployment_id || ' ' || a.number AS place, a.shape_key AS "shapeKey",
       s.instance_id AS "instanceId"
     FROM attempts a LEFT JOIN assignments s ON s.attempt_id = a.id`,
  );
  const orders = await transaction.query(
    `SELECT ${list(ORDER, 'o')}, a.deployment_id || ' ' || a.number AS place
     FROM orders o JOIN attempts a ON a.id = o.attempt_id`,
  );
  const instances = await transaction.query(
    `SELECT ${list(INSTANCE.filter((name) => name !== 'isAssigned'))}, assigned AS "isAssigned" FROM instances`,
  );
  const launches = await transaction.query(
    `SELECT ${list(LAUNCH)}, id, shape_key AS "shapeKey",
       jsonb_build_object('type', instance_type, 'subnetId', subnet_id, 'market', market) AS offer FROM launches`,
  );
  const shapes = await transaction.query<{ verdict: object | null; verdictAt: Date | null }>(
    `SELECT ${list(['key', 'spec', 'capacity', 'warm', 'nextPassAt', 'verdictAt'])},
       CASE WHEN verdict_reason IS NOT NULL THEN jsonb_build_object('reason', verdict_reason,
         'message', verdict_message, 'isFinal', verdict_is_final) END AS verdict FROM shapes`,
  );
  const routes = await transaction.query(`SELECT ${list(['host', 'jobId', 'removedAt'])} FROM routes`);
  return plain({
    ...{ jobs, deployments, attempts, orders, instances, launches, routes },
    shapes: shapes.map(({ verdict, verdictAt: at, ...row }) => ({
      ...row,
      verdict: verdict && { ...verdict, at },
    })),
  });
}

const DEPLOYMENT = [
  ...(['number', 'image', 'imageDigest', 'imageId', 'definition', 'secretsVersion', 'trigger', 'origin'] as const),
  ...(['status', 'reason', 'message', 'failedPhase', 'retryable', 'exitCode', 'lastLogLines', 'deadlineAt'] as const),
  ...(['cancelRequestedAt', 'createdAt', 'startedAt', 'activeAt', 'endedAt'] as const),
];
const ATTEMPT = [
  ...(['phase', 'priority', 'reason', 'message', 'counted', 'assignedAt', 'pullingAt', 'startingAt'] as const),
  ...(['healthyAt', 'unroutingAt', 'stoppingAt', 'endedAt', 'logsCompleteAt', 'routedPort', 'unroutedAt'] as const),
  ...(['reachPort', 'reachAskedAt', 'reachedAs'] as const),
];
const ORDER = ['instanceId', 'number', 'purpose', 'spec', 'takenAt', 'answeredAt'] as const;
const INSTANCE = [
  ...(['id', 'state', 'stateReason', 'retireReason', 'retiredAt', 'isAssigned', 'quarantined'] as const),
  ...(['registeredAt', 'lastSeenAt', 'unreachableAt', 'terminatedAt'] as const),
];
const LAUNCH = ['status', 'count', 'tries', 'failure', 'reason', 'message', 'calledAt', 'nextTryAt'] as const;

function deploymentOf(row: DeploymentRow): object {
  return { ...pick(row, DEPLOYMENT), id: uuidOf(row.id) };
}

function placeIn({ deploymentId, number }: AttemptRow): string {
  return `${uuidOf(deploymentId)} ${number}`;
}

function pick<Row extends object, Name extends keyof Row>(row: Row, names: readonly Name[]): Pick<Row, Name> {
  return Object.fromEntries(names.map((name) => [name, row[name]])) as Pick<Row, Name>;
}

/** As JSON has it, each list in the order of its rows' own texts. */
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

function list(names: readonly string[], table?: string): string {
  const of = table === undefined ? '' : `${table}.`;
  return names.map((name) => `${of}${snake(name)} AS "${name}"`).join(', ');
}

function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function snakeCase(row: object): object {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [snake(name), value as unknown]));
}

/** Columns the table does not have are left out. */
async function insert<Row>(
  transaction: Queryable,
  table: string,
  rows: readonly Row[],
  columnsOf: (row: Row) => object,
): Promise<void> {
  const inserted = rows.map(columnsOf);
  const [first] = inserted;
  if (!first) return;
  const columns = (await namesOfColumns(transaction, table)).filter((name) => name in first);
  await transaction.query(
    `INSERT INTO ${table} (${columns.join(', ')})
     SELECT ${columns.join(', ')} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)`,
    [JSON.stringify(inserted)],
  );
}

const tableColumns = new Map<string, readonly string[]>();

async function namesOfColumns(transaction: Queryable, table: string): Promise<readonly string[]> {
  const known = tableColumns.get(table);
  if (known) return known;
  const rows = await transaction.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0`,
    [table],
  );
  const names = rows.map(({ name }) => name);
  tableColumns.set(table, names);
  return names;
}
