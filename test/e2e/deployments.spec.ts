import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DeploymentResponse } from '../../src/deployments/deployment.schema.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

describe('deployments over HTTP', () => {
  let api: Api;
  let test: TestDatabase;
  let names = 0;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  async function newJob(fields: object = {}): Promise<string> {
    const name = `job-${(names += 1)}`;
    await api.request('POST', '/v1/jobs', { body: { name, image: 'app:1', ...fields } });
    return `/v1/jobs/${name}`;
  }

  /** Stands in for the job pass of another process. */
  async function pass(job: string, number: number, status: string): Promise<void> {
    const [row] = await test.database.query<{ job_id: string }>(
      `UPDATE deployments SET status = $3, active_at = CASE WHEN $3 = 'active' THEN clock_timestamp() ELSE active_at END
       WHERE number = $2 AND job_id = (SELECT id FROM jobs WHERE name = $1) RETURNING job_id`,
      [job.split('/').at(-1), number, status],
    );
    await test.database.query(
      `UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments WHERE job_id = $1 AND status = 'active') WHERE id = $1`,
      [row!.job_id],
    );
    test.signals.jobsChanged([row!.job_id]);
  }

  it('are accepted with 202 and a location', async () => {
    const job = await newJob();
    const accepted = await api.request('POST', `${job}/deployments`, { body: { image: 'app:2', env: { A: 'a' } } });
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get('location')).toBe(`${job}/deployments/2`);
    expect(accepted.body).toMatchObject({
      number: 2,
      image: 'app:2',
      status: 'queued',
      trigger: 'api',
      definition: { env: { A: 'a' } },
    });
    const read = await api.request('GET', `${job}/deployments/2`);
    expect(read).toMatchObject({ status: 200, body: accepted.body });
  });

  it('answer with every field of the documentation', async () => {
    const job = await newJob();
    const { body } = await api.request('GET', `${job}/deployments/1`);
    const documented = Object.keys(DeploymentResponse.shape);
    expect(Object.keys(body as object).sort()).toEqual(documented.sort());
    expect(DeploymentResponse.safeParse(body).error).toBeUndefined();
  });

  it('need no body: the latest image again', async () => {
    const job = await newJob();
    expect(await api.request('POST', `${job}/deployments`)).toMatchObject({
      status: 202,
      body: { number: 2, image: 'app:1' },
    });
    expect(await api.request('POST', `${job}/deployments`, { body: {} })).toMatchObject({
      status: 202,
      body: { number: 3 },
    });
  });

  it.each([
    [{ image: 'no image' }, '#/image'],
    [{ image: null }, '#/image'],
    [{ image: 'app:2', health: { port: 80 } }, '#/health/port'],
    [{ image: 'app:2', instance: { types: ['big'] } }, '#/instance/types/0'],
    [{ image: 'app:2', secrets: { A: 1 } }, '#/secrets/A'],
    [{ image: 'app:2', env: { A: 'x' }, secrets: { A: 'y' } }, '#/secrets/A'],
    [{ image: 'app:2', name: 'other' }, '#/name'],
  ])('refuse %j', async (body, pointer) => {
    const job = await newJob();
    expect(await api.request('POST', `${job}/deployments`, { body })).toMatchObject({
      status: 422,
      body: { type: '/problems/invalid-request', errors: [{ pointer }] },
    });
  });

  it('honour If-Match', async () => {
    const job = await newJob();
    const deploy = (ifMatch: string) =>
      api.request('POST', `${job}/deployments`, { body: { image: 'app:2' }, headers: { 'if-match': ifMatch } });
    expect((await deploy('"2"')).status).toBe(412);
    expect((await deploy('"1"')).status).toBe(202);
  });

  it('are listed newest first', async () => {
    const job = await newJob();
    await api.request('POST', `${job}/deployments`);
    const first = await api.request('GET', `${job}/deployments?limit=1`);
    expect(first.body).toMatchObject({ items: [{ number: 2 }], nextCursor: expect.any(String) });
    const second = await api.request(
      'GET',
      `${job}/deployments?limit=1&cursor=${(first.body as { nextCursor: string }).nextCursor}`,
    );
    expect(second.body).toMatchObject({ items: [{ number: 1 }], nextCursor: null });
  });

  it('go on with rollback, restart, start and cancel, each answered with 202 and the deployment', async () => {
    const job = await newJob();
    await pass(job, 1, 'active');
    await api.request('POST', `${job}/deployments`, { body: { image: 'app:2' } });
    const cancelled = await api.request('POST', `${job}/deployments/2/cancel`);
    expect(cancelled).toMatchObject({ status: 202, body: { number: 2, cancelRequestedAt: expect.any(String) } });
    expect(await api.request('POST', `${job}/deployments/1/cancel`)).toMatchObject({
      status: 409,
      body: { type: '/problems/deployment-active', detail: 'Deployment 1 is active: use stop or rollback.' },
    });
    expect(await api.request('POST', `${job}/rollback`)).toMatchObject({
      status: 409,
      body: { type: '/problems/nothing-to-roll-back' },
    });
    const restarted = await api.request('POST', `${job}/restart`);
    expect(restarted).toMatchObject({ status: 202, body: { number: 3, trigger: 'restart', copiedFrom: 1 } });
    expect(restarted.headers.get('location')).toBe(`${job}/deployments/3`);
    await pass(job, 1, 'superseded');
    await pass(job, 3, 'active');
    expect(await api.request('POST', `${job}/rollback`, { body: { to: 1 } })).toMatchObject({
      status: 202,
      body: { number: 4, trigger: 'rollback', copiedFrom: 1 },
    });
    const started = await api.request('POST', `${job}/start`);
    expect(started).toMatchObject({ status: 202, body: { number: 3, status: 'active' } });
    expect(started.headers.get('location')).toBe(`${job}/deployments/3`);
    expect(await api.request('POST', `${job}/rollback`, { body: { to: 0 } })).toMatchObject({ status: 422 });
  });

  it.each([
    ['GET', '/v1/jobs/nothing/deployments', 404, 'job-not-found'],
    ['GET', '/v1/jobs/nothing/deployments/1', 404, 'job-not-found'],
    ['GET', '/v1/jobs/not%20a%20name/deployments', 404, 'job-not-found'],
    ['POST', '/v1/jobs/nothing/start', 404, 'job-not-found'],
    ['GET', 'JOB/deployments/2', 404, 'deployment-not-found'],
    ['POST', 'JOB/deployments/2/cancel', 404, 'deployment-not-found'],
    ['GET', 'JOB/deployments/0', 400, 'invalid-parameter'],
    ['GET', 'JOB/deployments/latest', 400, 'invalid-parameter'],
    ['GET', 'JOB/deployments/99999999999', 400, 'invalid-parameter'],
    ['GET', 'JOB/deployments/1?wait=-1', 400, 'invalid-parameter'],
  ])('%s %s is answered %i %s', async (method, path, status, code) => {
    const job = await newJob();
    expect(await api.request(method, path.replace('JOB', job))).toMatchObject({
      status,
      body: { type: `/problems/${code}` },
    });
  });

  describe('waited for', () => {
    it('are answered as soon as another process says so', async () => {
      const job = await newJob();
      const settled = api.request('GET', `${job}/deployments/1?wait=30`);
      const ended = api.request('GET', `${job}/deployments/1?wait=30&until=ended`);
      await parked(2);
      await pass(job, 1, 'deploying');
      await pass(job, 1, 'active');
      expect(await settled).toMatchObject({ status: 200, body: { status: 'active' } });
      await parked(1);
      await pass(job, 1, 'superseded');
      expect(await ended).toMatchObject({ status: 200, body: { status: 'superseded' } });
    });

    it('are answered as they are when the wait is over', async () => {
      const job = await newJob();
      expect(await api.request('GET', `${job}/deployments/1?wait=1`)).toMatchObject({
        status: 200,
        body: { status: 'queued' },
      });
    });

    it('wait for nobody whose connection is gone', async () => {
      const job = await newJob();
      const client = new AbortController();
      const answer = api.request('GET', `${job}/deployments/1?wait=30`, { signal: client.signal });
      await parked(1);
      client.abort();
      await expect(answer).rejects.toThrow();
      await parked(0);
    });

    it('are gone with their job, whatever another one of its name has', async () => {
      const job = await newJob();
      const name = job.split('/').at(-1);
      const answers = [
        api.request('GET', `${job}/deployments/1?wait=30&until=ended`),
        api.request('GET', `${job}?wait=30&until=gone`),
      ];
      await parked(2);
      const [row] = await test.database.query<{ id: string }>(
        `UPDATE jobs SET desired_state = 'deleted', status = 'deleting', deleted_at = clock_timestamp() WHERE name = $1
         RETURNING id`,
        [name],
      );
      await api.request('POST', '/v1/jobs', { body: { name, image: 'app:1' } });
      test.signals.jobsChanged([row!.id]);
      for (const answer of await Promise.all(answers)) {
        expect(answer).toMatchObject({ status: 404, body: { type: '/problems/job-not-found' } });
      }
      expect((await api.request('GET', `${job}/deployments/1`)).status).toBe(200);
    });

    it('are answered as they are when the process shuts down', async () => {
      const job = await newJob();
      const answer = api.request('GET', `${job}/deployments/1?wait=30`);
      await parked(1);
      api.app.get(Shutdown).begin();
      expect(await answer).toMatchObject({ status: 200, body: { status: 'queued' } });
    });

    /** Until that many requests wait; Jest's own limit ends it. */
    async function parked(count: number): Promise<void> {
      await until(() => api.app.get(ChangeWaiter, { strict: false }).size === count);
    }
  });
});
