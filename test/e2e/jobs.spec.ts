import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Answer, type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('jobs over HTTP', () => {
  let api: Api;
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const errorsOf = ({ body }: Answer) => (body as { errors: Record<string, string>[] }).errors;
  const post = (body: object) => api.request('POST', '/v1/jobs', { body });

  it('and their deployments are listed in pages of some bytes, and all of them', async () => {
    const env = Object.fromEntries(['A', 'B', 'C', 'D'].map((name) => [name, 'x'.repeat(31_000)]));
    const names = Array.from({ length: 24 }, (_, n) => `large-${String(n).padStart(2, '0')}`);
    for (const name of names) expect((await post({ name, image: 'app:1', env })).status).toBe(201);
    for (let n = 2; n <= 12; n += 1)
      expect((await api.request('POST', '/v1/jobs/large-00/deployments', { body: {} })).status).toBe(202);

    const all = async (path: string, keyOf: (item: { name: string; number: number }) => unknown) => {
      const keys: unknown[] = [];
      let cursor: string | null = '';
      let pages = 0;
      for (; cursor !== null; pages += 1) {
        const page: Answer = await api.request('GET', `${path}?limit=200${cursor && `&cursor=${cursor}`}`);
        expect(page.text.length).toBeLessThan(2 * 1_048_576);
        const { items, nextCursor } = page.body as {
          items: { name: string; number: number }[];
          nextCursor: string | null;
        };
        keys.push(...items.map(keyOf));
        expect(items.every((item) => !('pageRows' in item) && !('pageBytesBefore' in item))).toBe(true);
        cursor = nextCursor;
      }
      return { keys, pages };
    };
    const jobs = await all('/v1/jobs', ({ name }) => name);
    expect(jobs.keys.filter((name) => String(name).startsWith('large-'))).toEqual(names);
    expect(jobs.pages).toBeGreaterThan(2);
    const deployments = await all('/v1/jobs/large-00/deployments', ({ number }) => number);
    expect(deployments.keys).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(deployments.pages).toBeGreaterThan(1);
    for (const name of names) await api.request('DELETE', `/v1/jobs/${name}`);
    await test.database.query(`DELETE FROM jobs WHERE name LIKE 'large-%'`);
  });

  it('are made with 201, a location, a version, and every default', async () => {
    const made = await post({
      name: 'made',
      kind: 'service',
      image: 'nginx:1.28',
      ports: [{ container: 80, host: 80 }],
    });
    expect(made.status).toBe(201);
    expect(made.headers.get('location')).toBe('/v1/jobs/made');
    expect(made.headers.get('etag')).toBe('"1"');
    expect(made.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: 'made',
      kind: 'service',
      status: 'deploying',
      desiredState: 'running',
      activeDeployment: null,
      latestDeployment: 1,
      instance: null,
      hosts: [],
      endpoints: [],
      env: {},
      init: false,
      noNewPrivileges: false,
      ports: [{ container: 80, host: 80 }],
      requestedInstance: {
        types: ['t3.small'],
        subnetIds: [],
        securityGroupIds: [],
        diskGiB: 30,
        market: 'on-demand',
        publicIp: true,
      },
      rollout: { stableSeconds: 5, drainSeconds: 10, stopGraceSeconds: 30, deadlineSeconds: 900 },
      onCapacity: { waitSeconds: 600 },
      route: { holdSeconds: 10 },
      url: null,
      urlReason: 'no-domain',
      privateUrl: null,
      secrets: [],
      createdAt: expect.stringMatching(/Z$/),
      updatedAt: expect.stringMatching(/Z$/),
    });
    const read = await api.request('GET', made.headers.get('location')!);
    expect(read).toMatchObject({ status: 200, body: made.body });
    expect(read.headers.get('etag')).toMatch(/^"1\..{16}"$/);
  });

  it('take an AMI under its former name, and show the present one', async () => {
    const made = await post({ name: 'former', instance: { imageId: 'ecs-al2023-arm64' } });
    expect(made).toMatchObject({ status: 201, body: { requestedInstance: { ami: 'ecs-al2023-arm64' } } });
    expect(made.body).not.toHaveProperty('requestedInstance.imageId');
    const patch = (instance: object) => api.request('PATCH', '/v1/jobs/former', { body: { instance } });
    // As an older command replaces a job: what it does not know is taken away, and given by its former name.
    expect(await patch({ ami: null, imageId: 'ecs-al2023' })).toMatchObject({
      status: 200,
      body: { requestedInstance: { ami: 'ecs-al2023' } },
    });
    const cleared = await patch({ imageId: null });
    expect(cleared.body).not.toHaveProperty('requestedInstance.ami');
    const both = await patch({ ami: 'ecs-al2023', imageId: 'ecs-al2023-arm64' });
    expect(errorsOf(both)).toEqual([{ pointer: '#/instance/imageId', detail: 'is not a known field' }]);
    const deployment = { image: 'nginx', instance: { imageId: 'ecs-al2023-arm64' } };
    const deployed = await api.request('POST', '/v1/jobs/former/deployments', { body: deployment });
    expect(deployed).toMatchObject({ status: 202, body: { definition: { instance: { ami: 'ecs-al2023-arm64' } } } });
    const wrong = await post({ name: 'wrong', instance: { imageId: 'nginx:1.28' } });
    expect(errorsOf(wrong)[0]).toMatchObject({ pointer: '#/instance/ami' });
  });

  it('are not answered again to who has them as they are, and are as soon as anything has changed', async () => {
    await post({ name: 'polled' });
    const read = (ifNoneMatch?: string) =>
      api.request('GET', '/v1/jobs/polled', { headers: { 'if-none-match': ifNoneMatch } });
    const etag = (await read()).headers.get('etag')!;
    const again = await read(etag);
    expect([again.status, again.text, again.headers.get('etag')]).toEqual([304, '', etag]);
    expect((await read(`W/${etag}, "x"`)).status).toBe(304);
    expect((await read('"1"')).status).toBe(200);
    // What a deployment changes is no change of the definition: the tag to read by is another one, that to write by is not.
    await test.database.query(`UPDATE jobs SET status = 'degraded' WHERE name = 'polled'`);
    const changed = await read(etag);
    expect(changed).toMatchObject({ status: 200, body: { status: 'degraded' } });
    const patch = { body: { memoryMiB: 64 }, headers: { 'if-match': etag } };
    expect((await api.request('PATCH', '/v1/jobs/polled', patch)).status).toBe(200);
    expect((await api.request('PATCH', '/v1/jobs/polled', patch)).status).toBe(412);
  });

  it('have a name each', async () => {
    await post({ name: 'taken' });
    expect(await post({ name: 'taken' })).toMatchObject({
      status: 409,
      body: { type: '/problems/job-name-taken', detail: 'There is a job named “taken” already.' },
    });
    await api.request('DELETE', '/v1/jobs/taken');
    expect((await post({ name: 'taken' })).body).toMatchObject({
      detail: expect.stringContaining('still being deleted'),
    });
  });

  it.each([
    ['no name', {}, '#/name'],
    ['a name that is no DNS label', { name: 'a_b' }, '#/name'],
    ['a task', { name: 'x', kind: 'task' }, '#/kind'],
    ['a secret that is no text', { name: 'x', secrets: { A: 1 } }, '#/secrets/A'],
    ['an unknown field', { name: 'x', colour: 'red' }, '#/colour'],
    ['an unknown field inside', { name: 'x', instance: { size: 'big' } }, '#/instance/size'],
    ['no image reference', { name: 'x', image: 'not an image' }, '#/image'],
    ['a probe of no port of its own', { name: 'x', health: { port: 80 } }, '#/health/port'],
    [
      'a host port twice',
      {
        name: 'x',
        ports: [
          { container: 1, host: 1 },
          { container: 2, host: 1 },
        ],
      },
      '#/ports',
    ],
    ['a variable that none can be', { name: 'x', env: { 'A=B': 'c' } }, '#/env/A%3DB'],
    [
      'more than a definition may take',
      { name: 'x', env: Object.fromEntries(['A', 'B', 'C', 'D', 'E'].map((key) => [key, key.repeat(32_000)])) },
      '#',
    ],
  ])('with %s are refused, saying where', async (_what, body, pointer) => {
    const refused = await post(body);
    expect(refused).toMatchObject({ status: 422, body: { type: '/problems/invalid-request' } });
    expect(errorsOf(refused).map((error) => error['pointer'])).toEqual([pointer]);
  });

  it('say which kinds are not supported yet', async () => {
    expect(errorsOf(await post({ name: 'x', kind: 'task', retry: 3 }))).toEqual([
      { pointer: '#/kind', detail: 'tasks are not supported yet' },
      { pointer: '#/retry', detail: 'tasks are not supported yet' },
    ]);
  });

  it('are patched, at the version that was read', async () => {
    await post({ name: 'patched', env: { A: 'a', B: 'b' } });
    const patch = (body: object, ifMatch?: string) =>
      api.request('PATCH', '/v1/jobs/patched', {
        body,
        headers: { 'content-type': 'application/merge-patch+json', 'if-match': ifMatch },
      });
    const patched = await patch({ env: { B: null }, memoryMiB: 64 }, '"1"');
    expect(patched).toMatchObject({ status: 200, body: { env: { A: 'a' }, memoryMiB: 64 } });
    expect(patched.headers.get('etag')).toBe('"2"');
    expect(await patch({}, '"1"')).toMatchObject({ status: 412, body: { type: '/problems/precondition-failed' } });
    expect(await patch({}, '2')).toMatchObject({ status: 400, body: { errors: [{ header: 'If-Match' }] } });
    expect((await patch({ memoryMiB: null }, '*')).body).not.toHaveProperty('memoryMiB');
    expect(await api.request('PATCH', '/v1/jobs/patched', { body: { cpus: 1 } })).toMatchObject({ body: { cpus: 1 } });
  });

  it.each([
    [{ name: 'other' }, '#/name'],
    [{ kind: 'task' }, '#/kind'],
    [{ image: 'nginx' }, '#/image'],
    [{ secrets: { A: 1 } }, '#/secrets/A'],
    [{ colour: null }, '#/colour'],
    [{ rollout: { drainSeconds: 'long' } }, '#/rollout/drainSeconds'],
    [{ health: { path: '/' } }, '#/health/port'],
  ])('refuse the patch %j', async (body, pointer) => {
    await post({ name: 'kept' });
    const refused = await api.request('PATCH', '/v1/jobs/kept', { body });
    expect(refused).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
    expect((await api.request('GET', '/v1/jobs/kept')).headers.get('etag')).toMatch(/^"1\./);
  });

  it('are stopped, and deleted until they are gone', async () => {
    await post({ name: 'going', image: 'nginx' });
    const stopped = await api.request('POST', '/v1/jobs/going/stop');
    expect(stopped).toMatchObject({ status: 202, body: { desiredState: 'stopped' } });
    expect(stopped.headers.get('etag')).toBe('"2"');
    const deleted = await api.request('DELETE', '/v1/jobs/going');
    expect(deleted).toMatchObject({ status: 202, body: { status: 'deleting', desiredState: 'deleted' } });
    expect(await api.request('DELETE', '/v1/jobs/going')).toMatchObject({ status: 202, body: deleted.body });
    expect(await api.request('POST', '/v1/jobs/going/stop')).toMatchObject({ status: 409 });
    await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE name = 'going'`);
    for (const method of ['GET', 'DELETE']) {
      expect(await api.request(method, '/v1/jobs/going')).toMatchObject({
        status: 404,
        body: { type: '/problems/job-not-found', detail: 'There is no job named “going”.' },
      });
    }
  });

  it.each(['Nothing', 'no%00thing', '-x', 'a'.repeat(64), "a'b"])('are not found by the name %s', async (name) => {
    expect(await api.request('GET', `/v1/jobs/${name}`)).toMatchObject({
      status: 404,
      body: { type: '/problems/job-not-found' },
    });
  });

  it('are listed by name in pages', async () => {
    await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() WHERE deleted_at IS NULL`);
    for (const name of ['b', 'c', 'a']) await post({ name });
    const names: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const query: string = cursor && `&cursor=${cursor}`;
      const page = await api.request('GET', `/v1/jobs?limit=2${query}`);
      const { items, nextCursor } = page.body as { items: { name: string }[]; nextCursor: string | null };
      names.push(...items.map((job) => job.name));
      cursor = nextCursor;
    }
    expect(names).toEqual(['a', 'b', 'c']);
    expect((await api.request('GET', '/v1/jobs?status=running')).body).toEqual({ items: [], nextCursor: null });
  });

  it.each([
    ['/v1/jobs?limit=0', 'limit'],
    ['/v1/jobs?limit=201', 'limit'],
    ['/v1/jobs?cursor=nonsense', 'cursor'],
    ['/v1/jobs?status=happy', 'status'],
    ['/v1/jobs?sort=name', 'sort'],
    ['/v1/jobs/a?wait=61', 'wait'],
    ['/v1/jobs/a?until=never', 'until'],
  ])('GET %s is refused for its parameter %s', async (path, parameter) => {
    expect(await api.request('GET', path)).toMatchObject({ status: 400, body: { errors: [{ parameter }] } });
  });
});
