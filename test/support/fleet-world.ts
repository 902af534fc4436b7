import { createHash, createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type CloudOptions, type LocalCloud, startLocalCloud } from '../../local/cloud/local-cloud.ts';
import type { BootedInstance } from '../../local/cloud/runtime.ts';
import { Ec2, type Ec2Options } from '../../src/aws/ec2.ts';
import { shapeKeyOf } from '../../src/deployments/shape-key.ts';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import { Fleet, type FleetOptions } from '../../src/fleet/fleet.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { until } from '../../local/until.ts';

export const SPEC: ShapeSpec = {
  imageId: null,
  types: ['t3.small'],
  subnetIds: [],
  securityGroupIds: [],
  profile: null,
  diskGiB: 30,
  market: 'on-demand',
  publicIp: true,
};

export type LogLine = { level: 'info' | 'warn' | 'error'; message: string; fields: object };

export type LaunchState = {
  id: string;
  status: string;
  failure: string | null;
  reason: string | null;
  tries: number;
  count: number;
  type: string;
  subnetId: string;
};

export type FleetWorld = {
  readonly test: TestDatabase;
  readonly cloud: LocalCloud;
  readonly log: LogLine[];
  /** Whether booted instances register, as their agents would. Default: true. */
  registers: boolean;
  /** What the health page says of instances that EC2 does not end. */
  terminationTrouble: string | null;
  /** A fleet that is not started. Stopped by `close`. */
  fleet(overrides?: FleetOverrides, agentScript?: string): Fleet;
  /** Waiting attempts of new jobs, as the job pass inserts them. */
  demand(count: number, spec?: ShapeSpec): Promise<string[]>;
  end(attemptIds: readonly string[]): Promise<void>;
  /** Waits for a state of rows. */
  until(what: string, isTrue: () => boolean | Promise<boolean>, limitMs?: number): Promise<void>;
  rows<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  assigned(): Promise<{ attemptId: string; instanceId: string }[]>;
  /** Oldest first. */
  launches(): Promise<LaunchState[]>;
  /** Instances the cloud itself calls alive. */
  alive(): string[];
  close(): Promise<void>;
};

type Settings = FleetOptions['config'];
type FleetOverrides = Partial<Omit<Settings, 'fleet'>> & { readonly fleet?: Partial<Settings['fleet']> };

/** Real Postgres, the local cloud with EC2's quotas, and instances that register the moment they run. */
export async function startFleetWorld(options: Partial<CloudOptions> = {}): Promise<FleetWorld> {
  const test = await createTestDatabase();
  const fleets: Fleet[] = [];
  const log: LogLine[] = [];
  const world = { registers: true, terminationTrouble: null as string | null };
  const cloud = await startLocalCloud({
    port: 0,
    bootMs: 5,
    visibilityMs: 0,
    seed: 7,
    runtime: {
      boot: async (instance) => {
        if (world.registers) await register(test, instance);
      },
      halt: () => Promise.resolve(),
      freeze: () => Promise.resolve(),
      thaw: () => Promise.resolve(),
    },
    ...options,
  });
  const ec2 = await connect(cloud, { timeoutMs: 5_000 });
  const agentScript = await readFile(new URL('../../src/agent/agent.sh', import.meta.url), 'utf8');
  const write =
    (level: LogLine['level']) =>
    (message: string, fields: object = {}) =>
      void log.push({ level, message, fields });

  return Object.assign(world, {
    test,
    cloud,
    log,
    fleet: ({ fleet: limits, ...overrides }: FleetOverrides = {}, script = agentScript) => {
      const fleet = new Fleet({
        database: test.database,
        signals: test.signals,
        ec2,
        config: {
          cluster: 'test',
          encryptionKeys: [createSecretKey(Buffer.alloc(32, 1))],
          aws: { quotaShare: 0.8 },
          agents: { url: 'http://127.0.0.1:3000', pins: [] },
          fleet: {
            defaultAmi: 'ecs-al2023',
            allowedSubnets: [],
            allowedSecurityGroups: [],
            allowedProfiles: [],
            maxLaunchesPerMinute: 10_000,
            ...limits,
          },
          ...overrides,
        },
        agentScript: script,
        log: { info: write('info'), warn: write('warn'), error: write('error') },
        onBeat: () => undefined,
        onAwsTrouble: () => undefined,
        onTerminationTrouble: (trouble) => void (world.terminationTrouble = trouble),
      });
      fleets.push(fleet);
      return fleet;
    },
    demand: (count: number, spec: ShapeSpec = SPEC) => demand(test, count, spec),
    end: (attemptIds: readonly string[]) => end(test, attemptIds),
    until: (what: string, isTrue: () => boolean | Promise<boolean>, limitMs = 30_000) =>
      until(isTrue, limitMs, () => `did not happen in ${limitMs} ms: ${what}`),
    rows: <Row extends object>(sql: string, values: readonly unknown[] = []) =>
      test.database.query<Row & Record<string, unknown>>(sql, values),
    assigned: () =>
      test.database.query<{ attemptId: string; instanceId: string }>(
        `SELECT attempt_id AS "attemptId", instance_id AS "instanceId" FROM assignments`,
      ),
    launches: () =>
      test.database.query<LaunchState>(
        `SELECT id, status, failure, reason, tries, count, instance_type AS type, subnet_id AS "subnetId"
         FROM launches ORDER BY created_at, id`,
      ),
    alive: () =>
      cloud.ledger
        .instances()
        .filter(({ state }) => state === 'pending' || state === 'running')
        .map(({ id }) => id),
    close: async () => {
      await Promise.all(fleets.map((fleet) => fleet.stop()));
      ec2.close();
      await cloud.stop();
      await test.close();
    },
  });
}

