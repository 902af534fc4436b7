import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { encodeCursor as cursorOf } from '../../src/http/pagination.ts';
import { PROBLEMS } from '../../src/http/problem.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, createTestDatabase, dropDatabase } from '../support/database.ts';

describe('problems', () => {
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

  it.each([
    ['an unknown route', 'GET', '/v1/nothing', {}, 'not-found'],
    ['an unknown method', 'PUT', '/v1/jobs', {}, 'not-found'],
    ['a URL that cannot be decoded', 'GET', '/v1/jobs/%zz', {}, 'malformed-request'],
    ['a parameter beyond all names', 'GET', `/v1/jobs/${'a'.repeat(200)}`, {}, 'uri-too-long'],
    ['JSON that is none', 'POST', '/v1/jobs', { body: '{"name":' }, 'malformed-request'],
    ['JSON that sets a prototype', 'POST', '/v1/jobs', { body: '{"__proto__":{"x":1}}' }, 'malformed-request'],
    [
      'JSON nested beyond measure, to be kept under a key',
      'POST',
      '/v1/jobs',
      { body: '{"a":'.repeat(5_000) + '1' + '}'.repeat(5_000), headers: { 'idempotency-key': 'deep' } },
      'malformed-request',
    ],
    ['no body', 'POST', '/v1/jobs', {}, 'malformed-request'],
    ['no body, announced as JSON', 'POST', '/v1/jobs', { body: '' }, 'malformed-request'],
    [
      'another type',
      'POST',
      '/v1/jobs',
      { body: '<a/>', headers: { 'content-type': 'text/xml' } },
      'unsupported-media-type',
    ],
    [
      'a body beyond 1 MiB',
      'POST',
      '/v1/jobs',
      { body: JSON.stringify({ x: 'y'.repeat(1024 * 1024) }) },
      'payload-too-large',
    ],
    ['a body of the wrong shape', 'POST', '/v1/jobs', { body: { name: 'UPPER', kind: 'service' } }, 'invalid-request'],
    ['a parameter out of range', 'GET', '/v1/jobs?limit=0', {}, 'invalid-parameter'],
    ['an unknown parameter', 'GET', '/v1/jobs?colour=red', {}, 'invalid-parameter'],
    ['a cursor Postgres cannot keep', 'GET', `/v1/jobs?cursor=${cursorOf('\0')}`, {}, 'invalid-parameter'],
    ['a name Postgres cannot keep', 'GET', '/v1/events?job=%00', {}, 'invalid-parameter'],
    ['two of them', 'GET', '/v1/events?job=a%00b&job=c', {}, 'invalid-parameter'],
    ['one of instances', 'GET', `/v1/instances?cursor=${cursorOf('\0')}`, {}, 'invalid-parameter'],
    ['one of tokens', 'GET', `/v1/tokens?cursor=${cursorOf(['1', '\0'])}`, {}, 'invalid-parameter'],
    [
      'one beyond all times',
      'GET',
      `/v1/tokens?cursor=${cursorOf(['9'.repeat(20), '1f2e3d4c'])}`,
      {},
      'invalid-parameter',
    ],
    ['an id Postgres cannot keep', 'GET', '/v1/tokens/%00', {}, 'token-not-found'],
    ['the same, revoked', 'DELETE', '/v1/tokens/%00', {}, 'token-not-found'],
    [
      'a form at a URL in disguise',
      'POST',
      '/%761/jobs',
      { body: 'name=web', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      'unsupported-media-type',
    ],
  ] as const)('%s', async (_what, method, path, options, code) => {
    const { status, headers, body } = await api.request(method, path, { ...options });

    expect(headers.get('content-type')).toBe('application/problem+json');
    const id = headers.get('x-request-id');
    expect(body).toMatchObject({ type: `/problems/${code}`, ...PROBLEMS[code], instance: `urn:request:${id}` });
    expect(status).toBe(PROBLEMS[code].status);
    expect(body).toHaveProperty('detail', expect.stringMatching(/./));
  });

  it('point at what is wrong in a body, all of it', async () => {
    const { body } = await api.request('POST', '/v1/jobs', {
      body: { name: 'web', kind: 'service', ports: [{ container: 80, host: 0 }], colour: 'red' },
    });
    const { errors } = body as { errors: { pointer: string }[] };
    expect(errors.map(({ pointer }) => pointer).toSorted()).toEqual(['#/colour', '#/ports/0/host']);
  });

  it('name the parameter that is wrong', async () => {
    const { body } = await api.request('GET', '/v1/jobs?limit=0');
    expect(body).toMatchObject({ errors: [{ parameter: 'limit' }] });
  });

  it('carry the caller’s request id', async () => {
    const { headers, body } = await api.request('GET', '/v1/nothing', { headers: { 'x-request-id': 'mine-1' } });
    expect(headers.get('x-request-id')).toBe('mine-1');
    expect(body).toMatchObject({ instance: 'urn:request:mine-1' });
  });

  it('are no answer to an expectation nobody knows', async () => {
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    socket.write('GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: wonders\r\nConnection: close\r\n\r\n');
    expect(await text(socket)).toMatch(/^HTTP\/1.1 200 /);
  });

  it.each([
    ['no HTTP', 'NONSENSE\r\n\r\n', 'malformed-request'],
    ['no host', 'GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n', 'malformed-request'],
    ['headers beyond 16 KiB', `GET / HTTP/1.1\r\nx: ${'y'.repeat(17_000)}\r\n\r\n`, 'headers-too-large'],
  ] as const)('answer a request that is none: %s', async (_what, bytes, code) => {
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    socket.write(bytes);
    const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');

    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${PROBLEMS[code].status} `));
    expect(head).toContain('content-type: application/problem+json');
    expect(JSON.parse(body)).toMatchObject({ type: `/problems/${code}`, ...PROBLEMS[code] });
    expect((await api.request('GET', '/health/live')).status).toBe(200);
  });
});

describe('problems of a database that is away', () => {
  it('are 503, to be repeated', async () => {
    const databaseUrl = await createEmptyDatabase();
    const api = await startApi({ databaseUrl, env: { ROLE: 'api' } });
    try {
      await dropDatabase(databaseUrl);
      // The first statement on a lost connection and the first attempt at a new one fail differently; both are waits.
      for (let attempt = 1; attempt <= 3; attempt++) {
        const { status, headers, body } = await api.request('GET', '/v1/jobs');
        expect(status).toBe(503);
        expect(body).toMatchObject({ type: '/problems/unavailable' });
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
      }
    } finally {
      await api.close();
    }
  });
});

describe('a request that met a held row for too long', () => {
  it('is 503, to be repeated', async () => {
    const test = await createTestDatabase();
    // What ends it in production are the 30 seconds of any statement.
    await test.database.query(`ALTER DATABASE ${new URL(test.url).pathname.slice(1)} SET lock_timeout = '200ms'`);
    const api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
    try {
      await api.request('POST', '/v1/jobs', { body: { name: 'held' } });
      await test.database.transaction(async (transaction) => {
        await transaction.query(`SELECT 1 FROM jobs WHERE name = 'held' FOR UPDATE`);
        const { status, headers, body } = await api.request('POST', '/v1/jobs/held/stop');
        expect(status).toBe(503);
        expect(body).toMatchObject({ type: '/problems/unavailable' });
        expect(headers.get('retry-after')).toBe('1');
      });
      expect((await api.request('POST', '/v1/jobs/held/stop')).status).toBe(202);
    } finally {
      await api.close();
      await test.close();
    }
  });
});
