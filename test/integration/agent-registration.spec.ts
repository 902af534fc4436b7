import { setTimeout as sleep } from 'node:timers/promises';
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { AgentLimits } from '../../src/agent/agent-limits.ts';
import { Agents } from '../../src/agent/agents.ts';
import type { RegistrationForm } from '../../src/agent/agent.schema.ts';
import { RegistrationService } from '../../src/agent/registration.service.ts';
import { launchSecretOf } from '../../src/agent/launch-secret.ts';
import { type Config, loadConfig } from '../../src/config/config.ts';
import type { Problem } from '../../src/http/problem.ts';
import {
  documentOf,
  IMAGE_ID,
  insertAgent,
  insertLaunch,
  makeHex,
  makeInstanceId,
  makeSigner,
  REGION,
  signatureOf,
} from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const signer = makeSigner();
const ignore = (): void => undefined;

describe('a registration', () => {
  let test: TestDatabase;
  let agents: Agents;
  let service: RegistrationService;
  let instanceId: string;
  let encryptionKeys: Config['encryptionKeys'];
  let warnings: unknown[][];

  beforeAll(async () => {
    Logger.overrideLogger({ log: ignore, error: ignore, warn: (...parts: unknown[]) => warnings.push(parts) });
    test = await createTestDatabase();
    agents = new Agents(test.database);
    const { aws, encryptionKeys: keys } = loadConfig({
      DATABASE_URL: test.url,
      ENCRYPTION_KEY: Buffer.alloc(32).toString('base64'),
      AWS_ACCOUNT_ID: '123456789012',
    });
    encryptionKeys = keys;
    service = new RegistrationService(
      test.database,
      test.signals,
      agents,
      new AgentLimits(),
      [signer.publicKey],
      keys,
      aws,
    );
  });
  afterAll(() => test.close());
  beforeEach(() => {
    warnings = [];
    instanceId = makeInstanceId();
  });

  it('makes an instance known that nobody told of, and wakes the fleet', async () => {
    const { launchId, secret, shapeKey } = await insertLaunch(test.database);
    const token = makeHex();
    const pendingTime = new Date(Date.now() - 30_000);
    pendingTime.setMilliseconds(0);
    const woken = new Promise((done) => test.signals.on('shapes', done));
    await service.register(form({ secret, token }, { pendingTime: pendingTime.toISOString() }));
    await woken;
    expect(await readInstance()).toMatchObject({
      launch_id: launchId,
      shape_key: shapeKey,
      state: 'pending',
      availability_zone: `${REGION}a`,
      instance_type: 't3.small',
      image_id: IMAGE_ID,
      private_ip: '10.0.0.7',
      // EC2 tells it: an agent could name any.
      public_ip: null,
      launched_at: pendingTime,
      agent_version: '1',
      token_hash: createHash('sha256').update(token).digest(),
      registered_at: expect.any(Date),
      last_seen_at: expect.any(Date),
    });
    const [shape] = await test.database.query(
      `SELECT next_pass_at <= clock_timestamp() AS is_due FROM shapes WHERE key = $1`,
      [shapeKey],
    );
    expect(shape).toEqual({ is_due: true });
  });

  it('adds to what the fleet knows, and changes none of it', async () => {
    const { launchId, secret, shapeKey } = await insertLaunch(test.database, { status: 'done' });
    await insertInstance(launchId, shapeKey);
    await service.register(form({ secret }));
    expect(await readInstance()).toMatchObject({
      state: 'running',
      launched_at: new Date('2026-01-01T00:00:00Z'),
      public_ip: '203.0.113.9',
      private_ip: '10.0.0.7',
      registered_at: expect.any(Date),
    });
  });

  it('is true again when it is repeated, and changes nothing', async () => {
    const { secret } = await insertLaunch(test.database);
    const again = form({ secret });
    await service.register(again);
    const before = await readInstance();
    await service.register(again);
    await test.database.query(`UPDATE launches SET created_at = created_at - interval '1 day'`);
    await service.register(again);
    expect(await readInstance()).toEqual(before);
  });

  it('is counted with all that its instance sends: who repeats it without end is refused before the database is asked', async () => {
    const { secret } = await insertLaunch(test.database);
    const again = form({ secret });
    await service.register(again);
    const codes = await Promise.all(Array.from({ length: 100 }, () => problemOf(again)));
    expect(codes.filter((code) => code === undefined)).toHaveLength(24);
    expect(codes.filter((code) => code === 'too-many-requests')).toHaveLength(76);
    await service.register(again);
  });

  it('with another token is refused, and the first keeps its instance', async () => {
    const { secret } = await insertLaunch(test.database);
    const first = form({ secret });
    await service.register(first);
    const before = await readInstance();
    expect(await problemOf(form({ secret }))).toBe('already-registered');
    expect(await readInstance()).toEqual(before);
    expect(await agents.identify(first.token)).toEqual({ kind: 'agent', instanceId });
    expect(warnings).toEqual([
      [
        'registration refused',
        expect.objectContaining({ reason: 'other-token', alarm: true, instanceId }),
        'Registration',
      ],
    ]);
  });

  it('that is forged again and again rolls no log away: one line a second, with the count of the others', async () => {
    const startedAt = performance.now();
    const forge = async () => await problemOf({ ...form({ secret: makeHex() }), signature: 'AAAA' });
    for (let n = 0; n < 300; n += 1) expect(await forge()).toBe('forbidden');
    const seconds = (performance.now() - startedAt) / 1000;
    expect(warnings.length).toBeLessThanOrEqual(Math.floor(seconds) + 1);
    await sleep(1_000);
    await forge();
    const told = warnings.map(([, details]) => (details as { othersBefore?: number }).othersBefore ?? 0);
    expect(told.reduce((sum, others) => sum + others, 0) + warnings.length).toBe(301);
  });

  it('with a token of another instance is refused', async () => {
    const { secret } = await insertLaunch(test.database, { count: 2 });
    const token = makeHex();
    await service.register(form({ secret, token }));
    instanceId = makeInstanceId();
    expect(await problemOf(form({ secret, token }))).toBe('already-registered');
    expect(await readInstance()).toBeUndefined();
  });

  it('of two tokens at once admits one', async () => {
    const { secret } = await insertLaunch(test.database);
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => problemOf(form({ secret }))));
    expect(outcomes.sort()).toEqual(['already-registered', 'already-registered', 'already-registered', undefined]);
  });

  it('admits no more instances than were launched, also at once', async () => {
    const { launchId, secret } = await insertLaunch(test.database, { count: 3 });
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, () => problemOf(form({ secret }, { instanceId: makeInstanceId() }))),
    );
    expect(outcomes.filter((outcome) => outcome === undefined)).toHaveLength(3);
    expect(outcomes.filter((outcome) => outcome === 'forbidden')).toHaveLength(5);
    expect(await test.database.query(`SELECT id FROM instances WHERE launch_id = $1`, [launchId])).toHaveLength(3);
  });

  it('opens the door for a token that was unknown a moment ago', async () => {
    const { secret } = await insertLaunch(test.database);
    const token = makeHex();
    expect(await agents.identify(token)).toEqual({ kind: 'unknown' });
    await service.register(form({ secret, token }));
    expect(await agents.identify(token)).toEqual({ kind: 'agent', instanceId });
  });

  it.each([
    ['a forged document', () => ({ signature: signatureOf(documentOf({ instanceId }), makeSigner().privateKey) }), {}],
    ['a document changed after signing', () => ({ document: documentOf({ instanceId: makeInstanceId() }) }), {}],
    ['an unknown secret', () => ({ secret: makeHex() }), {}],
    ['another account', () => ({}), { accountId: '210987654321' }],
    ['another region', () => ({}), { region: 'eu-west-1' }],
    ['another image', () => ({}), { imageId: 'ami-0fedcba9876543210' }],
    ['an expired secret', () => ({}), { pendingTime: new Date(Date.now() - 16 * 60_000).toISOString() }],
  ])('with %s is refused without saying why', async (_what, change, fields) => {
    const { secret } = await insertLaunch(test.database);
    await test.database.query(`UPDATE launches SET created_at = clock_timestamp() - interval '20 minutes'`);
    const refused = service.register({ ...form({ secret }, fields), ...change() });
    await expect(refused).rejects.toMatchObject({
      code: 'forbidden',
      detail: 'This registration is refused.',
      errors: [],
    });
    expect(await readInstance()).toBeUndefined();
  });

  it('of an instance in quarantine waits for an operator, then makes it known and wakes the fleet', async () => {
    const launchId = randomUUID();
    const again = form({ secret: launchSecretOf(encryptionKeys[0], launchId), after: 7 });
    await insertQuarantined(launchId);
    expect(await problemOf(again)).toBe('forbidden');
    const { jobId } = await insertAgent(test.database);
    await test.database.query(`UPDATE deployments SET adopts = $2, status = 'deploying' WHERE job_id = $1`, [
      jobId,
      instanceId,
    ]);
    const woken = new Promise((done) => test.signals.on('shapes', done));
    await service.register(again);
    await woken;
    expect(await readInstance()).toMatchObject({ launch_id: null, orders_after: 7, registered_at: expect.any(Date) });
    const [shape] = await test.database.query(
      `SELECT next_pass_at IS NOT NULL AS is_due FROM shapes JOIN attempts ON shape_key = key WHERE job_id = $1`,
      [jobId],
    );
    expect(shape).toEqual({ is_due: true });
    const before = await readInstance();
    await test.database.query(`UPDATE deployments SET status = 'active' WHERE job_id = $1`, [jobId]);
    await service.register(again);
    expect(await readInstance()).toEqual(before);
  });

  it('of another launch’s instance is refused, whatever the secret', async () => {
    const own = await insertLaunch(test.database, { status: 'done' });
    const other = await insertLaunch(test.database);
    await insertInstance(own.launchId, own.shapeKey);
    expect(await problemOf(form({ secret: other.secret }))).toBe('forbidden');
    expect(await readInstance()).toMatchObject({ launch_id: own.launchId, token_hash: null });
  });

  it('of an instance a settled launch does not know is refused', async () => {
    const { secret } = await insertLaunch(test.database, { status: 'done' });
    expect(await problemOf(form({ secret }))).toBe('forbidden');
  });

  it.each([`retire_reason = 'never-registered', retired_at = clock_timestamp()`, `terminated_at = clock_timestamp()`])(
    'of an instance that is to end is refused (%s)',
    async (change) => {
      const { launchId, secret, shapeKey } = await insertLaunch(test.database, { status: 'done' });
      await insertInstance(launchId, shapeKey);
      await test.database.query(`UPDATE instances SET ${change} WHERE id = $1`, [instanceId]);
      expect(await problemOf(form({ secret }))).toBe('instance-retired');
    },
  );

  function form(fields: Partial<RegistrationForm>, documentFields: Record<string, string> = {}): RegistrationForm {
    const document = documentOf({ instanceId, ...documentFields });
    return {
      document,
      signature: signatureOf(document, signer.privateKey),
      secret: makeHex(),
      token: makeHex(),
      agent: '1',
      after: 0,
      ...fields,
    };
  }

  async function problemOf(registration: RegistrationForm): Promise<string | undefined> {
    return await service.register(registration).then(
      () => undefined,
      (error: unknown) => (error as Problem).code,
    );
  }

  async function readInstance(): Promise<Record<string, unknown> | undefined> {
    const [row] = await test.database.query(`SELECT * FROM instances WHERE id = $1`, [instanceId]);
    return row;
  }

  /** As the sweep finds it: it has our tag, and its launch has no row. */
  async function insertQuarantined(launchTag: string): Promise<void> {
    await test.database.query(
      `INSERT INTO instances (id, launch_tag, quarantined, state) VALUES ($1, $2, true, 'running')`,
      [instanceId, launchTag],
    );
  }

  async function insertInstance(launchId: string, shapeKey: string): Promise<void> {
    await test.database.query(
      `INSERT INTO instances (id, launch_id, shape_key, state, launched_at, public_ip, private_ip)
       VALUES ($1, $2, $3, 'running', '2026-01-01T00:00:00Z', '203.0.113.9', '10.0.0.7')`,
      [instanceId, launchId, shapeKey],
    );
  }
});
