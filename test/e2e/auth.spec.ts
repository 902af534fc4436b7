import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';

const TOKEN = 'the-token-of-the-operator';

describe('access', () => {
  let api: Api;
  let databaseUrl: string;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN: TOKEN, ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it.each([
    ['nothing', undefined, 'Bearer'],
    ['another scheme', `Basic ${TOKEN}`, 'Bearer'],
    ['another token', 'Bearer the-token-of-someone-else', 'Bearer error="invalid_token"'],
    ['the beginning of the token', `Bearer ${TOKEN.slice(0, -1)}`, 'Bearer error="invalid_token"'],
    ['an agent’s token', `Bearer ${'ab'.repeat(32)}`, 'Bearer error="invalid_token"'],
  ])('with %s is refused', async (_what, authorization, challenge) => {
    const { status, headers, body } = await api.request('GET', '/v1/jobs', { headers: { authorization } });
    expect(status).toBe(401);
    expect(headers.get('www-authenticate')).toBe(challenge);
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(body).toMatchObject({ type: '/problems/unauthorized', status: 401 });
  });

  it.each([`Bearer ${TOKEN}`, `bearer ${TOKEN}`])('with the token is granted', async (authorization) => {
    expect((await api.request('GET', '/v1/jobs', { headers: { authorization } })).status).toBe(200);
  });

  it.each(['/health/live', '/health/ready', '/docs', '/docs/openapi.json'])('%s is open', async (path) => {
    expect((await api.request('GET', path, { headers: { authorization: undefined } })).status).toBe(200);
  });
});

describe('access without ADMIN_TOKEN', () => {
  let api: Api;
  let databaseUrl: string;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it('is granted to everyone on loopback', async () => {
    expect((await api.request('GET', '/v1/jobs')).status).toBe(200);
  });

  it.each([
    ['another site’s script', { 'sec-fetch-site': 'cross-site', 'content-type': 'application/json' }, 403],
    [
      'another site’s script in an old browser',
      { origin: 'http://evil.example', 'content-type': 'application/json' },
      403,
    ],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['a form of text', { 'content-type': 'text/plain' }, 415],
  ])('is refused to %s', async (_what, headers, expected) => {
    const { status, headers: answered } = await api.request('POST', '/v1/jobs', { headers, body: '{"name":"web"}' });
    expect(status).toBe(expected);
    expect(answered.get('content-type')).toBe('application/problem+json');
  });

  it('is refused to an image of another site, which learns nothing of what there is', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image' };
    expect((await api.request('GET', '/v1/jobs', { headers })).status).toBe(403);
  });

  it('is refused under a name that is not loopback’s, which a site could point here', async () => {
    const { status } = await rawGet(api.url, '/v1/jobs', 'evil.example');
    expect(status).toBe(403);
  });
});

describe('access without ADMIN_TOKEN behind a proxy that is trusted', () => {
  let api: Api;
  let databaseUrl: string;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ROLE: 'api', TRUST_PROXY: 'true' } });
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it.each([
    ['localhost', 'localhost', 200],
    ['evil.example', 'localhost', 403],
    ['localhost', 'evil.example', 403],
  ])('Host %s, X-Forwarded-Host %s: %i', async (host, forwarded, expected) => {
    const { status } = await rawGet(api.url, '/v1/jobs', host, { 'x-forwarded-host': forwarded });
    expect(status).toBe(expected);
  });
});

/** fetch lets nobody set Host. */
async function rawGet(
  url: string,
  path: string,
  host: string,
  headers: Record<string, string> = {},
): Promise<{ status: number | undefined }> {
  const { request } = await import('node:http');
  return await new Promise((done, failed) => {
    const sent = request(`${url}${path}`, { headers: { host, ...headers } }, (response) => {
      response.resume();
      done({ status: response.statusCode });
    });
    sent.once('error', failed).end();
  });
}
