import type { Ec2Instance } from '../aws/ec2-types.js';
import type { Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Instance } from './instance.entity.js';
import { appendInstanceEvents, type InstanceEvent } from './instance-events.js';
import { wakeRows } from '../database/wake.js';

/** Writes what a launch or a sweep shows of instances of known launches. The registration may have been first. */
export async function upsertInstances(
  transaction: Queryable,
  { launchId, shapeKey }: { launchId: string; shapeKey: string },
  instances: readonly Ec2Instance[],
): Promise<void> {
  if (instances.length === 0) return;
  const rows = instances.map((instance) => ({
    ...instance,
    tags: undefined,
    isOver: instance.state === 'terminated',
  }));
  const written = await transaction.run(UPSERT, [JSON.stringify(rows), launchId, shapeKey]);
  await appendInstanceEvents(
    transaction,
    written
      .filter(({ isNew }) => isNew)
      .flatMap(({ id: instance, isOver }): InstanceEvent[] => [
        { type: 'instance.launched', instance, data: { launchId } },
        ...(isOver ? [{ type: 'instance.terminated' as const, instance }] : []),
      ]),
  );
}

/** Makes a pass due for these shapes. After commit: signal `shapes`. */
export async function wakeShapes(transaction: Queryable, keys: readonly string[]): Promise<void> {
  if (keys.length > 0) await transaction.run(WAKE_SHAPES, [keys]);
}

// A state from a describe is newer than that in the answer of the call that made the instance. In the order of their
// ids: a launch and a sweep that write the same rows would otherwise wait for each other.
const UPSERT = statement('fleet-upsert-instances', {
  values: [t.json, t.uuid, t.text],
  row: {
    ...columnsOf(Instance, 'id'),
    isNew: t.bool,
    /** Where it is new: it had ended before it was first seen. */
    isOver: t.bool,
  },
})(`
  INSERT INTO instances AS i (id, launch_id, shape_key, state, state_reason, availability_zone, instance_type, image_id,
    private_ip, public_ip, launched_at, observed_at, terminated_at)
  SELECT p.id, $2, $3, p.state, p."stateReason", p."availabilityZone", p.type, p."imageId", p."privateIp", p."publicIp",
    LEAST(p."launchedAt", clock_timestamp()), clock_timestamp(), CASE WHEN p."isOver" THEN clock_timestamp() END
  FROM jsonb_to_recordset($1::jsonb) AS p(id text, state text, "stateReason" text, "availabilityZone" text, type text,
    "imageId" text, "privateIp" text, "publicIp" text, "launchedAt" timestamptz, "isOver" boolean)
  ORDER BY p.id
  ON CONFLICT (id) DO UPDATE SET
    launch_id = coalesce(i.launch_id, EXCLUDED.launch_id),
    shape_key = coalesce(i.shape_key, EXCLUDED.shape_key),
    availability_zone = coalesce(i.availability_zone, EXCLUDED.availability_zone),
    instance_type = coalesce(i.instance_type, EXCLUDED.instance_type),
    image_id = coalesce(i.image_id, EXCLUDED.image_id),
    private_ip = coalesce(i.private_ip, EXCLUDED.private_ip),
    public_ip = coalesce(i.public_ip, EXCLUDED.public_ip),
    observed_at = coalesce(i.observed_at, EXCLUDED.observed_at),
    quarantined = false
  RETURNING id, xmax = 0 AS "isNew", terminated_at IS NOT NULL AS "isOver"`);

const WAKE_SHAPES = statement('fleet-wake-shapes', { values: [t.arrayOf(t.text)] })(
  wakeRows('shapes', 'key = ANY($1)'),
);
