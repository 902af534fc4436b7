import { Signals } from '../../src/database/signals.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';

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

  it('start their failures over when they are enabled again, and not by another change', async () => {
    const { webhook } = await create({});
    const path = `/v1/webhooks/${webhook.id}`;
    const since = new Date('2026-01-01T00:00:00Z');
    await test.database.query(
      `UPDATE webhooks SET enabled = false, disabled_reason = 'failing', failing_since = $2 WHERE id = $1`,
      [webhook.id, since],
    );
    const failing = { enabled: false, disabledReason: 'failing', failingSince: since.toISOString() };
    expect((await api.request('PATCH', path, { body: { description: 'x' } })).body).toMatchObject(failing);
    expect((await api.request('PATCH', path, { body: { enabled: false } })).body).toMatchObject(failing);
    const well = { enabled: true, disabledReason: null, failingSince: null };
    expect((await api.request('PATCH', path, { body: { enabled: true } })).body).toMatchObject(well);
    expect((await api.request('GET', path)).body).toMatchObject(well);
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
    ['a byte Postgres knows no text with', { url: 'https://example.com/\0' }, '#/url'],
    ['a line break', { url: 'https://exa\nmple.com/' }, '#/url'],
    ['an event there is none of', { events: ['deployment.actve'] }, '#/events/0'],
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

  it('tell what only admins may read as long as only admins had a hand in them', async () => {
    const deployer = await tokenOf('deployer');
    const ofDeployer = (await create({}, deployer)).webhook;
    const narrow = (await create({ jobs: ['web'] })).webhook;
    const patch = (id: string, body: object, token = ADMIN_TOKEN) =>
      api.request('PATCH', `/v1/webhooks/${id}`, { body, headers: auth(token) });
    const tellsAll = async (id: string) => {
      const sql = 'SELECT is_for_admins FROM webhooks WHERE id = $1';
      return (await test.database.query<{ is_for_admins: boolean }>(sql, [id]))[0]!.is_for_admins;
    };
    expect((await patch(ofDeployer.id, { description: 'x' })).status).toBe(200);
    expect(await tellsAll(ofDeployer.id)).toBe(false);
    expect(await tellsAll(narrow.id)).toBe(true);
    expect((await patch(narrow.id, { jobs: null }, deployer)).status).toBe(200);
    expect(await tellsAll(narrow.id)).toBe(false);
    expect((await patch(narrow.id, { url: `${URL_OUT}/2` }, deployer)).status).toBe(200);
  });

  it.each(['x', '%00', '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11'])('have no delivery %s', async (id) => {
    const { webhook } = await create({});
    const path = `/v1/webhooks/${webhook.id}/deliveries/${id}`;
    const body = { type: '/problems/delivery-not-found' };
    expect(await api.request('GET', path)).toMatchObject({ status: 404, body });
    expect(await api.request('POST', `${path}/redeliver`)).toMatchObject({ status: 404, body });
  });

  describe('that an admin narrowed', () => {
    /** Of the time when it was for everything, all pending, and one of the team's own job. */
    const TOLD = [
      ['token.created', null],
      ['instance.launched', null],
      ['deployment.active', 'team-b-web'],
      ['deployment.active', 'team-a-web'],
      ['webhook.ping', null],
    ] as const;
    type Delivery = { id: string; type: string; job: string | null; status: string };
    let id: string;
    let path: string;
    beforeEach(async () => {
      id = (await create({})).webhook.id;
      path = `/v1/webhooks/${id}`;
      for (const [type, job] of TOLD) {
        await test.database.query(
          `INSERT INTO webhook_deliveries (id, webhook_id, type, job, body) VALUES (gen_random_uuid(), $1, $2, $3, '{}')`,
          [id, type, job],
        );
      }
    });
    const deliveriesOf = async (token: string) =>
      ((await api.request('GET', `${path}/deliveries`, { headers: auth(token) })).body as { items: Delivery[] }).items;
    const namesOf = (deliveries: readonly Delivery[]) =>
      deliveries.map(({ type, job }) => `${type} ${job ?? '-'}`).toSorted();

    it('show the team that has them now its own deliveries, and none of before', async () => {
      const all = await deliveriesOf(ADMIN_TOKEN);
      expect(all).toHaveLength(5);
      await api.request('PATCH', path, { body: { jobs: ['team-a-'] } });
      const team = await tokenOf('deployer', ['team-a-']);
      expect(namesOf(await deliveriesOf(team))).toEqual(['deployment.active team-a-web', 'webhook.ping -']);
      let notified = 0;
      const leave = api.app.get(Signals, { strict: false }).on('webhooks', () => (notified += 1));
      const deployer = await tokenOf('deployer');
      expect(namesOf(await deliveriesOf(deployer))).toEqual(
        namesOf(all.filter(({ type }) => type !== 'token.created')),
      );
      for (const delivery of all) {
        const isOwn = delivery.job === 'team-a-web' || delivery.type === 'webhook.ping';
        const headers = auth(team);
        const read = await api.request('GET', `${path}/deliveries/${delivery.id}`, { headers });
        expect([delivery.type, read.status]).toEqual([delivery.type, isOwn ? 200 : 404]);
        const before = notified;
        const again = await api.request('POST', `${path}/deliveries/${delivery.id}/redeliver`, { headers });
        expect([delivery.type, again.status]).toEqual([delivery.type, isOwn ? 202 : 404]);
        // It does not wait for the next look.
        expect(notified - before).toBe(isOwn ? 1 : 0);
        // An admin sees them all; but who receives them now is not an admin.
        const byAdmin = await api.request('POST', `${path}/deliveries/${delivery.id}/redeliver`);
        expect([delivery.type, byAdmin.status]).toEqual([delivery.type, isOwn ? 202 : 409]);
      }
      leave();
    });

    it('send what is under way to nobody else: the team may have named another URL', async () => {
      await api.request('PATCH', path, { body: { jobs: ['team-a-'] } });
      const headers = auth(await tokenOf('deployer', ['team-a-']));
      const moved = await api.request('PATCH', path, { body: { url: 'https://evil.example/in' }, headers });
      expect(moved.status).toBe(200);
      const pending = (await deliveriesOf(ADMIN_TOKEN)).filter(({ status }) => status === 'pending');
      expect(namesOf(pending)).toEqual(['deployment.active team-a-web', 'webhook.ping -']);
    });

    it('keep what only admins may read from deployers who change them', async () => {
      await api.request('PATCH', path, { body: { jobs: ['team-a-', 'team-b-'] } });
      const headers = auth(await tokenOf('deployer'));
      await api.request('PATCH', path, { body: { jobs: null }, headers });
      await api.request('PATCH', path, { body: { url: 'https://evil.example/in' }, headers });
      const pending = (await deliveriesOf(ADMIN_TOKEN)).filter(({ status }) => status === 'pending');
      expect(namesOf(pending)).not.toContain('token.created -');
    });
  });

  it('may be ten of a scope, unless its token says otherwise, and leave the others theirs', async () => {
    const make = async (count: number, token: string, jobs?: string[]) => {
      const made = await Promise.all(Array.from({ length: count }, () => create({ jobs }, token)));
      return made.map(({ status }) => status).toSorted();
    };
    const limited = async (scope: string[], maxWebhooks?: number) => {
      const body = { name: 't', role: 'deployer', scope, maxJobs: 0, maxWebhooks };
      return ((await api.request('POST', '/v1/tokens', { body })).body as { token: string }).token;
    };
    const greedy = await limited(['greedy-']);
    expect(await make(14, greedy)).toEqual([...Array<number>(10).fill(201), ...Array<number>(4).fill(409)]);
    expect(await make(1, await limited(['greedy-x-']), ['greedy-x-'])).toEqual([201]);
    expect(await make(1, await limited(['greedy-'], 12))).toEqual([201]);
    expect(await make(1, await limited(['none-'], 0))).toEqual([409]);
    expect(await make(1, await limited(['other-']))).toEqual([201]);
    const refused = await create({}, greedy);
    expect(refused.body).toMatchObject({
      type: '/problems/webhook-limit-reached',
      detail: 'There may be 10 webhooks for jobs whose names begin with greedy-: delete one.',
    });
  });

  it('may be ten of a scope also when they are made at once: no two take the last place', async () => {
    const body = { name: 't', role: 'deployer', scope: ['few-'], maxJobs: 0, maxWebhooks: 1 };
    const { token } = (await api.request('POST', '/v1/tokens', { body })).body as { token: string };
    const made = await test.database.transaction(async (transaction) => {
      // What has counted cannot insert.
      await transaction.query('LOCK TABLE webhooks IN SHARE MODE');
      const both = [create({}, token), create({}, token)];
      await blockedOnLock(test.database, 2);
      return both;
    });
    expect((await Promise.all(made)).map(({ status }) => status).toSorted()).toEqual([201, 409]);
  });

  it('are pinged ten times a minute at most', async () => {
    const { webhook } = await create({});
    const ping = () => api.request('POST', `/v1/webhooks/${webhook.id}/ping`);
    for (let count = 0; count < 10; count += 1) expect((await ping()).status).toBe(202);
    const refused = await ping();
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60']);
  });

  it('are not there for a ping that met their deletion', async () => {
    const { webhook } = await create({});
    let ping: Promise<{ status: number }> | undefined;
    await test.database.transaction(async (transaction) => {
      await transaction.query('DELETE FROM webhooks WHERE id = $1', [webhook.id]);
      ping = api.request('POST', `/v1/webhooks/${webhook.id}/ping`);
      await blockedOnLock(test.database);
    });
    expect(await ping).toMatchObject({ status: 404, body: { type: '/problems/webhook-not-found' } });
  });

  it('may be a hundred', async () => {
    await test.database.query(
      `INSERT INTO webhooks (id, url, description, events, sealed, created_by, is_for_admins)
       SELECT gen_random_uuid(), '', '', '{*}', '', '', false FROM generate_series(1, 99)`,
    );
    expect((await create({})).status).toBe(201);
    const detail = 'There may be 100 webhooks in this cluster: delete one.';
    for (const token of [ADMIN_TOKEN, await tokenOf('deployer', ['team-a-'])]) {
      const refused = await create({}, token);
      expect(refused).toMatchObject({ status: 409, body: { type: '/problems/webhook-limit-reached', detail } });
    }
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