let lastConnection: Promise<unknown> = Promise.resolve();

/**
 * A client of this cloud. As an operator would, the environment points the SDK at it, which is read when a client makes its
 * first call: there is one environment, so that worlds side by side take turns until that is made.
 */
export function connect(cloud: LocalCloud, options: Partial<Ec2Options> = {}): Promise<Ec2> {
  const connection = lastConnection.then(async () => {
    Object.assign(process.env, cloud.clientEnvironment);
    const ec2 = new Ec2({ region: cloud.region, ...options });
    // One call of each of its two clients. The second one is refused.
    await ec2.findDefaultSubnets();
    await ec2.createTags(['i-00000000000000000'], []).catch(() => undefined);
    return ec2;
  });
  lastConnection = connection.catch(() => undefined);
  return connection;
}

/** What POST /agent/v1/register does, for an instance that knows its launch secret from user-data. */
export async function register(test: TestDatabase, instance: BootedInstance): Promise<void> {
  const secret = /printf %s '([0-9a-f]{64})' >launch-secret/.exec(instance.userData)?.[1] ?? '';
  await test.database.query(
    `WITH launch AS (SELECT id, shape_key FROM launches WHERE secret_hash = $1), admitted AS (
       INSERT INTO instances (id, launch_id, shape_key, token_hash, registered_at, last_seen_at, private_ip)
       SELECT $2, id, shape_key, $3, clock_timestamp(), clock_timestamp(), $4 FROM launch
       ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, registered_at = excluded.registered_at,
         last_seen_at = excluded.last_seen_at
       WHERE instances.retire_reason IS NULL AND instances.terminated_at IS NULL
       RETURNING shape_key)
     UPDATE shapes SET next_pass_at = LEAST(next_pass_at, clock_timestamp())
     FROM admitted WHERE shapes.key = admitted.shape_key`,
    [createHash('sha256').update(secret).digest(), instance.id, randomBytes(32), instance.privateIp],
  );
  test.signals.shapesDue();
}

async function demand(test: TestDatabase, count: number, spec: ShapeSpec): Promise<string[]> {
  const key = shapeKeyOf(spec);
  const ids = await test.database.transaction(async (transaction) => {
    await transaction.query(`INSERT INTO shapes (key, spec) VALUES ($1, $2) ON CONFLICT DO NOTHING`, [
      key,
      JSON.stringify(spec),
    ]);
    const attempts = await transaction.query<{ id: string }>(
      `WITH job AS (
         INSERT INTO jobs (id, name, kind, definition)
         SELECT gen_random_uuid(), $3 || n, 'service', '{}' FROM generate_series(1, $2::int) n RETURNING id
       ), deployment AS (
         INSERT INTO deployments (id, job_id, number, image, definition, trigger)
         SELECT gen_random_uuid(), id, 1, 'nginx', '{}', 'api' FROM job RETURNING id, job_id
       )
       INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority)
       SELECT gen_random_uuid(), job_id, id, 1, $1, 2 FROM deployment RETURNING id`,
      [key, count, `job-${randomUUID().slice(0, 8)}-`],
    );
    await wake(transaction, [key]);
    return attempts.map(({ id }) => id);
  });
  test.signals.shapesDue();
  return ids;
}

async function end(test: TestDatabase, attemptIds: readonly string[]): Promise<void> {
  await test.database.transaction(async (transaction) => {
    const shapes = await transaction.query<{ key: string }>(
      `UPDATE attempts SET phase = 'ended', reason = 'stop-requested', ended_at = clock_timestamp()
       WHERE id = ANY($1) RETURNING shape_key AS key`,
      [attemptIds],
    );
    await wake(
      transaction,
      shapes.map(({ key }) => key),
    );
  });
  test.signals.shapesDue();
}

async function wake(
  transaction: { query(sql: string, values: readonly unknown[]): Promise<unknown> },
  keys: readonly string[],
): Promise<void> {
  await transaction.query(
    `UPDATE shapes SET next_pass_at = LEAST(next_pass_at, clock_timestamp()) WHERE key = ANY($1)`,
    [keys],
  );
}
