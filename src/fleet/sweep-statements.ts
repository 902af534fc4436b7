import { type Ec2Instance, LAUNCH_TAG } from '../aws/ec2-types.js';
import type { Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { Instance } from './instance.entity.js';
import { appendInstanceEvents, type InstanceEvent } from './instance-events.js';
import { upsertInstances, wakeShapes } from './instance-writes.js';
import { Launch } from './launch.entity.js';
import type { OwnerLease } from '../ownership/owner-lease.js';
import type { InstanceUpdate, KnownInstance, SweepPlan } from './plan/plan-sweep.js';
import { wakeRows } from '../database/wake.js';

export type SweepWritten = { wokenJobs: number; wokenShapes: number; quarantined: string[] };

/** Rows a transaction locks: few enough that a job pass waits only some milliseconds for it. */
const CHUNK = 500;

export async function readInstances(
  database: Queryable,
  ids: readonly string[],
  which: 'only' | 'and-the-living',
): Promise<{ now: Date; rows: KnownInstance[] }> {
  const rows = await database.run(INSTANCES[which], [ids]);
  return { now: rows[0]?.now ?? (await readClock(database)), rows };
}

/** The database's clock: the one all rows are written by. */
export async function readClock(database: Queryable): Promise<Date> {
  const [clock] = await database.run(CLOCK, []);
  return clock?.now ?? new Date(0);
}

export async function readKnownLaunches(database: Queryable, tags: readonly string[]): Promise<Set<string>> {
  const ids = [...new Set(tags)].filter((tag) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(tag));
  if (ids.length === 0) return new Set();
  const rows = await database.run(KNOWN_LAUNCHES, [ids]);
  return new Set(rows.map(({ id }) => id));
}

export async function writeSweep(lease: OwnerLease, plan: SweepPlan): Promise<SweepWritten> {
  const written: SweepWritten = { wokenJobs: 0, wokenShapes: 0, quarantined: [] };
  const updates = plan.updates.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  for (let at = 0; at < updates.length; at += CHUNK) {
    const chunk = updates.slice(at, at + CHUNK);
    await lease.transaction(async (transaction) => {
      const { jobs, shapes } = await writeUpdates(transaction, chunk);
      written.wokenJobs += jobs;
      written.wokenShapes += shapes;
    });
  }
  if (plan.inserts.length + plan.quarantines.length === 0) return written;
  await lease.transaction(async (transaction) => {
    written.wokenShapes += await writeInserts(transaction, plan.inserts);
    written.quarantined = await writeQuarantines(transaction, plan.quarantines);
  });
  return written;
}

/** Retires what the fleet pass missed: instances of attempts that ended long ago. */
export async function retireForgotten(lease: OwnerLease): Promise<string[]> {
  return await lease.transaction(async (transaction) => {
    const rows = await transaction.run(RETIRE_FORGOTTEN, []);
    const ids = rows.map(({ id }) => id);
    await appendInstanceEvents(
      transaction,
      ids.map((instance) => ({ type: 'instance.retiring', instance, reason: 'attempt-ended' })),
    );
    return ids;
  });
}

async function writeUpdates(transaction: Queryable, updates: readonly InstanceUpdate[]) {
  const changed = updates.filter(({ isChange }) => isChange);
  const jobs =
    changed.length === 0
      ? []
      : await transaction.run(WAKE_JOBS, [
          changed.map(({ id }) => id),
          changed.filter(({ isOver }) => isOver).map(({ id }) => id),
        ]);
  const rows = await transaction.run(UPDATE, [JSON.stringify(updates)]);
  await appendInstanceEvents(transaction, rows.flatMap(eventsOf));
  const changedIds = new Set(changed.map(({ id }) => id));
  const shapes = [...new Set(rows.flatMap(({ id, shapeKey }) => (changedIds.has(id) && shapeKey ? [shapeKey] : [])))];
  await wakeShapes(transaction, shapes);
  return { jobs: jobs.length, shapes: shapes.length };
}

const INSTANCE = columnsOf(Instance, 'id', 'shapeKey', 'state', 'stateReason', 'retireReason');
/** Whether this sweep saw it end, or retires it. */
const UPDATED = { ...INSTANCE, hasEnded: t.bool, isRetiring: t.bool } as const;
type Updated = RowOf<typeof UPDATED>;

function eventsOf({ id: instance, state, stateReason, retireReason, hasEnded, isRetiring }: Updated): InstanceEvent[] {
  const events: InstanceEvent[] = [];
  if (isRetiring) events.push({ type: 'instance.retiring', instance, reason: retireReason });
  if (hasEnded) {
    const type = state === 'gone' ? 'instance.gone' : 'instance.terminated';
    events.push({ type, instance, reason: retireReason, data: { stateReason } });
  }
  return events;
}

async function writeInserts(transaction: Queryable, inserts: SweepPlan['inserts']): Promise<number> {
  const shapes = new Set<string>();
  for (const [launchId, same] of Map.groupBy(inserts, (insert) => insert.launchId)) {
    const [launch] = await transaction.run(SHAPE_OF, [launchId]);
    if (!launch) continue;
    const instances = same.map(({ instance }) => instance);
    await upsertInstances(transaction, { launchId, shapeKey: launch.shapeKey }, instances);
    shapes.add(launch.shapeKey);
  }
  await wakeShapes(transaction, [...shapes]);
  return shapes.size;
}

/** @returns those that were not in quarantine before */
async function writeQuarantines(transaction: Queryable, instances: readonly Ec2Instance[]): Promise<string[]> {
  if (instances.length === 0) return [];
  const rows = await transaction.run(QUARANTINE, [
    JSON.stringify(instances.map((instance) => ({ ...instance, launchTag: instance.tags[LAUNCH_TAG] ?? null }))),
  ]);
  const ids = rows.map(({ id }) => id);
  await appendInstanceEvents(
    transaction,
    ids.map((instance) => ({ type: 'instance.quarantined', instance, reason: 'unknown-launch' })),
  );
  return ids;
}

const KNOWN = {
  ...columnsOf(Instance, 'id', 'state', 'stateReason', 'availabilityZone', 'instanceType', 'imageId'),
  ...columnsOf(Instance, 'privateIp', 'publicIp', 'launchedAt', 'observedAt', 'missingSince', 'terminatedAt'),
  ...columnsOf(Instance, 'retireReason', 'quarantined'),
} as const;

const KNOWN_TYPES = { values: [t.arrayOf(t.text)], row: { now: t.timestamptz, ...KNOWN } } as const;
const KNOWN_SQL = `SELECT clock_timestamp() AS now, ${selectList(KNOWN)} FROM instances WHERE id = ANY($1)`;

const INSTANCES = {
  only: statement('fleet-instances', KNOWN_TYPES)(KNOWN_SQL),
  'and-the-living': statement('fleet-all-instances', KNOWN_TYPES)(`${KNOWN_SQL} OR terminated_at IS NULL`),
};

const CLOCK = statement('fleet-clock', { row: { now: t.timestamptz }, isPrepared: false })(
  'SELECT clock_timestamp() AS now',
);

const KNOWN_LAUNCHES = statement('fleet-known-launches', {
  values: [t.arrayOf(t.uuid)],
  row: columnsOf(Launch, 'id'),
  isPrepared: false,
})('SELECT id FROM launches WHERE id = ANY($1::uuid[])');

const SHAPE_OF = statement('fleet-shape-of-launch', {
  values: [t.uuid],
  row: columnsOf(Launch, 'shapeKey'),
  isPrepared: false,
})('SELECT shape_key AS "shapeKey" FROM launches WHERE id = $1');

// The jobs of living attempts; and of ended ones when the instance has ended: a job that is being deleted waits for its
// instances.
const WAKE_JOBS = statement('fleet-sweep-jobs', { values: [t.arrayOf(t.text), t.arrayOf(t.text)] })(
  wakeRows(
    'jobs',
    `deleted_at IS NULL AND id IN (
    SELECT a.job_id FROM assignments s JOIN attempts a ON a.id = s.attempt_id
    WHERE s.instance_id = ANY($1) AND (a.phase <> 'ended' OR s.instance_id = ANY($2)))`,
  ),
);

const UPDATE = statement('fleet-sweep-update', { values: [t.json], row: UPDATED })(`
  WITH seen AS (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS p(id text, state text, "stateReason" text, "availabilityZone" text,
      "instanceType" text, "imageId" text, "privateIp" text, "publicIp" text, observed boolean,
      "missingSince" timestamptz, "isOver" boolean, "retireReason" text)
  ), locked AS (
    SELECT id, terminated_at IS NULL AS was_living, retire_reason IS NULL AS was_wanted
    FROM instances WHERE id IN (SELECT id FROM seen) ORDER BY id FOR NO KEY UPDATE
  )
  UPDATE instances i SET state = p.state, state_reason = coalesce(p."stateReason", i.state_reason),
    availability_zone = coalesce(p."availabilityZone", i.availability_zone),
    instance_type = coalesce(p."instanceType", i.instance_type), image_id = coalesce(p."imageId", i.image_id),
    private_ip = coalesce(p."privateIp", i.private_ip), public_ip = p."publicIp",
    observed_at = CASE WHEN p.observed THEN clock_timestamp() ELSE i.observed_at END,
    missing_since = p."missingSince",
    terminated_at = CASE WHEN p."isOver" THEN coalesce(i.terminated_at, clock_timestamp()) END,
    retire_reason = coalesce(i.retire_reason, p."retireReason"),
    retired_at = coalesce(i.retired_at, CASE WHEN p."retireReason" IS NOT NULL THEN clock_timestamp() END)
  FROM seen p JOIN locked ON locked.id = p.id
  WHERE i.id = p.id
  RETURNING ${selectList(INSTANCE, 'i')},
    locked.was_living AND i.terminated_at IS NOT NULL AS "hasEnded",
    locked.was_wanted AND i.retire_reason IS NOT NULL AS "isRetiring"`);

const QUARANTINE = statement('fleet-sweep-quarantine', {
  values: [t.json],
  row: columnsOf(Instance, 'id'),
  isPrepared: false,
})(`
  INSERT INTO instances (id, state, state_reason, availability_zone, instance_type, image_id, private_ip, public_ip,
    launched_at, observed_at, quarantined, launch_tag)
  SELECT p.id, p.state, p."stateReason", p."availabilityZone", p.type, p."imageId", p."privateIp", p."publicIp",
    p."launchedAt", clock_timestamp(), true, p."launchTag"
  FROM jsonb_to_recordset($1::jsonb) AS p(id text, state text, "stateReason" text, "availabilityZone" text, type text,
    "imageId" text, "privateIp" text, "publicIp" text, "launchedAt" timestamptz, "launchTag" text)
  ON CONFLICT (id) DO NOTHING
  RETURNING id`);

const RETIRE_FORGOTTEN = statement('fleet-retire-forgotten', { row: columnsOf(Instance, 'id') })(`
  UPDATE instances SET retire_reason = 'attempt-ended', retired_at = clock_timestamp()
  WHERE id IN (
    SELECT i.id FROM instances i
    JOIN assignments s ON s.instance_id = i.id
    JOIN attempts a ON a.id = s.attempt_id
    JOIN deployments d ON d.id = a.deployment_id
    WHERE i.terminated_at IS NULL AND i.retire_reason IS NULL AND NOT i.quarantined AND a.phase = 'ended'
      -- An adoption that failed gives its instance back to quarantine.
      AND (d.adopts IS DISTINCT FROM i.id OR a.healthy_at IS NOT NULL)
      AND a.ended_at < clock_timestamp() - interval '2 minutes'
    ORDER BY i.id FOR NO KEY UPDATE OF i)
  RETURNING id`);
