import type { Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Assignment } from './assignment.entity.js';
import { Instance } from './instance.entity.js';
import { appendInstanceEvents } from './instance-events.js';
import type { ShapeRow } from './load-shapes.js';
import type { FleetPlan } from './plan/plan-fleet.js';
import { wakeRows } from '../database/wake.js';

export type PlannedShape = { readonly shape: ShapeRow; readonly plan: FleetPlan; readonly launch: LaunchRow | null };

/** A launch as it is stored before the call. */
export type LaunchRow = {
  readonly id: string;
  readonly shapeKey: string;
  readonly epoch: string;
  readonly input: Buffer;
  readonly count: number;
  readonly imageId: string;
  readonly instanceType: string;
  readonly subnetId: string;
  readonly market: string;
  readonly secretHash: Buffer;
};

type Assigned = { readonly attemptId: string; readonly instanceId: string };

export type Applied = {
  readonly assigned: readonly Assigned[];
  readonly wokenJobs: number;
};

/** Writes the plans of a pass in the lock order jobs → instances, assignments, launches → shapes, each set in order of its key. */
export async function applyFleetPlans(transaction: Queryable, planned: readonly PlannedShape[]): Promise<Applied> {
  const assignments = planned.flatMap(({ plan }) => plan.assignments);
  const newsOf = planned.filter(({ plan }) => plan.isVerdictNews).map(({ shape }) => shape.key);
  const wokenJobs = await wakeJobs(
    transaction,
    assignments.map(({ jobId }) => jobId),
    newsOf,
  );
  const assigned = await assign(transaction, assignments);
  await retire(
    transaction,
    planned.flatMap(({ plan }) => plan.retirements),
  );
  await quarantine(
    transaction,
    planned.flatMap(({ plan }) => plan.quarantines),
  );
  await insertLaunches(
    transaction,
    planned.flatMap(({ launch }) => launch ?? []),
  );
  await updateShapes(transaction, planned);
  return { assigned, wokenJobs };
}

async function wakeJobs(
  transaction: Queryable,
  jobIds: readonly string[],
  shapeKeys: readonly string[],
): Promise<number> {
  if (jobIds.length + shapeKeys.length === 0) return 0;
  const rows = await transaction.run(WAKE_JOBS, [[...new Set(jobIds)], shapeKeys]);
  return rows.length;
}

/** Skips what has changed since it was loaded: an attempt that no longer waits, an instance that is leaving. */
async function assign(transaction: Queryable, assignments: readonly Assigned[]): Promise<Assigned[]> {
  if (assignments.length === 0) return [];
  const assigned = await transaction.run(ASSIGN, [
    assignments.map(({ attemptId }) => attemptId),
    assignments.map(({ instanceId }) => instanceId),
  ]);
  const adopted = assigned.filter(({ isAdopted }) => isAdopted);
  await appendInstanceEvents(
    transaction,
    adopted.map(({ instanceId }) => ({ type: 'instance.adopted', instance: instanceId })),
  );
  return assigned.map(({ attemptId, instanceId }) => ({ attemptId, instanceId }));
}

async function retire(
  transaction: Queryable,
  retirements: readonly { instanceId: string; reason: string }[],
): Promise<void> {
  if (retirements.length === 0) return;
  const retired = await transaction.run(RETIRE, [
    retirements.map(({ instanceId }) => instanceId),
    retirements.map(({ reason }) => reason),
  ]);
  await appendInstanceEvents(
    transaction,
    retired.map(({ id, reason }) => ({ type: 'instance.retiring', instance: id, reason })),
  );
}

async function quarantine(transaction: Queryable, instanceIds: readonly string[]): Promise<void> {
  if (instanceIds.length === 0) return;
  const rows = await transaction.run(QUARANTINE, [instanceIds]);
  await appendInstanceEvents(
    transaction,
    rows.map(({ id }) => ({ type: 'instance.quarantined', instance: id, reason: 'adoption-failed' })),
  );
}

async function insertLaunches(transaction: Queryable, launches: readonly LaunchRow[]): Promise<void> {
  for (const row of launches) {
    const { id, shapeKey, epoch, input, count, imageId, instanceType, subnetId, market, secretHash } = row;
    const values = [id, shapeKey, epoch, input, count, imageId, instanceType, subnetId, market, secretHash] as const;
    await transaction.run(INSERT_LAUNCH, values);
  }
}

async function updateShapes(transaction: Queryable, planned: readonly PlannedShape[]): Promise<void> {
  const rows = planned.map(({ shape, plan }) => ({
    key: shape.key,
    claimedUntil: shape.claimedUntil,
    capacity: plan.capacity,
    recheckAt: plan.recheckAt,
    isVerdictNews: plan.isVerdictNews,
    reason: plan.verdict?.reason ?? null,
    message: plan.verdict?.message ?? null,
    isFinal: plan.verdict?.isFinal ?? false,
  }));
  await transaction.run(UPDATE_SHAPES, [JSON.stringify(rows)]);
}

