import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { OrderPolls } from '../../src/agent/order-polls.ts';
import { Database } from '../../src/database/database.ts';
import { Signals } from '../../src/database/signals.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import {
  documentOf,
  insertAgent,
  insertLaunch,
  insertOrder,
  makeHex,
  makeInstanceId,
  makeSigner,
  signatureOf,
} from '../support/agents.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';
import { type DatabaseProxy, startDatabaseProxy } from '../support/database-proxy.ts';
import { until } from '../../local/until.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const signer = makeSigner();

describe('the agents’ endpoints', () => {
  let databaseUrl: string;
  let folder: string;
  let proxy: DatabaseProxy;
  let api: Api;
  let database: Database;
  let signals: Signals;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    folder = await mkdtemp(join(tmpdir(), 'scheduler-api-identity-'));
    await writeFile(join(folder, 'identity.pem'), signer.pem);
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
    await dropDatabase(databaseUrl);
  });
  beforeEach(async () => {
    proxy = await startDatabaseProxy(databaseUrl);
    api = await startApi({
      databaseUrl: proxy.url,
      env: {
        ADMIN_TOKEN,
        ROLE: 'api',
        AWS_ACCOUNT_ID: '123456789012',
        IDENTITY_CERTIFICATES: join(folder, 'identity.pem'),
      },
    });
    database = api.app.get(Database, { strict: false });
    signals = api.app.get(Signals, { strict: false });
  });
  afterEach(async () => {
    await api.close();
    await proxy.close();
  });

  it('take an agent from its registration to the answer of an order', async () => {
    const { launchId, secret } = await insertLaunch(database);
    const instanceId = makeInstanceId();
    const token = makeHex();
    expect(await register({ secret, token, instanceId })).toEqual({ status: 204 });
    // Whatever address the agent claims: programs call what stands there.
    expect(await database.query(`SELECT id, public_ip FROM instances WHERE launch_id = $1`, [launchId])).toEqual([
      { id: instanceId, public_ip: null },
    ]);

    const { jobId, attemptId } = await insertAgent(database);
    const body = { Image: 'nginx', Env: ['GREETING=hällo $(reboot)\n'] };
    await insertOrder(database, { instanceId, attemptId }, 1, {
      kind: 'docker',
      mode: 'background',
      method: 'POST',
      path: '/containers/create?name=job',
      body,
      timeoutSeconds: 60,
      maxBytes: 4096,
    });
    const order = await poll(token, 0);
    expect(order.status).toBe(200);
    expect(Object.fromEntries(order.headers)).toMatchObject({
      'order-number': '1',
      'order-kind': 'docker',
      'order-mode': 'background',
      'order-timeout': '60',
      'docker-method': 'POST',
      'docker-path': '/containers/create?name=job',
      'docker-max-bytes': '4096',
      'cache-control': 'no-store',
    });
    expect(await order.json()).toEqual(body);

    await database.query(`UPDATE jobs SET next_pass_at = NULL`);
    const answer = Buffer.from('{"Id":"abc\xff"}', 'latin1');
    expect((await result(token, 1, { 'result-status': '201' }, answer)).status).toBe(204);
    expect((await result(token, 1, { 'result-status': '500' }, answer)).status).toBe(204);
    expect(
      await database.query(`SELECT result_status, result_body FROM orders WHERE attempt_id = $1`, [attemptId]),
    ).toEqual([{ result_status: 201, result_body: answer }]);
    expect(await database.query(`SELECT id FROM jobs WHERE next_pass_at IS NOT NULL`)).toEqual([{ id: jobId }]);
  });

  it('take the same registration again, and no other', async () => {
    const { secret } = await insertLaunch(database);
    const first = { secret, token: makeHex(), instanceId: makeInstanceId() };
    expect(await register(first)).toEqual({ status: 204 });
    expect(await register(first)).toEqual({ status: 204 });
    expect(await register({ ...first, token: makeHex() })).toMatchObject({
      status: 409,
      body: { type: '/problems/already-registered' },
    });
    expect(await register({ ...first, instanceId: makeInstanceId(), token: makeHex() })).toMatchObject({ status: 403 });
    expect(await register({ ...first, signer: makeSigner() })).toMatchObject({
      status: 403,
      body: { type: '/problems/forbidden', detail: 'This registration is refused.' },
    });
  });

  it('name the field of a registration that is at fault', async () => {
    expect(await register({ secret: 'hello', token: makeHex(), instanceId: makeInstanceId() })).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '#/secret', detail: 'must be 64 lower-case hex characters' }] },
    });
  });

  it('bring an order to a parked poll at once', async () => {
    const agent = await insertAgent(database);
    const parked = poll(agent.token, 0);
    await untilParked();
    await insertOrder(database, agent, 1);
    const sentAt = performance.now();
    signals.ordersWritten([agent.instanceId]);
    const order = await parked;
    expect(order.headers.get('order-number')).toBe('1');
    expect(await order.text()).toBe('');
    // Far below the two seconds after which the net would have found it.
    expect(performance.now() - sentAt).toBeLessThan(1_000);
  });

  it('keep probe states', async () => {
    const agent = await insertAgent(database);
    await insertOrder(database, agent, 1, {
      kind: 'probe',
      url: 'http://127.0.0.1:80/',
      intervalSeconds: 5,
      timeoutSeconds: 3,
      retries: 3,
      startPeriodSeconds: 0,
    });
    for (const state of ['unhealthy', 'healthy']) {
      const headers = { 'result-status': '0', 'result-error': 'curl 7', 'probe-state': state };
      expect((await result(agent.token, 1, headers, Buffer.from('connection refused (curl 7)'))).status).toBe(204);
      const [order] = await database.query(`SELECT probe_state FROM orders WHERE instance_id = $1`, [agent.instanceId]);
      expect(order).toEqual({ probe_state: state });
    }
  });

  it('take an answer without a body', async () => {
    const agent = await insertAgent(database);
    await insertOrder(database, agent, 1);
    expect((await result(agent.token, 1, { 'result-status': '204' }, Buffer.alloc(0))).status).toBe(204);
    const [order] = await database.query(`SELECT result_body FROM orders WHERE instance_id = $1`, [agent.instanceId]);
    expect(order).toEqual({ result_body: Buffer.alloc(0) });
  });

  it('refuse what an agent cannot mean', async () => {
    const agent = await insertAgent(database);
    await insertOrder(database, agent, 1);
    const body = Buffer.from('x');
    expect((await poll(agent.token, -1)).status).toBe(400);
    expect((await result(agent.token, 2, { 'result-status': '200' }, body)).status).toBe(404);
    expect((await result(agent.token, 1, {}, body)).status).toBe(400);
    expect((await result(agent.token, 1, { 'result-status': '2x' }, body)).status).toBe(400);
    expect((await result(agent.token, 1, { 'result-status': '200' }, Buffer.alloc(1024 * 1024 + 1))).status).toBe(413);
    const typed = { 'result-status': '200', 'content-type': 'application/json' };
    expect((await result(agent.token, 1, typed, Buffer.from('{}'))).status).toBe(415);
    expect(await database.query(`SELECT answered_at FROM orders WHERE instance_id = $1`, [agent.instanceId])).toEqual([
      { answered_at: null },
    ]);
  });

  it.each([
    ['no token', undefined],
    ['the operator’s token', ADMIN_TOKEN],
    ['a token of nobody', makeHex()],
  ])('are closed to %s', async (_what, token) => {
    for (const { status, headers } of [await poll(token, 0), await result(token, 1, { 'result-status': '200' })]) {
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toBe('Bearer');
    }
  });

  it('take in so many uploads of an instance at once, whatever it opens, and others go on', async () => {
    const hostile = await insertAgent(database);
    await insertOrder(database, hostile, 9, { kind: 'logs', follow: true, timeoutSeconds: 30 });
    const other = await insertAgent(database);
    const { hostname, port } = new URL(api.url);
    const statuses: string[] = [];
    const sockets = Array.from({ length: 200 }, () => {
      const socket = connect(Number(port), hostname).on('error', () => undefined);
      socket.on('data', (answer: Buffer) => statuses.push(answer.toString()));
      const head = [`authorization: Bearer ${hostile.token}`, 'transfer-encoding: chunked'];
      const type = 'content-type: application/vnd.docker.multiplexed-stream';
      socket.write(['POST /agent/v1/orders/9/logs?since=0 HTTP/1.1', 'host: api', ...head, type, '', ''].join('\r\n'));
      return socket;
    });
    try {
      await until(() => statuses.length === 196);
      expect(statuses.every((answer) => /^HTTP\/1.1 429 .*\r\nretry-after: 1\r\n/s.test(answer))).toBe(true);
      const answer = poll(other.token, 0);
      await insertOrder(database, other, 1);
      signals.ordersWritten([other.instanceId]);
      expect((await answer).status).toBe(200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  it('give their tokens no right to anything else', async () => {
    const { token } = await insertAgent(database);
    const authorization = `Bearer ${token}`;
    expect((await api.request('GET', '/v1/jobs', { headers: { authorization } })).status).toBe(401);
  });

  it('tell a retired instance so', async () => {
    const { instanceId, token } = await insertAgent(database);
    await database.query(`UPDATE instances SET retire_reason = 'idle' WHERE id = $1`, [instanceId]);
    expect((await poll(token, 0)).status).toBe(410);
    expect((await result(token, 1, { 'result-status': '200' })).status).toBe(410);
  });

  it('forget a poll whose agent hung up', async () => {
    const { token } = await insertAgent(database);
    const abort = new AbortController();
    const parked = poll(token, 0, abort.signal).catch(() => undefined);
    await untilParked();
    const abortedAt = performance.now();
    abort.abort();
    await parked;
    await untilParked(0);
    // Its time is over after 25 s in any case.
    expect(performance.now() - abortedAt).toBeLessThan(20_000);
  });

  it('answer parked polls when a shutdown begins, and refuse later ones', async () => {
    const { token } = await insertAgent(database);
    const parked = poll(token, 0);
    await untilParked();
    api.app.get(Shutdown).begin();
    expect((await parked).status).toBe(204);
    const late = await poll(token, 0);
    expect(late.status).toBe(503);
    expect(late.headers.get('connection')).toBe('close');
  });

  it('write down at the end who was seen', async () => {
    const { instanceId, token } = await insertAgent(database);
    const parked = poll(token, 0);
    await untilParked();
    api.app.get(Shutdown).begin();
    await parked;
    const seen = `SELECT last_seen_at IS NOT NULL AS is_seen FROM instances WHERE id = $1`;
    expect(await database.query(seen, [instanceId])).toEqual([{ is_seen: false }]);
    await api.close();
    api = await startApi({ databaseUrl, env: { ROLE: 'api', AWS_ACCOUNT_ID: '123456789012' } });
    database = api.app.get(Database, { strict: false });
    expect(await database.query(seen, [instanceId])).toEqual([{ is_seen: true }]);
  });

  it('say 503 and never 401 while Postgres is away', async () => {
    const [known, unknown] = [await insertAgent(database), await insertAgent(database)];
    const { secret } = await insertLaunch(database);
    const parked = poll(known.token, 0);
    await untilParked();
    proxy.cut();
    expect((await poll(unknown.token, 0)).status).toBe(503);
    expect((await result(known.token, 1, { 'result-status': '200' })).status).toBe(503);
    expect(await register({ secret, token: makeHex(), instanceId: makeInstanceId() })).toMatchObject({ status: 503 });
    // This one is known by heart, but nobody can look for its orders.
    expect((await poll(known.token, 0)).status).toBe(503);
    // Ended by the poll above, or refused if its own look was still under way.
    expect([204, 503]).toContain((await parked).status);
    proxy.mend();
    const back = poll(unknown.token, 0);
    await untilParked();
    await insertOrder(database, unknown, 1);
    expect((await back).status).toBe(200);
  });

  it('are no part of the public documentation', async () => {
    const { text } = await api.request('GET', '/docs/openapi.json');
    expect(text).not.toContain('/agent/');
  });

  type Registration = { secret: string; token: string; instanceId: string; signer?: ReturnType<typeof makeSigner> };

  async function register({ secret, token, instanceId, signer: by = signer }: Registration) {
    const document = documentOf({ instanceId });
    const signature = `${signatureOf(document, by.privateKey)}\n`;
    const form = new URLSearchParams({ document, signature, secret, token, agent: '1', publicIp: '169.254.169.254' });
    const response = await fetch(`${api.url}/agent/v1/register`, { method: 'POST', body: form });
    const text = await response.text();
    return { status: response.status, ...(text !== '' && { body: JSON.parse(text) as unknown }) };
  }

  async function poll(token: string | undefined, after: number, signal?: AbortSignal): Promise<Response> {
    return await fetch(`${api.url}/agent/v1/orders?after=${after}`, {
      headers: bearer(token),
      ...(signal && { signal }),
    });
  }

  async function result(
    token: string | undefined,
    number: number,
    headers: Record<string, string>,
    body = Buffer.from('answer'),
  ): Promise<Response> {
    return await fetch(`${api.url}/agent/v1/orders/${number}/result`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...bearer(token), ...headers },
      body,
    });
  }

  function bearer(token: string | undefined): Record<string, string> {
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  async function untilParked(count = 1): Promise<void> {
    const polls = api.app.get(OrderPolls, { strict: false });
    await until(() => polls.parkedCount === count);
  }
});
