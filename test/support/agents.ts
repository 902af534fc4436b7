import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import type { Database } from '../../src/database/database.ts';
import type { OrderSpec } from '../../src/docker/order.ts';

// What an agent of a real instance would bring along, and the rows the scheduler and the fleet would have written.

export const REGION = 'us-west-2';
export const IMAGE_ID = 'ami-0123456789abcdef0';

/** As AWS writes it: order, spacing, nulls. */
export function documentOf(overrides: Partial<Record<string, string>> = {}): string {
  const fields = {
    accountId: '123456789012',
    architecture: 'x86_64',
    availabilityZone: `${REGION}a`,
    billingProducts: null,
    imageId: IMAGE_ID,
    instanceId: 'i-0123456789abcdef0',
    instanceType: 't3.small',
    kernelId: null,
    pendingTime: new Date().toISOString().replace(/\.\d+/, ''),
    privateIp: '10.0.0.7',
    region: REGION,
    version: '2017-09-30',
    ...overrides,
  };
  return JSON.stringify(fields, null, 2).replaceAll('": ', '" : ');
}

/** As /signature: base64 in lines. */
export function signatureOf(document: string, key: KeyObject): string {
  return (
    sign('RSA-SHA256', Buffer.from(document), key)
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\n');
}

export function makeSigner(): { privateKey: KeyObject; publicKey: KeyObject; pem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { privateKey, publicKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

export function makeHex(): string {
  return randomBytes(32).toString('hex');
}

export function makeInstanceId(): string {
  return `i-0${randomBytes(8).toString('hex')}`;
}

export type Launched = { readonly launchId: string; readonly secret: string; readonly shapeKey: string };

export type LaunchOptions = { count?: number; status?: 'planned' | 'unknown' | 'done' | 'failed'; imageId?: string };

/** A launch as the fleet writes it; returns its id, its secret and its shape. */
export async function insertLaunch(
  database: Database,
  { count = 1, status = 'planned', imageId = IMAGE_ID }: LaunchOptions = {},
): Promise<Launched> {
  const secret = makeHex();
  const shapeKey = makeHex();
  await database.query(`INSERT INTO shapes (key, spec) VALUES ($1, '{}')`, [shapeKey]);
  const [row] = await database.query<{ id: string }>(
    `INSERT INTO launches (id, shape_key, epoch, input, count, image_id, instance_type, market, secret_hash, status)
     VALUES (gen_random_uuid(), $1, 1, '', $2, $3, 't3.small', 'on-demand', sha256($4::bytea), $5) RETURNING id`,
    [shapeKey, count, imageId, Buffer.from(secret), status],
  );
  return { launchId: row!.id, secret, shapeKey };
}

/** A job with a living attempt on a registered instance of its own. */
export async function insertAgent(
  database: Database,
): Promise<{ instanceId: string; token: string; jobId: string; attemptId: string }> {
  const { launchId, shapeKey } = await insertLaunch(database, { status: 'done' });
  const instanceId = makeInstanceId();
  const token = makeHex();
  const [row] = await database.query<{ job_id: string; attempt_id: string }>(
    `WITH job AS (
       INSERT INTO jobs (id, name, kind, definition) VALUES (gen_random_uuid(), $1, 'service', '{}') RETURNING id
     ), deployment AS (
       INSERT INTO deployments (id, job_id, number, image, definition, trigger)
       SELECT gen_random_uuid(), id, 1, 'nginx', '{}', 'api' FROM job RETURNING id, job_id
     ), attempt AS (
       INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority)
       SELECT gen_random_uuid(), job_id, id, 1, $2, 2 FROM deployment RETURNING id, job_id
     ), instance AS (
       INSERT INTO instances (id, launch_id, shape_key, state, token_hash, registered_at)
       VALUES ($3, $4, $2, 'running', sha256($5::bytea), clock_timestamp()) RETURNING id
     ), assignment AS (
       INSERT INTO assignments (attempt_id, instance_id) SELECT attempt.id, instance.id FROM attempt, instance
     )
     SELECT job_id, id AS attempt_id FROM attempt`,
    [`job-${instanceId.slice(-12)}`, shapeKey, instanceId, launchId, Buffer.from(token)],
  );
  return { instanceId, token, jobId: row!.job_id, attemptId: row!.attempt_id };
}

export const START: OrderSpec = {
  kind: 'docker',
  mode: 'foreground',
  method: 'POST',
  path: '/containers/job/start',
  timeoutSeconds: 30,
};

/** An order as the job pass writes it. */
export async function insertOrder(
  database: Database,
  { instanceId, attemptId }: { instanceId: string; attemptId: string },
  number: number,
  spec: OrderSpec = START,
): Promise<void> {
  await database.query(
    `INSERT INTO orders (instance_id, number, attempt_id, purpose, kind, spec) VALUES ($1, $2, $3, 'start', $4, $5)`,
    [instanceId, number, attemptId, spec.kind, JSON.stringify(spec)],
  );
}
