import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { type Received, type Receiver, startReceiver } from '../support/receiver.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

type Webhook = { id: string; secret: string };
type Delivery = { id: string; status: string; attempts: number; fault: string | null; answerStatus: number | null };
type Verify = (secret: string, headers: object, body: string) => boolean;

/** The program as users run it, with receivers on loopback, which is opened for them. */
describe('webhooks reach their receivers', () => {
  let verify: Verify;
  let stack: Stack;
  let receiver: Receiver;
  beforeAll(async () => {
    verify = await documentedVerify();
  });
  beforeEach(async () => {
    receiver = await startReceiver();
  });
  afterEach(async () => {
    await stack.stop();
    await receiver.close();
  }, 60_000);

  const start = async (replicas = 1): Promise<void> => {
    const env = { WEBHOOKS_ALLOWED_NETWORKS: '127.0.0.1' };
    stack = await startStack({ runtime: createSimulatedRuntime(), replicas, env });
  };
  /** By itself it gets pings only: no test that does not say so makes what it waits for. */
  const create = (body: object = {}) =>
    stack.call<Webhook>('POST', '/v1/webhooks', { url: receiver.url, events: ['instance.gone'], ...body });
  const deliveries = async ({ id }: Webhook) => {
    const { items } = await stack.call<{ items: Delivery[] }>('GET', `/v1/webhooks/${id}/deliveries?limit=200`);
    return items;
  };
  const settled = async (webhook: Webhook): Promise<Delivery[]> => {
    await until(async () => (await deliveries(webhook)).every(({ status }) => status !== 'pending'));
    return await deliveries(webhook);
  };
  const makeDue = () => stack.query(`UPDATE scheduler_queue.job SET start_after = now() WHERE state < 'active'`);

  it('with events of a deployment’s life, as they are read, signed as documented', async () => {
    await start();
    const webhook = await create({ events: ['job.*', 'deployment.*'] });
    await stack.call('POST', '/v1/jobs', { name: 'web', image: 'hello-web:1', rollout: { stableSeconds: 0 } });
    const seen = (type: string) => receiver.received.some(({ body }) => body.includes(`"${type}"`));
    await until(() => seen('deployment.active'));
    for (const { headers, body } of receiver.received) {
      expect(verify(webhook.secret, headers, body)).toBe(true);
      expect(verify(webhook.secret, headers, `${body} `)).toBe(false);
      expect(verify(webhook.secret, { ...headers, 'webhook-id': 'x' }, body)).toBe(false);
      expect(verify(`whsec_${Buffer.alloc(32).toString('base64')}`, headers, body)).toBe(false);
      expect(verify(webhook.secret, { ...headers, 'webhook-timestamp': '1' }, body)).toBe(false);
    }
    const active = receiver.received.map(({ body }) => JSON.parse(body) as { type: string; position: number });
    const { position } = active.find(({ type }) => type === 'deployment.active')!;
    const [row] = await stack.query<{ type: string }>('SELECT type FROM events WHERE position = $1', [position]);
    expect(row).toEqual({ type: 'deployment.active' });
    expect((await settled(webhook)).map(({ status, answerStatus }) => [status, answerStatus])).toEqual(
      receiver.received.map(() => ['delivered', 204]),
    );
  }, 90_000);

  it('after failures, a killed process and a time without any', async () => {
    await start();
    const webhook = await create();
    const ping = `/v1/webhooks/${webhook.id}/ping`;
    receiver.answer((_request, nth) => (nth === 1 ? 500 : nth === 2 ? 'never' : 204));
    const first = await stack.call<Delivery>('POST', ping);
    await until(async () => (await deliveries(webhook))[0]?.attempts === 1);
    expect(await deliveries(webhook)).toMatchObject([
      { id: first.id, status: 'pending', fault: 'answered', answerStatus: 500 },
    ]);
    await makeDue();
    await receiver.until(2);
    // In the middle of its second try. Of what another one was asked for meanwhile, nobody has begun.
    await stack.kill(0);
    await stack.query(
      `INSERT INTO webhook_deliveries (id, webhook_id, type, body) VALUES (gen_random_uuid(), $1, 'x', '{}')`,
      [webhook.id],
    );
    // A minute later.
    await stack.query(`UPDATE scheduler_queue.job SET started_on = started_on - interval '1 min'`);
    await stack.query('UPDATE scheduler_queue.queue SET monitor_on = NULL, monitor_claim_on = NULL');
    await stack.restart(0);
    await until(async () => {
      await makeDue();
      return (await deliveries(webhook)).every(({ status }) => status === 'delivered');
    });
    expect(receiver.received.map(({ id }) => id).filter((id) => id === first.id)).toHaveLength(3);
    expect(receiver.received).toHaveLength(4);
    expect(new Set(receiver.received.map(({ id, body }) => id + body)).size).toBe(2);
  }, 120_000);

  it('to the end of the try when the process is told to stop', async () => {
    await start();
    const webhook = await create();
    const { promise: isAnswering, resolve: answer } = Promise.withResolvers<undefined>();
    receiver.answer(() => isAnswering.then(() => 200));
    await stack.call('POST', `/v1/webhooks/${webhook.id}/ping`);
    await receiver.until(1);
    const ended = stack.kill(0, 'SIGTERM');
    await until(() => stack.logs().includes('shutting down'));
    answer(undefined);
    await ended;
    const rows = await stack.query('SELECT status, attempts FROM webhook_deliveries');
    expect(rows).toEqual([{ status: 'delivered', attempts: 1 }]);
  }, 60_000);

  it('with both secrets while one is replaced, and once more when they ask for it', async () => {
    await start();
    const webhook = await create();
    const ping = `/v1/webhooks/${webhook.id}/ping`;
    const rotate = (body: object) => stack.call<Webhook>('POST', `/v1/webhooks/${webhook.id}/rotate-secret`, body);
    const second = await rotate({});
    const pinged = await stack.call<Delivery>('POST', ping);
    await receiver.until(1);
    const third = await rotate({ graceSeconds: 0 });
    await until(async () => (await deliveries(webhook))[0]?.status === 'delivered');
    const again = await stack.call<Delivery>('POST', `/v1/webhooks/${webhook.id}/deliveries/${pinged.id}/redeliver`);
    expect(again).toMatchObject({ id: pinged.id, status: 'pending' });
    await receiver.until(2);
    const [one, two] = receiver.received as [Received, Received];
    const secrets = [webhook, second, third].map(({ secret }) => secret);
    expect(secrets.map((secret) => verify(secret, one.headers, one.body))).toEqual([true, true, false]);
    expect(secrets.map((secret) => verify(secret, two.headers, two.body))).toEqual([false, false, true]);
    expect([two.id, two.body]).toEqual([one.id, one.body]);
  }, 60_000);

  it('once each, with two processes at it and requests at both', async () => {
    await start(2);
    const webhook = await create({ events: ['job.created'] });
    const names = Array.from({ length: 60 }, (_, n) => `job-${n}`);
    const creating = names.map((name, n) =>
      fetch(`${stack.urls[n % 2]}/v1/jobs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name }),
      }),
    );
    expect((await Promise.all(creating)).map(({ status }) => status)).toEqual(names.map(() => 201));
    await receiver.until(60);
    expect((await settled(webhook)).filter(({ status }) => status === 'delivered')).toHaveLength(60);
    const jobs = receiver.received.map(({ body }) => (JSON.parse(body) as { job: string }).job);
    expect(jobs.sort()).toEqual(names.sort());
  }, 60_000);

  it('but not those at addresses that are closed', async () => {
    await start();
    const inner = await startReceiver({ host: '127.0.0.2' });
    const refused = await stack.answer('POST', '/v1/webhooks', { url: inner.url });
    expect(refused).toMatchObject({ status: 422, problem: 'invalid-request' });
    // As if it had been opened once.
    const webhook = await create();
    await stack.query('UPDATE webhooks SET url = $1', [inner.url]);
    await stack.call('POST', `/v1/webhooks/${webhook.id}/ping`);
    await until(async () => (await deliveries(webhook))[0]?.fault === 'address-refused');
    receiver.answer(() => ({ status: 302, headers: { location: inner.url } }));
    await stack.call('PATCH', `/v1/webhooks/${webhook.id}`, { url: receiver.url });
    await makeDue();
    await until(async () => (await deliveries(webhook))[0]?.fault === 'redirected');
    expect(inner.received).toEqual([]);
    await inner.close();
  }, 60_000);
});

describe('a process told to use a proxy', () => {
  it('goes past it to a receiver, as nobody could check where a proxy connects to', async () => {
    await using receiver = await startReceiver();
    await using proxy = await startReceiver();
    const code = `
      const { createPost } = await import('./dist/webhooks/post.js');
      const { parseAllowed } = await import('./dist/webhooks/address-rules.js');
      const post = createPost({ allowed: parseAllowed(['127.0.0.1']), resolve: () => Promise.reject(new Error()) });
      const { get } = await import('node:http');
      const other = new Promise((done) => get('${receiver.url}', ({ statusCode }) => done(statusCode)));
      console.log(JSON.stringify([await post('${receiver.url}', {}, ''), await other]));
      process.exit();`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], {
      cwd: join(import.meta.dirname, '../..'),
      env: { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url },
      timeout: 20_000,
    });
    expect(JSON.parse(stdout)).toMatchObject([{ status: 204, fault: null }, 204]);
    // Whatever else this process sends does go there.
    expect([receiver.received.length, proxy.received.length]).toEqual([1, 1]);
  }, 30_000);
});

/** The function a reader of docs/webhooks.md copies. */
async function documentedVerify(): Promise<Verify> {
  const text = await readFile(join(import.meta.dirname, '../../docs/webhooks.md'), 'utf8');
  const code = /```js\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
  const module = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as { verify: Verify };
  return module.verify;
}
