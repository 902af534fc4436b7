import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createDocument } from '../../src/configure-app.ts';
import type { EventType } from '../../src/events/event-types.ts';
import type { EventPage, EventResponse } from '../../src/events/event.schema.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const MARK = 'not-to-be-told-4c1e';

/** How a changing call of the document succeeds, and the first event it must leave. */
type Recipe = {
  readonly path: string;
  readonly body?: object;
  readonly before?: () => Promise<unknown>;
  readonly event: Partial<EventResponse>;
};

describe('the audit', () => {
  let test: TestDatabase;
  let api: Api;
  let caller: { id: string; token: string };

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    caller = await makeToken('auditor');
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const makeToken = async (name: string): Promise<{ id: string; token: string }> =>
    (await api.request('POST', '/v1/tokens', { body: { name, role: 'admin' } })).body as never;
  const makeJob = (name: string) => api.request('POST', '/v1/jobs', { body: { name, image: 'web:1' } });
  const serve = (name: string) =>
    test.database.query(
      `UPDATE deployments SET active_at = clock_timestamp(), status = 'superseded'
       WHERE job_id = (SELECT id FROM jobs WHERE name = $1)`,
      [name],
    );
  const quarantine = (id: string) =>
    test.database.query(`INSERT INTO instances (id, state, quarantined) VALUES ($1, 'running', true)`, [id]);

  let revoked = '';
  const webhook = { id: '', spare: '', delivery: '' };
  const makeWebhook = async (): Promise<string> => {
    const body = { url: `https://example.com/${MARK}` };
    return ((await api.request('POST', '/v1/webhooks', { body })).body as { id: string }).id;
  };
  const ofWebhook =
    (type: EventType, rest = '', body?: object): (() => Recipe) =>
    () => ({
      path: `/v1/webhooks/${webhook.id}${rest.replace('{deliveryId}', webhook.delivery)}`,
      ...(body && { body }),
      event: { type, data: { webhook: webhook.id } },
    });
  const recipes: Readonly<Record<string, () => Recipe>> = {
    'POST /v1/jobs': () => ({
      path: '/v1/jobs',
      body: { name: 'made', image: 'web:1', env: { A: MARK }, secrets: { B: MARK } },
      event: { type: 'job.created', job: 'made', data: { kind: 'service' } },
    }),
    'PATCH /v1/jobs/{name}': () => ({
      path: '/v1/jobs/patched',
      body: { env: { A: MARK }, secrets: { B: MARK } },
      before: () => makeJob('patched'),
      event: { type: 'job.changed', job: 'patched', data: { fields: ['env', 'secrets'], version: 2 } },
    }),
    'DELETE /v1/jobs/{name}': () => ({
      path: '/v1/jobs/deleted',
      before: () => makeJob('deleted'),
      event: { type: 'job.delete-requested', job: 'deleted' },
    }),
    'POST /v1/jobs/{name}/stop': () => ({
      path: '/v1/jobs/stopped/stop',
      before: () => makeJob('stopped'),
      event: { type: 'job.stop-requested', job: 'stopped' },
    }),
    'POST /v1/jobs/{name}/deployments': () => ({
      path: '/v1/jobs/deployed/deployments',
      body: { image: 'web:2', env: { A: MARK }, secrets: { B: MARK } },
      before: () => makeJob('deployed'),
      event: { type: 'deployment.created', job: 'deployed', deployment: 2, data: { image: 'web:2', trigger: 'api' } },
    }),
    'POST /v1/jobs/{name}/deployments/{number}/cancel': () => ({
      path: '/v1/jobs/cancelled/deployments/1/cancel',
      before: () => makeJob('cancelled'),
      event: { type: 'deployment.cancel-requested', job: 'cancelled', deployment: 1 },
    }),
    'POST /v1/jobs/{name}/rollback': () => ({
      path: '/v1/jobs/rolled-back/rollback',
      body: { to: 1 },
      before: async () => [await makeJob('rolled-back'), await serve('rolled-back')],
      event: { type: 'deployment.created', job: 'rolled-back', data: { trigger: 'rollback', copiedFrom: 1 } },
    }),
    'POST /v1/jobs/{name}/restart': () => ({
      path: '/v1/jobs/restarted/restart',
      before: async () => [await makeJob('restarted'), await serve('restarted')],
      event: { type: 'deployment.created', job: 'restarted', data: { trigger: 'restart', copiedFrom: 1 } },
    }),
    'POST /v1/jobs/{name}/start': () => ({
      path: '/v1/jobs/started/start',
      before: async () => [await makeJob('started'), await serve('started')],
      event: { type: 'deployment.created', job: 'started', data: { trigger: 'start', copiedFrom: 1 } },
    }),
    'POST /v1/jobs/{name}/adopt': () => ({
      path: '/v1/jobs/adopting/adopt',
      body: { instance: 'i-0aaaaaaaaaaaaaaaa' },
      before: async () => [await makeJob('adopting'), await quarantine('i-0aaaaaaaaaaaaaaaa')],
      event: {
        type: 'deployment.created',
        job: 'adopting',
        instance: 'i-0aaaaaaaaaaaaaaaa',
        data: { trigger: 'adopt' },
      },
    }),
    'POST /v1/instances/{id}/retire': () => ({
      path: '/v1/instances/i-0bbbbbbbbbbbbbbbb/retire',
      before: () => quarantine('i-0bbbbbbbbbbbbbbbb'),
      event: { type: 'instance.retiring', instance: 'i-0bbbbbbbbbbbbbbbb' },
    }),
    'PUT /v1/registries/{host}': () => ({
      path: '/v1/registries/registry.example.com',
      body: { username: MARK, password: MARK },
      event: { type: 'registry.set', data: { host: 'registry.example.com' } },
    }),
    'DELETE /v1/registries/{host}': () => ({
      path: '/v1/registries/old.example.com',
      before: () => api.request('PUT', '/v1/registries/old.example.com', { body: { username: 'u', password: MARK } }),
      event: { type: 'registry.deleted', data: { host: 'old.example.com' } },
    }),
    'POST /v1/tokens': () => ({
      path: '/v1/tokens',
      body: { name: 'made', role: 'viewer', scope: ['team-'] },
      event: { type: 'token.created', data: { name: 'made', role: 'viewer', scope: ['team-'] } },
    }),
    'DELETE /v1/tokens/{id}': () => ({
      path: `/v1/tokens/${revoked}`,
      event: { type: 'token.revoked', data: { token: revoked, name: 'revoked' } },
    }),
    'POST /v1/webhooks': () => ({
      path: '/v1/webhooks',
      body: { url: `https://example.com/${MARK}`, events: ['job.*'], jobs: ['team-'] },
      event: { type: 'webhook.created', data: { events: ['job.*'], jobs: ['team-'], enabled: true } },
    }),
    'PATCH /v1/webhooks/{id}': ofWebhook('webhook.changed', '', { url: `https://example.com/2/${MARK}` }),
    'POST /v1/webhooks/{id}/rotate-secret': ofWebhook('webhook.secret-rotated', '/rotate-secret'),
    'POST /v1/webhooks/{id}/ping': ofWebhook('webhook.pinged', '/ping'),
    'POST /v1/webhooks/{id}/deliveries/{deliveryId}/redeliver': ofWebhook(
      'webhook.redelivered',
      '/deliveries/{deliveryId}/redeliver',
    ),
    'DELETE /v1/webhooks/{id}': () => ({
      path: `/v1/webhooks/${webhook.spare}`,
      event: { type: 'webhook.deleted', data: { webhook: webhook.spare } },
    }),
  };

  /** Those of one request id, once as many have positions. */
  const eventsBy = async (requestId: string, count = 1): Promise<EventResponse[]> => {
    let found: EventResponse[] = [];
    await until(async () => {
      const { items } = (await api.request('GET', '/v1/events?order=newest&limit=20')).body as EventPage;
      found = items.filter(({ cause }) => cause.requestId === requestId).toReversed();
      return found.length >= count;
    }, 5_000);
    return found;
  };

  it('has an event of every changing call of the document: whose it was, and which request', async () => {
    revoked = (await makeToken('revoked')).id;
    webhook.id = await makeWebhook();
    webhook.spare = await makeWebhook();
    const pinged = await api.request('POST', `/v1/webhooks/${webhook.id}/ping`);
    webhook.delivery = (pinged.body as { id: string }).id;
    const { paths } = createDocument(api.app);
    const changing = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((method) => method !== 'get')
        .map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(Object.keys(recipes).toSorted()).toEqual(changing.toSorted());
    for (const route of changing) {
      const { path, body, before, event } = recipes[route]!();
      await before?.();
      const requestId = randomUUID();
      const headers = { authorization: `Bearer ${caller.token}`, 'x-request-id': requestId };
      const answer = await api.request(route.split(' ')[0]!, path, { headers, ...(body && { body }) });
      expect([route, answer.status >= 200 && answer.status < 300, answer.text]).toEqual([route, true, answer.text]);
      const events = await eventsBy(requestId);
      expect({ route, event: events[0] }).toMatchObject({ route, event: { actor: `token:${caller.id}`, ...event } });
      expect(events[0]?.cause).toMatchObject({ tokenName: 'auditor', ownRequestId: expect.stringMatching(UUID) });
    }
  }, 60_000);

  it('keeps an id of its own beside the one that a caller sent, which may be another’s', async () => {
    const headers = { 'x-request-id': 'everybodys' };
    for (const name of ['first-of-id', 'second-of-id'])
      await api.request('POST', '/v1/jobs', { headers, body: { name } });
    const own = (await eventsBy('everybodys', 2)).map(({ cause }) => cause.ownRequestId);
    expect(own).toEqual([expect.stringMatching(UUID), expect.stringMatching(UUID)]);
    expect(new Set(own).size).toBe(2);
    // Without one of the caller's there is one id only; ADMIN_TOKEN has no name.
    const made = await api.request('POST', '/v1/jobs', { body: { name: 'third-of-id' } });
    const [event] = await eventsBy(made.headers.get('x-request-id') ?? '');
    expect(event).toMatchObject({ actor: 'admin', cause: { requestId: expect.stringMatching(UUID) } });
    expect(event?.cause).not.toHaveProperty('ownRequestId');
    expect(event?.cause).not.toHaveProperty('tokenName');
  });

  it('tells no value of a variable, secret, password or token', async () => {
    const rows = await test.database.query<{ event: string }>('SELECT events::text AS event FROM events');
    const told = rows.map(({ event }) => event).join('\n');
    expect(rows.length).toBeGreaterThan(20);
    expect([told.includes(MARK), told.includes(caller.token), told.includes(ADMIN_TOKEN)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('has none of a call that was refused, replayed, or found nothing to change', async () => {
    const count = async () => (await test.database.query('SELECT 1 FROM events')).length;
    const key = { 'idempotency-key': 'once' };
    await api.request('POST', '/v1/jobs', { headers: key, body: { name: 'once' } });
    await api.request('DELETE', `/v1/tokens/${revoked}`);
    const before = await count();
    const statuses = [
      await api.request('POST', '/v1/jobs', { headers: key, body: { name: 'once' } }),
      await api.request('DELETE', `/v1/tokens/${revoked}`),
      await api.request('POST', '/v1/jobs', { body: { name: 'once' } }),
      await api.request('POST', '/v1/jobs', { body: { name: 'No' } }),
      await api.request('PATCH', '/v1/jobs/once', { headers: { 'if-match': '"9"' }, body: {} }),
      await api.request('POST', '/v1/jobs/none/stop'),
      await api.request('POST', '/v1/jobs', { headers: { authorization: 'Bearer no' }, body: { name: 'two' } }),
      await api.request('POST', '/v1/instances/i-0cccccccccccccccc/retire'),
    ].map(({ status }) => status);
    expect(statuses).toEqual([201, 200, 409, 422, 412, 404, 401, 404]);
    expect(await count()).toBe(before);
  });
});
