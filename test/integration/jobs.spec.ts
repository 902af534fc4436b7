import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ANONYMOUS } from '../../src/http/caller.ts';
import { DeploymentIntents } from '../../src/deployments/deployment-intents.ts';
import type { CreateDeployment } from '../../src/deployments/deployment.schema.ts';
import { DeploymentsService } from '../../src/deployments/deployments.service.ts';
import { Problem } from '../../src/http/problem.ts';
import { SecretStore } from '../../src/secrets/secret-store.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { NO_HOSTS } from '../../src/jobs/route-rules.ts';
import { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import { CreateJob } from '../../src/jobs/job.schema.ts';
import { JobsService } from '../../src/jobs/jobs.service.ts';
import { ContainerPrivileges1800000000013 } from '../../src/schema/migrations/0013-container-privileges.ts';
import { claimJobs } from '../../src/scheduler/load-jobs.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const PREMISES = { cluster: 'test', domain: null, hostRules: NO_HOSTS, lateCallerSeconds: 33 };

const HTTP = { publicUrl: 'http://127.0.0.1:3000' };
const LISTS = {
  defaultAmi: 'ecs-al2023',
  allowedAmis: ['ami-0123456789abcdef0', 'ami-0fedcba9876543210'],
  allowedSubnets: [],
  allowedSecurityGroups: [],
  allowedProfiles: [],
};

const noAbort = () => new AbortController().signal;

describe('jobs and deployments in the database', () => {
  let test: TestDatabase;
  let jobs: JobsService;
  let deployments: DeploymentsService;
  let intents: DeploymentIntents;
  let waiter: ChangeWaiter;
  let names = 0;

  beforeAll(async () => {
    test = await createTestDatabase();
    waiter = new ChangeWaiter(test.signals, new Shutdown());
    const secrets = new SecretStore([createSecretKey(Buffer.alloc(32, 1))]);
    jobs = new JobsService(test.database, test.signals, waiter, secrets, LISTS, HTTP, undefined);
    deployments = new DeploymentsService(test.database, waiter);
    intents = new DeploymentIntents(test.database, test.signals, secrets, {}, LISTS, HTTP, undefined);
  });
  afterAll(() => test.close());

  /** A job with its first deployment, and what the job pass would write about it. */
  async function newJob(fields: object = {}): Promise<string> {
    const name = `job-${(names += 1)}`;
    await intents.createJob(CreateJob.parse({ name, image: 'app:1', ...fields }), ANONYMOUS);
    return name;
  }

  const get = (name: string, number: number) => deployments.get(name, number);
  const deploy = (name: string, body: CreateDeployment) => intents.deploy(name, body, null, ANONYMOUS);

  /** Stands in for the job pass. */
  async function pass(name: string, number: number, status: string, columns: Record<string, unknown> = {}) {
    const entries = Object.entries({
      status,
      ...(['active', 'superseded', 'stopped'].includes(status) && { active_at: new Date() }),
      ...columns,
    });
    const sets = entries.map(([column], index) => `${column} = $${index + 3}`).join(', ');
    await test.database.query(
      `UPDATE deployments SET ${sets} WHERE number = $2 AND job_id = (SELECT id FROM jobs WHERE name = $1 AND deleted_at IS NULL)`,
      [name, number, ...entries.map(([, value]) => value)],
    );
    await test.database.query(
      `UPDATE jobs SET next_pass_at = NULL, active_deployment_id =
         (SELECT id FROM deployments d WHERE d.job_id = jobs.id AND d.status = 'active' ORDER BY number DESC LIMIT 1)
       WHERE name = $1 AND deleted_at IS NULL`,
      [name],
    );
  }

  async function isDue(name: string): Promise<boolean> {
    const [job] = await test.database.query<{ due: boolean }>(
      `SELECT next_pass_at <= clock_timestamp() IS TRUE AS due FROM jobs WHERE name = $1`,
      [name],
    );
    return job!.due;
  }

  async function problemOf(work: Promise<unknown>): Promise<string> {
    return await work.then(
      () => 'no problem',
      (error: unknown) => (error instanceof Problem ? error.code : Promise.reject(error as Error)),
    );
  }

  describe('a new job', () => {
    it('comes with deployment 1 when there is an image, and wakes the pass', async () => {
      const name = await newJob({ rollout: { deadlineSeconds: 60 } });
      expect((await jobs.get(name)).job).toMatchObject({ status: 'deploying', latestDeployment: 1, endpoints: [] });
      const first = await get(name, 1);
      expect(first).toMatchObject({ status: 'queued', image: 'app:1', trigger: 'api', attempt: null, phases: {} });
      expect(Date.parse(first.deadlineAt!) - Date.parse(first.createdAt)).toBeCloseTo(60_000, -2);
      expect(await isDue(name)).toBe(true);
    });

    it('is idle without an image, and wakes nobody', async () => {
      const name = await newJob({ image: undefined });
      expect((await jobs.get(name)).job).toMatchObject({ status: 'idle', latestDeployment: null });
      expect(await isDue(name)).toBe(false);
      expect(await problemOf(get(name, 1))).toBe('deployment-not-found');
      expect(await deployments.list(name, { limit: 50 })).toEqual({ items: [], nextCursor: null });
    });

    it('gets its name once, however many ask at the same time', async () => {
      const tries = await Promise.allSettled(
        [1, 2, 3, 4, 5].map((n) => intents.createJob(CreateJob.parse({ name: 'race', image: `app:${n}` }), ANONYMOUS)),
      );
      const refused = tries
        .filter((result) => result.status === 'rejected')
        .map(({ reason }) => (reason as Problem).code);
      expect(refused).toEqual(Array(4).fill('job-name-taken'));
      const rows = await test.database.query(
        `SELECT 1 FROM deployments d JOIN jobs j ON j.id = d.job_id WHERE j.name = 'race'`,
      );
      expect(rows).toHaveLength(1);
    });

    it('may take the name of a job that is gone, but not of one still being deleted', async () => {
      const name = await newJob();
      await jobs.delete(name, null);
      await expect(intents.createJob(CreateJob.parse({ name }), ANONYMOUS)).rejects.toMatchObject({
        code: 'job-name-taken',
        detail: expect.stringContaining('still being deleted'),
      });
      await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE name = $1`, [name]);
      expect(await problemOf(jobs.get(name))).toBe('job-not-found');
      expect(await problemOf(get(name, 1))).toBe('job-not-found');
      expect((await intents.createJob(CreateJob.parse({ name }), ANONYMOUS)).job.latestDeployment).toBeNull();
    });
  });

  describe('a deployment', () => {
    it('gets a number of its own, however many are posted at the same time', async () => {
      const name = await newJob();
      const made = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          deploy(name, n % 2 === 0 ? { image: `app:x${n}` } : { env: { N: String(n) } }),
        ),
      );
      expect(made.map(({ number }) => number).sort()).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
      expect((await jobs.get(name)).job.latestDeployment).toBe(9);
    });

    it('without an image takes that of the deployment just before it, also in a race', async () => {
      const name = await newJob();
      await Promise.all(Array.from({ length: 6 }, (_, n) => deploy(name, n % 2 === 0 ? { image: `app:y${n}` } : {})));
      const { items } = await deployments.list(name, { limit: 50 });
      const images = items.map(({ image }) => image).reverse();
      // A copy stands right behind its original: every image fills one run without a gap.
      const runs = images.filter((image, index) => image !== images[index - 1]);
      expect(new Set(runs).size).toBe(runs.length);
    });

    it('carries overrides in its own snapshot only', async () => {
      const name = await newJob({ env: { A: 'a', B: 'b' }, memoryMiB: 256 });
      const second = await deploy(name, { image: 'app:2', env: { B: null, C: 'c' }, memoryMiB: null });
      expect(second.definition.env).toEqual({ A: 'a', C: 'c' });
      expect(second.definition.memoryMiB).toBeUndefined();
      expect((await jobs.get(name)).job).toMatchObject({ env: { A: 'a', B: 'b' }, memoryMiB: 256 });
      expect((await deploy(name, { image: 'app:3' })).definition.env).toEqual({ A: 'a', B: 'b' });
    });

    it('is refused when the overrides do not fit the job', async () => {
      const name = await newJob({ ports: [{ container: 80, host: 80 }], health: { port: 80 } });
      await expect(deploy(name, { image: 'app:2', ports: [{ container: 80, host: 81 }] })).rejects.toMatchObject({
        code: 'invalid-request',
        errors: [{ pointer: '#/health/port' }],
      });
      expect((await jobs.get(name)).job.latestDeployment).toBe(1);
    });

    it('needs an image when there is none to take', async () => {
      const name = await newJob({ image: undefined });
      await expect(deploy(name, {})).rejects.toMatchObject({
        code: 'invalid-request',
        errors: [{ pointer: '#/image' }],
      });
    });

    it('starts a stopped job and counts as a change of what is wanted', async () => {
      const name = await newJob();
      const { version } = await jobs.stop(name, null);
      await test.database.query(`UPDATE jobs SET next_pass_at = NULL WHERE name = $1`, [name]);
      await deploy(name, { image: 'app:2' });
      const after = await jobs.get(name);
      expect(after).toMatchObject({ version: version + 1, job: { desiredState: 'running', status: 'deploying' } });
      expect(await isDue(name)).toBe(true);
    });

    it('is listed newest first, page by page', async () => {
      const name = await newJob();
      for (const n of [2, 3, 4, 5]) await deploy(name, { image: `app:${n}` });
      const first = await deployments.list(name, { limit: 2 });
      const second = await deployments.list(name, { limit: 2, cursor: first.nextCursor! });
      const third = await deployments.list(name, { limit: 2, cursor: second.nextCursor! });
      const numbers = [first, second, third].map(({ items }) => items.map(({ number }) => number));
      expect(numbers).toEqual([[5, 4], [3, 2], [1]]);
      expect(third.nextCursor).toBeNull();
    });
  });

  describe('a patch', () => {
    it('is stored for the next deployment, and wakes nobody', async () => {
      const name = await newJob({ env: { A: 'a' } });
      await pass(name, 1, 'active');
      const patched = await jobs.patch(name, { env: { B: 'b' }, health: null }, null, ANONYMOUS);
      expect(patched).toMatchObject({ version: 2, job: { env: { A: 'a', B: 'b' } } });
      expect((await get(name, 1)).definition.env).toEqual({ A: 'a' });
      expect(await isDue(name)).toBe(false);
    });

    it('of the same version succeeds once', async () => {
      const name = await newJob();
      const tries = await Promise.all(
        ['1', '2', '3'].map((n) => problemOf(jobs.patch(name, { env: { N: n } }, [1], ANONYMOUS))),
      );
      expect(tries.sort()).toEqual(['no problem', 'precondition-failed', 'precondition-failed']);
    });

    it('loses nothing beside others', async () => {
      const name = await newJob();
      await Promise.all(['A', 'B', 'C', 'D'].map((n) => jobs.patch(name, { env: { [n]: n } }, null, ANONYMOUS)));
      const { job, version } = await jobs.get(name);
      expect(job.env).toEqual({ A: 'A', B: 'B', C: 'C', D: 'D' });
      expect(version).toBe(5);
    });
  });

  describe('where a job runs', () => {
    it('is the newest healthy attempt of the active deployment, and nothing else', async () => {
      const name = await newJob({
        ports: [
          { container: 8080, host: 80 },
          { container: 9090, host: 9000 },
          { container: 6379, host: 6379 },
          { container: 5432, host: 5000 },
        ],
        health: { path: '/', port: 5000 },
      });
      await pass(name, 1, 'active');
      await addAttempt(name, 1, 'healthy', { id: 'i-1', public: null });
      expect((await jobs.get(name)).job).toMatchObject({
        activeDeployment: 1,
        instance: {
          id: 'i-1',
          privateIp: '10.0.0.1',
          publicIp: null,
          availabilityZone: 'us-west-2a',
          type: 't3.small',
        },
        // Redis by the look of its port; what a health check asks is HTTP whatever its port.
        endpoints: ['http://10.0.0.1:80', 'http://10.0.0.1:9000', 'tcp://10.0.0.1:6379', 'http://10.0.0.1:5000'],
      });

      await addAttempt(name, 2, 'starting', { id: 'i-2', public: '203.0.113.2' });
      expect((await jobs.get(name)).job.instance!.id).toBe('i-1');
      await test.database.query(`UPDATE attempts SET phase = 'healthy' WHERE number = 2`);
      expect((await jobs.get(name)).job.endpoints[0]).toBe('http://203.0.113.2:80');
      await test.database.query(`UPDATE attempts SET phase = 'stopping'`);
      expect((await jobs.get(name)).job).toMatchObject({ activeDeployment: 1, instance: null, endpoints: [] });

      const deployment = await get(name, 1);
      expect(deployment).toMatchObject({ attempt: 2, phase: 'stopping', instance: { id: 'i-2' } });
      expect(Object.keys(deployment.phases)).toEqual(['waiting']);
    });

    async function addAttempt(
      name: string,
      number: number,
      phase: string,
      instance: { id: string; public: string | null },
    ) {
      await test.database.query(
        `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority, phase)
         SELECT gen_random_uuid(), j.id, d.id, $2, 'k', 2, $3
         FROM jobs j JOIN deployments d ON d.job_id = j.id WHERE j.name = $1`,
        [name, number, phase],
      );
      await test.database.query(
        `INSERT INTO instances (id, private_ip, public_ip, availability_zone, instance_type) VALUES ($1, '10.0.0.1', $2, 'us-west-2a', 't3.small')`,
        [instance.id, instance.public],
      );
      await test.database.query(
        `INSERT INTO assignments (attempt_id, instance_id)
         SELECT a.id, $3 FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.name = $1 AND a.number = $2`,
        [name, number, instance.id],
      );
    }
  });

  describe('stop, start and restart', () => {
    it('start copies what ran last, whatever failed later', async () => {
      const name = await newJob();
      await pass(name, 1, 'stopped', { image_digest: 'app@sha256:1', image_id: 'ami-1' });
      await deploy(name, { image: 'app:2' });
      await pass(name, 2, 'failed', { active_at: new Date() });
      await jobs.stop(name, null);
      const started = await intents.start(name, null, ANONYMOUS);
      expect(started).toMatchObject({
        number: 3,
        trigger: 'start',
        copiedFrom: 1,
        image: 'app:1',
        imageDigest: 'app@sha256:1',
      });
      expect(await isDue(name)).toBe(true);
      const rows = await test.database.query(`SELECT image_id FROM deployments WHERE id = $1`, [started.id]);
      expect(rows).toEqual([{ image_id: 'ami-1' }]);
    });

    it('start of a job none of whose deployments was ever active takes the latest', async () => {
      const name = await newJob();
      await pass(name, 1, 'failed');
      await deploy(name, { image: 'app:2' });
      await pass(name, 2, 'failed');
      expect(await intents.start(name, null, ANONYMOUS)).toMatchObject({ number: 3, copiedFrom: 2, image: 'app:2' });
    });

    it('start changes nothing while one runs, and makes one deployment however often it is called', async () => {
      const name = await newJob();
      await pass(name, 1, 'active');
      await deploy(name, { image: 'app:2' });
      expect(await intents.start(name, null, ANONYMOUS)).toMatchObject({ number: 1, status: 'active' });
      await pass(name, 1, 'stopped');
      await pass(name, 2, 'cancelled');
      await jobs.stop(name, null);
      const started = await Promise.all([1, 2, 3].map(() => intents.start(name, null, ANONYMOUS)));
      expect(started.map(({ number }) => number)).toEqual([3, 3, 3]);
    });

    it('restart copies the active deployment', async () => {
      const name = await newJob({ env: { A: 'a' } });
      await pass(name, 1, 'active', { image_digest: 'app@sha256:1' });
      await jobs.patch(name, { env: { A: 'changed' } }, null, ANONYMOUS);
      await deploy(name, { image: 'app:2' });
      expect(await intents.restart(name, null, ANONYMOUS)).toMatchObject({
        number: 3,
        trigger: 'restart',
        copiedFrom: 1,
        imageDigest: 'app@sha256:1',
        definition: { env: { A: 'a' } },
      });
    });

    it('there must be something to start', async () => {
      const name = await newJob({ image: undefined });
      expect(await problemOf(intents.start(name, null, ANONYMOUS))).toBe('nothing-to-start');
      expect(await problemOf(intents.restart(name, null, ANONYMOUS))).toBe('nothing-to-start');
      expect(await problemOf(intents.rollback(name, {}, null, ANONYMOUS))).toBe('cannot-roll-back');
    });

    it('stop is repeatable', async () => {
      const name = await newJob();
      const first = await jobs.stop(name, null);
      expect(first).toMatchObject({ version: 2, job: { desiredState: 'stopped' } });
      expect(await jobs.stop(name, null)).toEqual(first);
    });
  });

  describe('a rollback', () => {
    it('copies the newest deployment before the active one that was active', async () => {
      const name = await newJob();
      await pass(name, 1, 'superseded', { image_digest: 'app@sha256:1', image_id: 'ami-1' });
      await deploy(name, { image: 'app:2' });
      await pass(name, 2, 'failed');
      await deploy(name, { image: 'app:3' });
      await pass(name, 3, 'active');
      const back = await intents.rollback(name, {}, null, ANONYMOUS);
      expect(back).toMatchObject({
        number: 4,
        trigger: 'rollback',
        copiedFrom: 1,
        image: 'app:1',
        imageDigest: 'app@sha256:1',
      });
      const rows = await test.database.query(`SELECT image_id FROM deployments WHERE id = $1`, [back.id]);
      expect(rows).toEqual([{ image_id: 'ami-1' }]);
    });

    it.each([
      ['failed', 'never did'],
      ['cancelled', 'never did'],
      ['queued', 'is not active yet and can be cancelled'],
      ['deploying', 'is not active yet and can be cancelled'],
    ])('leaves what serves in its place when the newest is %s, unless it is told where to', async (status, word) => {
      const name = await newJob();
      await pass(name, 1, 'superseded');
      await deploy(name, { image: 'app:2' });
      await pass(name, 2, 'active');
      await deploy(name, { image: 'app:3' });
      await pass(name, 3, status);
      await expect(intents.rollback(name, {}, null, ANONYMOUS)).rejects.toMatchObject({
        code: 'nothing-to-roll-back',
        detail: `Deployment 2 is serving; 3 ${word}. Name the deployment to go back to by “to”.`,
      });
      expect(await intents.rollback(name, { to: 1 }, null, ANONYMOUS)).toMatchObject({ number: 4, copiedFrom: 1 });
      // Who asks again because a rollback failed means the same one.
      await pass(name, 4, 'failed');
      expect(await problemOf(intents.rollback(name, {}, null, ANONYMOUS))).toBe('nothing-to-roll-back');
      await deploy(name, { image: 'app:5' });
      await pass(name, 2, 'superseded');
      await pass(name, 5, 'active');
      await intents.rollback(name, {}, null, ANONYMOUS);
      await pass(name, 6, 'failed');
      expect(await intents.rollback(name, {}, null, ANONYMOUS)).toMatchObject({ number: 7, copiedFrom: 2 });
    });

    it('leaves alone what serves again after its successor was active and failed', async () => {
      const name = await newJob();
      await pass(name, 1, 'superseded');
      await deploy(name, { image: 'app:2' });
      await deploy(name, { image: 'app:3' });
      await pass(name, 3, 'active');
      await pass(name, 2, 'active');
      await pass(name, 3, 'failed');
      await expect(intents.rollback(name, {}, null, ANONYMOUS)).rejects.toMatchObject({
        code: 'nothing-to-roll-back',
        detail: expect.stringContaining('2 is serving; 3 does not any more'),
      });
    });

    it('goes to a deployment by number, when that was active and is not now', async () => {
      const name = await newJob();
      await pass(name, 1, 'superseded');
      await deploy(name, { image: 'app:2' });
      await pass(name, 2, 'failed');
      await deploy(name, { image: 'app:3' });
      await pass(name, 3, 'active');
      expect(await problemOf(intents.rollback(name, { to: 2 }, null, ANONYMOUS))).toBe('cannot-roll-back');
      expect(await problemOf(intents.rollback(name, { to: 3 }, null, ANONYMOUS))).toBe('cannot-roll-back');
      expect(await problemOf(intents.rollback(name, { to: 9 }, null, ANONYMOUS))).toBe('cannot-roll-back');
      expect(await intents.rollback(name, { to: 1 }, null, ANONYMOUS)).toMatchObject({ number: 4, copiedFrom: 1 });
    });

    it('needs an older one', async () => {
      const name = await newJob();
      await pass(name, 1, 'active');
      await expect(intents.rollback(name, {}, null, ANONYMOUS)).rejects.toMatchObject({
        code: 'cannot-roll-back',
        detail: 'No deployment before 1 was ever active.',
      });
    });
  });

  describe('a cancel', () => {
    it.each(['queued', 'deploying'])('of a %s deployment is asked for, once, and wakes the pass', async (status) => {
      const name = await newJob();
      await pass(name, 1, status);
      const cancelled = await intents.cancel(name, 1);
      expect(cancelled.cancelRequestedAt).not.toBeNull();
      expect(await isDue(name)).toBe(true);
      expect(await intents.cancel(name, 1)).toMatchObject({ cancelRequestedAt: cancelled.cancelRequestedAt });
    });

    it.each([
      ['active', 'deployment-active'],
      ['draining', 'deployment-draining'],
    ])('of a deployment that is %s is refused', async (status, code) => {
      const name = await newJob();
      await pass(name, 1, status);
      expect(await problemOf(intents.cancel(name, 1))).toBe(code);
    });

    it.each(['failed', 'cancelled', 'superseded', 'stopped'])('of one that has %s changes nothing', async (status) => {
      const name = await newJob();
      await pass(name, 1, status);
      expect(await intents.cancel(name, 1)).toMatchObject({ status, cancelRequestedAt: null });
      expect(await isDue(name)).toBe(false);
    });

    it('that meets a pass which is just making it active waits, and is refused', async () => {
      const name = await newJob();
      let cancel: Promise<string> | undefined;
      await test.database.transaction(async (transaction) => {
        await transaction.query(`SELECT 1 FROM jobs WHERE name = $1 FOR NO KEY UPDATE`, [name]);
        cancel = problemOf(intents.cancel(name, 1));
        await blockedOnLock(test.database);
        await transaction.query(
          `UPDATE deployments SET status = 'active', active_at = clock_timestamp() WHERE job_id = (SELECT id FROM jobs WHERE name = $1)`,
          [name],
        );
      });
      expect(await cancel).toBe('deployment-active');
    });
  });

  describe('a job being deleted', () => {
    it('answers every delete, and refuses everything else that would change it', async () => {
      const name = await newJob();
      const deleted = await jobs.delete(name, null);
      expect(deleted).toMatchObject({ version: 2, job: { status: 'deleting', desiredState: 'deleted' } });
      expect(await jobs.delete(name, null)).toEqual(deleted);
      expect(await isDue(name)).toBe(true);
      const others = [
        jobs.patch(name, {}, null, ANONYMOUS),
        jobs.stop(name, null),
        deploy(name, { image: 'app:2' }),
        deploy(name, {}),
        intents.start(name, null, ANONYMOUS),
        intents.restart(name, null, ANONYMOUS),
        intents.rollback(name, {}, null, ANONYMOUS),
        intents.cancel(name, 1),
      ];
      expect(await Promise.all(others.map(problemOf))).toEqual(others.map(() => 'job-deleting'));
    });

    it('is not there for anyone when it never was', async () => {
      const others = [
        jobs.get('no'),
        jobs.patch('no', {}, null, ANONYMOUS),
        jobs.stop('no', null),
        jobs.delete('no', [1]),
        deploy('no', { image: 'app:2' }),
        intents.start('no', null, ANONYMOUS),
        intents.cancel('no', 1),
        deployments.list('no', { limit: 1 }),
      ];
      expect(await Promise.all(others.map(problemOf))).toEqual(others.map(() => 'job-not-found'));
    });

    it('is changed at the version that was named, or not at all', async () => {
      const name = await newJob();
      const others = [
        () => jobs.stop(name, [7]),
        () => jobs.delete(name, []),
        () => deploy(name, { image: 'app:2' }).then(() => intents.deploy(name, { image: 'app:3' }, [7], ANONYMOUS)),
        () => intents.start(name, [7], ANONYMOUS),
      ];
      for (const work of others) expect(await problemOf(work())).toBe('precondition-failed');
      expect((await jobs.stop(name, [1])).version).toBe(2);
    });
  });

  describe('a wait', () => {
    it('ends when the pass says the job changed, with the state of then', async () => {
      const name = await newJob();
      const { id } = (await jobs.get(name)).job;
      const wait = deployments.watch(name, 1, { wait: 30, until: 'active' }, noAbort());
      const jobWait = jobs.watch(name, { wait: 30, until: 'settled' }, noAbort());
      await until(() => waiter.size === 2);
      await pass(name, 1, 'active');
      await test.database.query(`UPDATE jobs SET status = 'running' WHERE id = $1`, [id]);
      test.signals.jobsChanged([id]);
      expect(await wait).toMatchObject({ status: 'active' });
      expect((await jobWait).job).toMatchObject({ status: 'running', activeDeployment: 1 });
    });

    it('for active hears that it failed', async () => {
      const name = await newJob();
      await pass(name, 1, 'failed', { reason: 'image-not-found' });
      expect(await deployments.watch(name, 1, { wait: 30, until: 'active' }, noAbort())).toMatchObject({
        status: 'failed',
        reason: 'image-not-found',
      });
    });

    it('for gone ends with 404', async () => {
      const name = await newJob();
      const { id } = (await jobs.get(name)).job;
      const wait = problemOf(jobs.watch(name, { wait: 30, until: 'gone' }, noAbort()));
      await until(() => waiter.size === 1);
      await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE id = $1`, [id]);
      test.signals.jobsChanged([id]);
      expect(await wait).toBe('job-not-found');
    });

    /** Until the event loop has brought it about. */
    async function until(isTrue: () => boolean): Promise<void> {
      while (!isTrue()) await new Promise((done) => setImmediate(done));
    }
  });

  describe('of the version before', () => {
    const AMI = 'ami-0123456789abcdef0';

    it('keep their AMI under its former name: read, changed, deployed and copied under the present one', async () => {
      const name = await newJob({ instance: { ami: 'ami-0fedcba9876543210' } });
      for (const table of ['jobs', 'deployments']) {
        await test.database.query(
          `UPDATE ${table} SET definition = jsonb_set(definition #- '{instance,ami}', '{instance,imageId}', $2)
           WHERE ${table === 'jobs' ? 'id' : 'job_id'} = (SELECT id FROM jobs WHERE name = $1)`,
          [name, JSON.stringify(AMI)],
        );
      }
      await pass(name, 1, 'active');
      expect((await jobs.get(name)).job.requestedInstance).toMatchObject({ ami: AMI });
      expect((await get(name, 1)).definition.instance).toEqual((await jobs.get(name)).job.requestedInstance);

      const { job } = await jobs.patch(name, { instance: { diskGiB: 40 } }, null, ANONYMOUS);
      expect(job.requestedInstance).toMatchObject({ ami: AMI, diskGiB: 40 });
      expect(job.requestedInstance).not.toHaveProperty('imageId');
      const overridden = await deploy(name, { memoryMiB: 64 });
      expect(overridden.definition.instance).toMatchObject({ ami: AMI, diskGiB: 40 });
      const restarted = await intents.restart(name, null, ANONYMOUS);
      expect(restarted.definition.instance).toMatchObject({ ami: AMI, diskGiB: 30 });
    });

    it('keep the init and no-new-privileges they had without a word, written down or not', async () => {
      const name = await newJob();
      const forget = async () => {
        await test.database.query(`UPDATE jobs SET definition = definition - ARRAY['init', 'noNewPrivileges']`);
        await test.database.query(`UPDATE deployments SET definition = definition - ARRAY['init', 'noNewPrivileges']`);
      };
      await forget();
      await pass(name, 1, 'active');
      const kept = { init: true, noNewPrivileges: true };
      expect((await jobs.get(name)).job).toMatchObject(kept);
      // As a pass plans its containers.
      await test.database.query(`UPDATE jobs SET next_pass_at = CASE WHEN name = $1 THEN clock_timestamp() END`, [
        name,
      ]);
      const claimed = await test.database.transaction((transaction) => claimJobs(transaction, PREMISES, 10));
      expect(claimed.jobs.map(({ deployments: [deployment] }) => deployment?.definition)).toMatchObject([kept]);
      expect((await intents.restart(name, null, ANONYMOUS)).definition).toMatchObject(kept);
      expect((await jobs.patch(name, { memoryMiB: 64 }, null, ANONYMOUS)).job).toMatchObject(kept);
      expect((await deploy(name, { cpus: 1 })).definition).toMatchObject(kept);

      await forget();
      await test.dataSource.transaction(async ({ queryRunner }) => {
        await new ContainerPrivileges1800000000013().up(queryRunner!);
      });
      const written = await test.database.query(
        `SELECT definition -> 'init' AS init, definition -> 'noNewPrivileges' AS "noNewPrivileges" FROM jobs WHERE name = $1
         UNION ALL SELECT definition -> 'init', definition -> 'noNewPrivileges' FROM deployments`,
        [name],
      );
      expect(new Set(written.map((row) => JSON.stringify(row)))).toEqual(new Set([JSON.stringify(kept)]));

      // Who changes them is heard; who makes a job now gets what docker run gives.
      const changed = await jobs.patch(name, { init: false, noNewPrivileges: null }, null, ANONYMOUS);
      expect(changed.job).toMatchObject({ init: false, noNewPrivileges: false });
      expect((await jobs.get(await newJob())).job).toMatchObject({ init: false, noNewPrivileges: false });
    });

    it('run beside this one: what is written now has the name they read, too', async () => {
      const name = await newJob({ instance: { ami: AMI } });
      await jobs.patch(name, { instance: { diskGiB: 40 } }, null, ANONYMOUS);
      await deploy(name, { memoryMiB: 64 });
      const rows = await test.database.query<{ names: string[] }>(
        `SELECT ARRAY[definition #>> '{instance,ami}', definition #>> '{instance,imageId}'] AS names FROM (
           SELECT id, definition FROM jobs WHERE name = $1
           UNION ALL SELECT d.id, d.definition FROM deployments d JOIN jobs j ON j.id = d.job_id WHERE j.name = $1) written`,
        [name],
      );
      expect(rows.map(({ names }) => names)).toEqual([
        [AMI, AMI],
        [AMI, AMI],
        [AMI, AMI],
      ]);
    });
  });

  it('lists jobs by name, page by page, and by status', async () => {
    await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE deleted_at IS NULL`);
    for (const name of ['c', 'a', 'd', 'b']) await intents.createJob(CreateJob.parse({ name }), ANONYMOUS);
    await deploy('d', { image: 'app:1' });
    const first = await jobs.list({ limit: 3 }, null);
    expect(first.items.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    const second = await jobs.list({ limit: 3, cursor: first.nextCursor! }, null);
    expect(second).toMatchObject({ items: [{ name: 'd' }], nextCursor: null });
    expect((await jobs.list({ limit: 3, status: 'deploying' }, null)).items.map(({ name }) => name)).toEqual(['d']);
    expect(await problemOf(jobs.list({ limit: 3, cursor: 'nonsense' }, null))).toBe('invalid-parameter');
  });
});
