import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const ADMIN_TOKEN = 'the-operators-own-token';
const URL_OUT = 'https://example.com/hooks';

type Webhook = { id: string; secret: string; jobs: string[] | null; enabled: boolean };

describe('webhooks', () => {
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
  afterEach(() => test.database.query('TRUNCATE webhooks CASCADE'));

  const create = async (body: object, token = ADMIN_TOKEN) => {
    const made = await api.request('POST', '/v1/webhooks', { body: { url: URL_OUT, ...body }, headers: auth(token) });
    return { ...made, webhook: made.body as Webhook };
  };
  const auth = (token: string) => ({ authorization: `Bearer ${token}` });
  const tokenOf = async (role: string, scope: string[] | null = null) => {
    const made = await api.request('POST', '/v1/tokens', { body: { name: 't', role, scope } });
    return (made.body as { token: string }).token;
  };

  it('are made with a secret that is shown once, read, changed and deleted', async () => {
    const made = await create({ events: ['deployment.*', 'job.deleted'], description: 'chat' });
    const path = `/v1/webhooks/${made.webhook.id}`;
    expect(made).toMatchObject({ status: 201, body: { secret: expect.stringMatching(/^whsec_/), enabled: true } });
    expect(made.headers.get('location')).toBe(path);
    expect(made.headers.get('cache-control')).toBe('no-store');

    const read = await api.request('GET', path);
    expect({ ...(read.body as Webhook), secret: made.webhook.secret }).toEqual(made.webhook);
    expect(read.text).not.toContain('secret":');
    const etag = read.headers.get('etag') ?? '';
    expect(etag).toBe(made.headers.get('etag'));

    const headers = { 'if-match': etag };
    const body = { enabled: false, jobs: ['web'] };
    const changed = await api.request('PATCH', path, { body, headers });
    expect(changed).toMatchObject({ status: 200, body: { ...body, description: 'chat', url: URL_OUT } });
    expect(await api.request('PATCH', path, { body, headers })).toMatchObject({ status: 412 });
    expect(await api.request('DELETE', path, { headers })).toMatchObject({ status: 412 });
    expect(await api.request('DELETE', path)).toMatchObject({ status: 200, body: { id: made.webhook.id } });
    expect(await api.request('GET', path)).toMatchObject({
      status: 404,
      body: { type: '/problems/webhook-not-found' },
    });
  });

  it('leave events of what was done to them, without their URL and secret', async () => {
    const { webhook } = await create({ url: `${URL_OUT}?key=hush` });
    const path = `/v1/webhooks/${webhook.id}`;
    await api.request('PATCH', path, { body: { description: 'x' } });
    const rotated = await api.request('POST', `${path}/rotate-secret`);
    await api.request('DELETE', path);
    const events = await test.database.query<{ type: string; actor: string }>(
      `SELECT type, actor, data FROM events WHERE data->>'webhook' = $1 ORDER BY id`,
      [webhook.id],
    );
    expect(events.map(({ type, actor }) => `${type} ${actor}`)).toEqual([
      'webhook.created admin',
      'webhook.changed admin',
      'webhook.secret-rotated admin',
      'webhook.deleted admin',
    ]);
    const text = JSON.stringify(events);
    for (const secret of ['hush', webhook.secret, (rotated.body as Webhook).secret]) expect(text).not.toContain(secret);
  });

  it('are listed newest first, page by page', async () => {
    for (const description of ['a', 'b', 'c', 'd', 'e']) await create({ description });
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await api.request('GET', `/v1/webhooks?limit=2${cursor && `&cursor=${cursor}`}`);
      const page = body as { items: { description: string }[]; nextCursor: string | null };
      seen.push(...page.items.map(({ description }) => description));
      cursor = page.nextCursor;
    }
    expect(seen).toEqual(['e', 'd', 'c', 'b', 'a']);
  });

  it.each([
    ['no URL', { url: undefined }, '#/url'],
    ['a loopback address', { url: 'https://127.1/' }, '#/url'],
    ['EC2’s metadata', { url: 'https://169.254.169.254/latest' }, '#/url'],
    ['a mapped address', { url: 'https://[::ffff:10.0.0.1]/' }, '#/url'],
    ['plain HTTP', { url: 'http://example.com/' }, '#/url'],
    ['a password', { url: 'https://a:b@example.com/' }, '#/url'],
    ['no events', { events: [] }, '#/events'],
    ['no type', { events: ['*', 'Deployment'] }, '#/events/1'],
    ['no name', { jobs: ['Web'] }, '#/jobs/0'],
    ['more', { secret: 'x' }, '#/secret'],
  ])('with %s are refused', async (_what, body, pointer) => {
    expect(await create(body)).toMatchObject({ status: 422, body: { errors: [{ pointer }] } });
  });

  it('are for deployers, each within its scope, and those of admins for admins', async () => {
    const [viewer, deployer, team] = [
      await tokenOf('viewer'),
      await tokenOf('deployer'),
      await tokenOf('deployer', ['team-a-', 'shared-']),
    ];
    expect((await create({}, viewer)).status).toBe(403);
    const ofAdmin = (await create({})).webhook;
    const ofDeployer = (await create({}, deployer)).webhook;
    const ofTeam = (await create({}, team)).webhook;
    expect([ofAdmin.jobs, ofDeployer.jobs, ofTeam.jobs]).toEqual([null, null, ['team-a-', 'shared-']]);

    expect(await create({ jobs: ['team-a-web'] }, team)).toMatchObject({ status: 201 });
    for (const jobs of [null, ['team-'], ['team-a-', 'team-b-']]) {
      expect(await create({ jobs }, team)).toMatchObject({ status: 403, body: { errors: [{ detail: /scope/ }] } });
      const headers = auth(team);
      expect(await api.request('PATCH', `/v1/webhooks/${ofTeam.id}`, { body: { jobs }, headers })).toMatchObject({
        status: 403,
      });
    }
    const seenBy = async (token: string) => {
      const { body } = await api.request('GET', '/v1/webhooks', { headers: auth(token) });
      return (body as { items: Webhook[] }).items.map(({ id }) => id);
    };
    expect(await seenBy(ADMIN_TOKEN)).toHaveLength(4);
    expect(await seenBy(deployer)).toHaveLength(3);
    expect(await seenBy(deployer)).not.toContain(ofAdmin.id);
    expect(await seenBy(team)).toHaveLength(2);
    for (const [method, rest] of [
      ['GET', ''],
      ['PATCH', ''],
      ['DELETE', ''],
      ['POST', '/rotate-secret'],
      ['POST', '/ping'],
      ['GET', '/deliveries'],
    ] as const) {
      for (const id of [ofAdmin.id, ofDeployer.id, 'x', '%00']) {
        const body = method === 'PATCH' ? { enabled: true } : undefined;
        const answer = await api.request(method, `/v1/webhooks/${id}${rest}`, { body, headers: auth(team) });
        expect([method, rest, id, answer.status]).toEqual([method, rest, id, 404]);
      }
    }
  });

  it('may be a hundred', async () => {
    await test.database.query(
      `INSERT INTO webhooks (id, url, description, events, sealed, created_by, is_for_admins)
       SELECT gen_random_uuid(), '', '', '{*}', '', '', false FROM generate_series(1, 99)`,
    );
    expect((await create({})).status).toBe(201);
    expect(await create({})).toMatchObject({ status: 409, body: { type: '/problems/webhook-limit-reached' } });
  });

  it('are pinged while they are enabled, and the same request with a key makes one delivery', async () => {
    const { webhook } = await create({});
    const ping = `/v1/webhooks/${webhook.id}/ping`;
    const headers = { 'idempotency-key': 'once' };
    const [first, again] = [await api.request('POST', ping, { headers }), await api.request('POST', ping, { headers })];
    expect(first).toMatchObject({ status: 202, body: { type: 'webhook.ping', status: 'pending', attempts: 0 } });
    expect(again.body).toEqual(first.body);
    expect((await api.request('GET', first.headers.get('location') ?? '')).body).toEqual(first.body);
    await api.request('PATCH', `/v1/webhooks/${webhook.id}`, { body: { enabled: false } });
    expect(await api.request('POST', ping)).toMatchObject({
      status: 409,
      body: { type: '/problems/webhook-disabled' },
    });
    const { body } = await api.request('GET', `/v1/webhooks/${webhook.id}/deliveries`);
    expect(body).toMatchObject({ items: [{ status: 'cancelled' }], nextCursor: null });
  });

  it('keep their secrets sealed, the one before as long as it signs', async () => {
    const { webhook } = await create({});
    const path = `/v1/webhooks/${webhook.id}/rotate-secret`;
    const rotated = await api.request('POST', path, { body: { graceSeconds: 3600 } });
    expect(rotated).toMatchObject({ status: 200, body: { id: webhook.id, secret: expect.stringMatching(/^whsec_/) } });
    expect((rotated.body as Webhook).secret).not.toBe(webhook.secret);
    const { previousSecretUntil } = rotated.body as { previousSecretUntil: string };
    expect(Date.parse(previousSecretUntil) - Date.now()).toBeGreaterThan(3_590_000);
    expect(await api.request('POST', path, { body: { graceSeconds: 0 } })).toMatchObject({
      status: 200,
      body: { previousSecretUntil: null },
    });
    expect(await api.request('POST', path, { body: { graceSeconds: 604_801 } })).toMatchObject({ status: 422 });
  });
});
