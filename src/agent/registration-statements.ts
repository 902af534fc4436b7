import { ADVISORY_LOCKS } from '../database/advisory-locks.js';
import type { Database } from '../database/database.js';
import { type RowOf, statement, t } from '../database/statement.js';
import type { Identity } from './identity.js';
import type { InstanceFacts, LaunchFacts, RegistrationFacts } from './registration-rules.js';
import { dueNow } from '../database/wake.js';
import { insertEvents } from '../events/event-sql.js';

export type Admission = {
  readonly identity: Identity;
  readonly secretHash: Buffer;
  readonly tokenHash: Buffer;
  readonly agentVersion: string;
  /** Number of the last order the agent has. */
  readonly after: number;
};

/** What the database knows of the secret and the instance. */
export async function readRegistrationFacts(
  database: Database,
  instanceId: string,
  secretHash: Buffer,
  /** Of the launch with this id: one for each key its secret may have been made with. */
  secretHashesOf: (launchId: string) => readonly Buffer[],
): Promise<Pick<RegistrationFacts, 'launch' | 'instance' | 'now'>> {
  const [row] = await database.run(FACTS, [instanceId, secretHash]);
  if (!row) throw new Error('the facts of a registration are always one row');
  const { launchTag } = row;
  const isSecretRight = launchTag !== null && secretHashesOf(launchTag).some((hash) => hash.equals(secretHash));
  return { now: row.now, launch: launchOf(row), instance: instanceOf(row, isSecretRight) };
}

/**
 * Writes the registration and wakes the fleet. `overtaken`: the facts have changed, read and check them again.
 * `token-in-use`: by another instance.
 */
export async function admit(
  database: Database,
  launchId: string,
  { identity, tokenHash, agentVersion }: Admission,
): Promise<'admitted' | 'overtaken' | 'token-in-use'> {
  try {
    return await database.transaction(async (transaction) => {
      // One registration of a launch at a time, so that their count holds. Not the launch's row: the fleet locks it too.
      await transaction.run(LOCK, [ADVISORY_LOCKS.registration, launchId]);
      const admitted = await transaction.run(ADMIT, [
        identity.instanceId,
        launchId,
        identity.availabilityZone,
        identity.instanceType,
        identity.imageId,
        identity.privateIp,
        identity.pendingTime,
        tokenHash,
        agentVersion,
      ]);
      return admitted.length > 0 ? 'admitted' : 'overtaken';
    });
  } catch (error) {
    if (isTokenInUse(error)) return 'token-in-use';
    throw error;
  }
}

/** As `admit`, for an instance in quarantine that a deployment adopts. The fleet ends quarantine as it assigns it. */
export async function admitAdopted(
  database: Database,
  { identity, tokenHash, agentVersion, after }: Admission,
): Promise<'admitted' | 'overtaken' | 'token-in-use'> {
  try {
    const admitted = await database.run(ADOPT, [
      identity.instanceId,
      tokenHash,
      agentVersion,
      identity.privateIp,
      after,
    ]);
    return admitted.length > 0 ? 'admitted' : 'overtaken';
  } catch (error) {
    if (isTokenInUse(error)) return 'token-in-use';
    throw error;
  }
}

function isTokenInUse(error: unknown): boolean {
  return error instanceof Error && 'constraint' in error && error.constraint === 'instances_token';
}

const FACTS_ROW = {
  now: t.timestamptz,
  launchId: t.nullable(t.uuid),
  imageId: t.nullable(t.text),
  count: t.nullable(t.int),
  isSettled: t.nullable(t.bool),
  createdAt: t.nullable(t.timestamptz),
  registered: t.int,
  instanceLaunchId: t.nullable(t.uuid),
  tokenHash: t.nullable(t.bytea),
  quarantined: t.nullable(t.bool),
  launchTag: t.nullable(t.text),
  isAdopted: t.bool,
  /** Null when there is no such instance. */
  isRetired: t.nullable(t.bool),
} as const;

type FactsRow = RowOf<typeof FACTS_ROW>;

function launchOf({ launchId: id, imageId, count, isSettled, createdAt, registered }: FactsRow): LaunchFacts | null {
  // All of them are null when there is no such launch.
  if (id === null || imageId === null || count === null || isSettled === null || createdAt === null) return null;
  return { id, imageId, count, isSettled, createdAt, registered };
}

function instanceOf(row: FactsRow, isSecretRight: boolean): InstanceFacts | null {
  const { instanceLaunchId: launchId, tokenHash, isRetired, isAdopted } = row;
  if (isRetired === null) return null;
  return { launchId, tokenHash, isRetired, quarantine: row.quarantined ? { isAdopted, isSecretRight } : null };
}

