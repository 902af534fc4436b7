import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pullRequest } from '../../src/docker/container-spec.ts';
import { renderOrder } from '../../src/agent/order-headers.ts';
import { Registries } from '../../src/registries/registries.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const ADMIN_TOKEN = 'the-operators-own-token';

describe('private registries', () => {
  let api: Api;
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api', ADMIN_TOKEN } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const put = (host: string, body: object = { username: 'robot', password: 'hush' }) =>
    api.request('PUT', `/v1/registries/${host}`, { body });

  it('are set, replaced, read without their password, and deleted', async () => {
    const first = await put('registry.example.com:5000');
    expect(first).toMatchObject({ status: 200, body: { host: 'registry.example.com:5000', username: 'robot' } });
    const replaced = await put('registry.example.com%3A5000', { username: 'other', password: 'hush2' });
    const { createdAt } = first.body as { createdAt: string };
    expect(replaced.body).toMatchObject({ username: 'other', createdAt });
    const read = await api.request('GET', '/v1/registries/registry.example.com:5000');
    expect(read.body).toEqual(replaced.body);
    expect(Object.keys(read.body as object)).toEqual(['host', 'username', 'createdAt', 'updatedAt']);
    const remove = () => api.request('DELETE', '/v1/registries/registry.example.com:5000');
    expect(await remove()).toMatchObject({ status: 200, body: { username: 'other' } });
    expect(await remove()).toMatchObject({ status: 404, body: { type: '/problems/registry-not-found' } });
  });

  it('are listed by host, page by page', async () => {
    for (const host of ['c.example.com', 'a.example.com', 'b.example.com']) await put(host);
    const hosts: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await api.request('GET', `/v1/registries?limit=2${cursor && `&cursor=${cursor}`}`);
      const page = body as { items: { host: string }[]; nextCursor: string | null };
      hosts.push(...page.items.map(({ host }) => host));
      cursor = page.nextCursor;
    }
    expect(hosts).toEqual(['a.example.com', 'b.example.com', 'c.example.com']);
  });

  it('have one entry for the Hub, whatever Docker calls it', async () => {
    await put('index.docker.io');
    expect((await api.request('GET', '/v1/registries/registry-1.docker.io')).body).toMatchObject({ host: 'docker.io' });
  });

  it.each(['Registry.example.com', 'a_b', '-a', 'a..b', 'a:x', 'https:%2F%2Fa', `a%00b`])(
    'at %s are refused',
    async (host) => {
      expect(await put(host)).toMatchObject({ status: 400, body: { errors: [{ parameter: 'host' }] } });
    },
  );

  it('have a key file as password, up to 64 KiB, to the letter', async () => {
    const key = JSON.stringify({ type: 'service_account', private_key: '-----BEGIN KEY-----\nabc\n' }, null, 2);
    for (const password of [key, `${key}\r\n\t`, 'k'.repeat(64 * 1024)]) {
      expect((await put('gcr.io', { username: '_json_key', password })).status).toBe(200);
      const auth = (await api.app.get(Registries).authOf('gcr.io'))!;
      expect(JSON.parse(Buffer.from(auth, 'base64url').toString())).toMatchObject({ username: '_json_key', password });
      // As an agent is sent it, in one line.
      const pull = {
        ...pullRequest('gcr.io/team/app:1'),
        kind: 'docker',
        mode: 'background',
        timeoutSeconds: 9,
      } as const;
      expect(renderOrder(1, pull, { registryAuth: auth }).headers['docker-registry-auth']).toBe(auth);
    }
  });

  it.each([
    ['no password', { username: 'robot' }, '#/password'],
    ['an empty password', { username: 'robot', password: '' }, '#/password'],
    ['a password with a control character', { username: 'robot', password: 'hush\u0007hush' }, '#/password'],
    ['a password of more than 64 KiB', { username: 'robot', password: 'hush'.repeat(16 * 1024 + 1) }, '#/password'],
    ['one that is more as bytes', { username: 'robot', password: `hush${'ü'.repeat(32 * 1024)}` }, '#/password'],
    ['one that is more for Docker', { username: 'robot', password: `hush${'"'.repeat(60 * 1024)}` }, '#/password'],
    ['a user in two lines', { username: 'ro\nbot', password: 'hush' }, '#/username'],
    ['more', { username: 'robot', password: 'hush', email: 'x' }, '#/email'],
  ])('with %s are refused', async (_what, body, pointer) => {
    const refused = await put('registry.example.com', body);
    expect(refused).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
    expect(refused.text).not.toContain('hush');
  });

  it('are for admins only', async () => {
    const made = await api.request('POST', '/v1/tokens', { body: { name: 'd', role: 'deployer' } });
    const { token } = made.body as { token: string };
    const headers = { authorization: `Bearer ${token}` };
    expect((await api.request('GET', '/v1/registries', { headers })).status).toBe(403);
  });
});