const WAKE_JOBS = statement('fleet-wake-jobs', { values: [t.arrayOf(t.uuid), t.arrayOf(t.text)] })(
  wakeRows(
    'jobs',
    `id IN (
    SELECT unnest($1::uuid[])
    UNION SELECT job_id FROM attempts WHERE shape_key = ANY($2::text[]) AND phase = 'waiting')`,
  ),
);

// Locked before they are read again: a sweep may be writing that the instance was just terminated.
const ASSIGN = statement('fleet-assign', {
  values: [t.arrayOf(t.uuid), t.arrayOf(t.text)],
  row: { ...columnsOf(Assignment, 'attemptId', 'instanceId'), isAdopted: t.bool },
})(`
  WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[]) AS w(attempt_id, instance_id)
  ), usable AS (
    SELECT id, quarantined FROM instances
    WHERE id IN (SELECT instance_id FROM wanted) AND assigned = false AND retire_reason IS NULL
      AND terminated_at IS NULL AND state IN ('pending', 'running') AND registered_at IS NOT NULL
      AND (NOT quarantined OR EXISTS (
        SELECT 1 FROM wanted w JOIN attempts a ON a.id = w.attempt_id JOIN deployments d ON d.id = a.deployment_id
        WHERE w.instance_id = instances.id AND d.adopts = instances.id))
    ORDER BY id FOR NO KEY UPDATE
  ), inserted AS (
    INSERT INTO assignments (attempt_id, instance_id)
    SELECT w.attempt_id, w.instance_id FROM wanted w
    JOIN usable u ON u.id = w.instance_id
    JOIN attempts a ON a.id = w.attempt_id AND a.phase = 'waiting'
    ON CONFLICT DO NOTHING
    RETURNING attempt_id, instance_id
  ), marked AS (
    UPDATE instances SET assigned = true, quarantined = false WHERE id IN (SELECT instance_id FROM inserted)
  )
  SELECT i.attempt_id AS "attemptId", i.instance_id AS "instanceId", u.quarantined AS "isAdopted"
  FROM inserted i JOIN usable u ON u.id = i.instance_id`);

// An instance that registered or was assigned meanwhile has a use again.
const RETIRE = statement('fleet-retire', {
  values: [t.arrayOf(t.text), t.arrayOf(t.text)],
  row: { ...columnsOf(Instance, 'id'), reason: t.text },
})(`
  WITH leaving AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS l(id, reason)
  ), locked AS (
    SELECT id FROM instances WHERE id IN (SELECT id FROM leaving) ORDER BY id FOR NO KEY UPDATE
  )
  UPDATE instances i SET retire_reason = l.reason, retired_at = clock_timestamp()
  FROM leaving l JOIN locked ON locked.id = l.id
  WHERE i.id = l.id AND i.retire_reason IS NULL AND i.terminated_at IS NULL
    AND (l.reason = 'attempt-ended' OR i.assigned = false)
    AND (l.reason <> 'never-registered' OR i.registered_at IS NULL)
  RETURNING i.id, l.reason`);

const QUARANTINE = statement('fleet-quarantine', { values: [t.arrayOf(t.text)], row: columnsOf(Instance, 'id') })(`
  UPDATE instances SET quarantined = true
  WHERE id IN (SELECT id FROM instances WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE) AND retire_reason IS NULL
  RETURNING id`);

const INSERT_LAUNCH = statement('fleet-insert-launch', {
  values: [t.uuid, t.text, t.bigint, t.bytea, t.int, t.text, t.text, t.text, t.text, t.bytea],
})(`
  INSERT INTO launches (id, shape_key, epoch, input, count, image_id, instance_type, subnet_id, market, secret_hash)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`);

// A wake-up since the claim has changed next_pass_at, which is kept, however early.
const UPDATE_SHAPES = statement('fleet-update-shapes', { values: [t.json] })(`
  WITH plan AS (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS p(key text, "claimedUntil" timestamptz, capacity jsonb,
      "recheckAt" timestamptz, "isVerdictNews" boolean, reason text, message text, "isFinal" boolean)
  ), locked AS (
    SELECT key FROM shapes WHERE key IN (SELECT key FROM plan) ORDER BY key FOR NO KEY UPDATE
  )
  UPDATE shapes s SET capacity = p.capacity,
    next_pass_at = CASE WHEN s.next_pass_at = p."claimedUntil" THEN p."recheckAt"
                        ELSE LEAST(s.next_pass_at, p."recheckAt") END,
    verdict_reason = CASE WHEN p."isVerdictNews" THEN p.reason ELSE s.verdict_reason END,
    verdict_message = CASE WHEN p."isVerdictNews" THEN p.message ELSE s.verdict_message END,
    verdict_is_final = CASE WHEN p."isVerdictNews" THEN p."isFinal" ELSE s.verdict_is_final END,
    verdict_at = CASE WHEN NOT p."isVerdictNews" THEN s.verdict_at WHEN p.reason IS NOT NULL THEN clock_timestamp() END
  FROM plan p JOIN locked ON locked.key = p.key
  WHERE s.key = p.key`);