const FACTS = statement('registration-facts', { values: [t.text, t.bytea], row: FACTS_ROW })(`
  SELECT clock_timestamp() AS now, launch.id AS "launchId", launch.image_id AS "imageId", launch.count,
    launch.status = 'done' AS "isSettled", launch.created_at AS "createdAt",
    (
      SELECT count(*)::int FROM instances AS other
      WHERE other.launch_id = launch.id AND other.token_hash IS NOT NULL AND other.id <> $1
    ) AS registered,
    instance.launch_id AS "instanceLaunchId", instance.token_hash AS "tokenHash", instance.quarantined,
    instance.launch_tag AS "launchTag",
    EXISTS (SELECT FROM deployments WHERE adopts = $1 AND status IN ('queued', 'deploying')) AS "isAdopted",
    CASE WHEN instance.id IS NOT NULL THEN instance.retire_reason IS NOT NULL OR instance.terminated_at IS NOT NULL END
      AS "isRetired"
  FROM (SELECT) AS one
  LEFT JOIN launches AS launch ON launch.secret_hash = $2
  LEFT JOIN instances AS instance ON instance.id = $1`);

const ADOPT = statement('registration-adopt', { values: [t.text, t.bytea, t.text, t.nullable(t.text), t.int] })(`
  WITH wanted AS (
    SELECT attempts.shape_key FROM deployments
    LEFT JOIN attempts ON attempts.deployment_id = deployments.id AND attempts.phase = 'waiting'
    WHERE deployments.adopts = $1 AND deployments.status IN ('queued', 'deploying')
  ), admitted AS (
    UPDATE instances SET token_hash = $2, agent_version = $3, private_ip = COALESCE($4, private_ip),
      orders_after = $5, registered_at = clock_timestamp(), last_seen_at = clock_timestamp()
    WHERE id = $1 AND quarantined AND token_hash IS NULL AND retire_reason IS NULL AND terminated_at IS NULL
      AND EXISTS (SELECT FROM wanted)
    RETURNING id
  ), recorded AS (
    ${insertEvents({ type: 'instance.registered', actor: "'agent'", instance: 'id' }, 'FROM admitted')}
  ), woken AS (
    UPDATE shapes SET ${dueNow('shapes')}
    FROM admitted, wanted WHERE shapes.key = wanted.shape_key
  )
  SELECT id FROM admitted`);

const LOCK = statement('registration-lock', { values: [t.int, t.text] })(
  `SELECT pg_advisory_xact_lock($1, hashtext($2))`,
);

// The fleet's columns (state, observed_at, public_ip …) stay as they are: it reads them from EC2. The shape's row is
// updated even if it is due already: a fleet pass that just claimed it may have loaded its instances before.
const ADMIT = statement('registration-admit', {
  values: [t.text, t.uuid, t.text, t.text, t.text, t.nullable(t.text), t.timestamptz, t.bytea, t.text],
})(`
  WITH launch AS (
    SELECT id, shape_key FROM launches WHERE id = $2 AND count > (
      SELECT count(*) FROM instances WHERE launch_id = $2 AND token_hash IS NOT NULL AND id <> $1
    )
  ), admitted AS (
    INSERT INTO instances (id, launch_id, shape_key, availability_zone, instance_type, image_id, private_ip,
      launched_at, token_hash, agent_version, registered_at, last_seen_at)
    SELECT $1, id, shape_key, $3, $4, $5, $6, $7, $8, $9, clock_timestamp(), clock_timestamp() FROM launch
    ON CONFLICT (id) DO UPDATE SET
      availability_zone = excluded.availability_zone, instance_type = excluded.instance_type,
      image_id = excluded.image_id, private_ip = COALESCE(excluded.private_ip, instances.private_ip),
      token_hash = excluded.token_hash, agent_version = excluded.agent_version,
      registered_at = excluded.registered_at, last_seen_at = excluded.last_seen_at
    WHERE instances.launch_id = excluded.launch_id AND instances.token_hash IS NULL
      AND instances.retire_reason IS NULL AND instances.terminated_at IS NULL
    RETURNING id, shape_key, xmax = 0 AS is_new
  ), recorded AS (
    -- An instance may register before the answer of RunInstances is written.
    ${insertEvents(
      {
        type: { sql: 'type' },
        actor: "'agent'",
        instance: 'id',
        data: `jsonb_build_object('launchId', $2::uuid)`,
      },
      `FROM admitted, unnest(ARRAY['instance.launched', 'instance.registered']) AS type
      WHERE is_new OR type <> 'instance.launched'`,
    )}
  ), woken AS (
    UPDATE shapes SET ${dueNow('shapes')}
    FROM admitted WHERE shapes.key = admitted.shape_key
  )
  SELECT id FROM admitted`);
