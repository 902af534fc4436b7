import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Answer, type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const AMI = 'ami-0123456789abcdef0';

describe('what jobs may name', () => {
  let test: TestDatabase;
  /** As it was when jobs were made, and with shorter lists since. */
  let before: Api;
  let since: Api;

  beforeAll(async () => {
    test = await createTestDatabase();
    const env = { ROLE: 'api', ADMIN_TOKEN };
    const lists = { ALLOWED_AMIS: `ecs-al2023,${AMI}`, ALLOWED_PROFILES: 'team-a,team-b' };
    const addresses = { JOBS_URL: 'https://jobs.test', JOBS_HOSTS: 'own.test' };
    before = await startApi({ databaseUrl: test.url, env: { ...env, ...lists, ...addresses } });
    since = await startApi({ databaseUrl: test.url, env: { ...env, ALLOWED_PROFILES: 'team-a,team-b' } });
  });
  afterAll(async () => {
    await Promise.all([before.close(), since.close()]);
    await test.close();
  });

  const pointersOf = ({ body }: Answer) =>
    (body as { errors?: { pointer: string }[] }).errors?.map(({ pointer }) => pointer);
  const deploymentsOf = async (name: string) =>
    (
      await test.database.query(`SELECT d.id FROM deployments d JOIN jobs j ON j.id = d.job_id WHERE j.name = $1`, [
        name,
      ])
    ).length;

  /** Two deployments that were active, as the job pass would have left them. */
  async function serving(name: string): Promise<void> {
    const body = { name, image: 'web:1', instance: { ami: AMI, profile: 'team-b' } };
    expect((await before.request('POST', '/v1/jobs', { body })).status).toBe(201);
    expect((await before.request('POST', `/v1/jobs/${name}/deployments`, { body: { image: 'web:2' } })).status).toBe(
      202,
    );
    await test.database.query(
      `UPDATE deployments d SET active_at = clock_timestamp(), status = CASE number WHEN 2 THEN 'active' ELSE 'superseded' END
       FROM jobs j WHERE j.id = d.job_id AND j.name = $1`,
      [name],
    );
    await test.database.query(
      `UPDATE jobs j SET active_deployment_id = d.id FROM deployments d WHERE d.job_id = j.id AND d.status = 'active' AND j.name = $1`,
      [name],
    );
  }

  /** Every way to a deployment, and what stores a definition for one. */
  const WAYS: [what: string, method: string, path: string, body: object | undefined][] = [
    ['deploy', 'POST', '/deployments', { image: 'web:3' }],
    ['deploy what is there', 'POST', '/deployments', { env: { A: 'a' } }],
    ['rollback', 'POST', '/rollback', {}],
    ['rollback to one by its number', 'POST', '/rollback', { to: 1 }],
    ['restart', 'POST', '/restart', undefined],
    ['change', 'PATCH', '', { memoryMiB: 64 }],
  ];

  it.each(WAYS)(
    'is asked again by %s: the operator’s lists may have become shorter',
    async (what, method, path, body) => {
      const name = `ways-${WAYS.findIndex(([way]) => way === what)}`;
      await serving(name);
      const count = await deploymentsOf(name);
      const refused = await since.request(method, `/v1/jobs/${name}${path}`, { body });
      expect([refused.status, pointersOf(refused)]).toEqual([403, ['#/instance/ami']]);
      expect(await deploymentsOf(name)).toBe(count);
      expect((await before.request(method, `/v1/jobs/${name}${path}`, { body })).status).toBeLessThan(300);
    },
  );

  it('is asked again by start and by adopt', async () => {
    await serving('stopped');
    expect((await since.request('POST', '/v1/jobs/stopped/start')).status).toBe(202);
    await since.request('POST', '/v1/jobs/stopped/stop');
    await test.database.query(
      `UPDATE deployments d SET status = 'stopped' FROM jobs j WHERE j.id = d.job_id AND j.name = 'stopped'`,
    );
    const started = await since.request('POST', '/v1/jobs/stopped/start');
    expect([started.status, pointersOf(started)]).toEqual([403, ['#/instance/ami']]);
    await test.database.query(
      `INSERT INTO instances (id, state, quarantined, launched_at) VALUES ('i-0123456789abcdef0', 'running', true, clock_timestamp())`,
    );
    const body = { instance: 'i-0123456789abcdef0', image: 'web:1' };
    const adopted = await since.request('POST', '/v1/jobs/stopped/adopt', { body });
    expect([adopted.status, pointersOf(adopted)]).toEqual([403, ['#/instance/ami']]);
  });

  it('is asked when a job is made, with an image and without', async () => {
    for (const image of ['web:1', undefined]) {
      const body = { name: `made-${randomUUID()}`, image, instance: { ami: AMI } };
      expect(pointersOf(await since.request('POST', '/v1/jobs', { body }))).toEqual(['#/instance/ami']);
      expect(await deploymentsOf(body.name)).toBe(0);
    }
  });

  describe('by a token of its own', () => {
    let authorization: string;
    beforeAll(async () => {
      const allow = { registries: ['docker.io/library'], profiles: ['team-a'], types: ['t3.*'], maxDiskGiB: 40 };
      const body = { name: 'narrow', role: 'deployer', scope: ['team-'], allow };
      const made = await before.request('POST', '/v1/tokens', { body });
      expect(made).toMatchObject({ status: 201, body: { allow } });
      authorization = `Bearer ${(made.body as { token: string }).token}`;
    });
    const ask = (method: string, path: string, body?: object) =>
      before.request(method, path, { body, headers: { authorization } });

    it('cannot be stored for another token to deploy', async () => {
      expect((await ask('POST', '/v1/jobs', { name: 'team-web', image: 'nginx' })).status).toBe(201);
      const wide = { instance: { profile: 'team-b', diskGiB: 41, types: ['t3.nano', 'c7g.large'] } };
      const pointers = ['#/instance/profile', '#/instance/types/1', '#/instance/diskGiB'];
      expect(pointersOf(await ask('PATCH', '/v1/jobs/team-web', wide))).toEqual(pointers);
      expect(pointersOf(await ask('POST', '/v1/jobs/team-web/deployments', wide))).toEqual(pointers);
      expect(pointersOf(await ask('POST', '/v1/jobs', { name: 'team-x', ...wide }))).toEqual(pointers);
      const image = { image: 'registry.example.com/others/app' };
      expect(pointersOf(await ask('POST', '/v1/jobs/team-web/deployments', image))).toEqual(['#/image']);
      expect((await ask('POST', '/v1/jobs/team-web/deployments', { image: 'nginx:2' })).status).toBe(202);
    });

    it('is not had by repeating what an admin deployed', async () => {
      await serving('team-admins');
      for (const [what, method, path, body] of WAYS) {
        const { status } = await ask(method, `/v1/jobs/team-admins${path}`, body);
        expect([what, status]).toEqual([what, 403]);
      }
    });

    it('takes no host of a job’s own, however it asks, and goes on deploying what an admin gave the job', async () => {
      const hosts = { route: { hosts: ['shop.own.test'] } };
      const pointers = ['#/route/hosts/0'];
      await ask('POST', '/v1/jobs', { name: 'team-shop', image: 'nginx' });
      expect(pointersOf(await ask('POST', '/v1/jobs', { name: 'team-y', ...hosts }))).toEqual(pointers);
      expect(pointersOf(await ask('PATCH', '/v1/jobs/team-shop', hosts))).toEqual(pointers);
      expect(pointersOf(await ask('POST', '/v1/jobs/team-shop/deployments', hosts))).toEqual(pointers);
      expect((await before.request('PATCH', '/v1/jobs/team-shop', { body: hosts })).status).toBe(200);
      expect((await ask('POST', '/v1/jobs/team-shop/deployments', { image: 'nginx:2' })).status).toBe(202);
      const more = { route: { hosts: ['shop.own.test', 'other.own.test'] } };
      expect(pointersOf(await ask('PATCH', '/v1/jobs/team-shop', more))).toEqual(['#/route/hosts/1']);
      expect((await ask('PATCH', '/v1/jobs/team-shop', { route: { hosts: [] } })).status).toBe(200);
      expect(pointersOf(await ask('PATCH', '/v1/jobs/team-shop', hosts))).toEqual(pointers);
      await test.database.query(
        `UPDATE deployments SET active_at = clock_timestamp() WHERE job_id = (SELECT id FROM jobs WHERE name = 'team-shop')`,
      );
      expect(pointersOf(await ask('POST', '/v1/jobs/team-shop/restart'))).toEqual(pointers);

      const allow = { hosts: ['shop.own.test'] };
      const body = { name: 'shop', role: 'deployer', scope: ['team-'], allow };
      const made = await before.request('POST', '/v1/tokens', { body });
      expect(made).toMatchObject({ status: 201, body: { allow } });
      const headers = { authorization: `Bearer ${(made.body as { token: string }).token}` };
      const askMore = (wanted: object) => before.request('PATCH', '/v1/jobs/team-shop', { body: wanted, headers });
      expect([(await askMore(hosts)).status, pointersOf(await askMore(more))]).toEqual([200, ['#/route/hosts/1']]);
    });

    it('is for no admin, who could give itself any other', async () => {
      const body = { name: 'admin', role: 'admin', allow: { registries: [] } };
      const made = await before.request('POST', '/v1/tokens', { body });
      expect([made.status, pointersOf(made)]).toEqual([422, ['#/allow']]);
    });
  });
});
