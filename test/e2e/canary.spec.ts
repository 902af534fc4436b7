import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { findMarks, type Mark, markOf } from '../support/canary.ts';
import { WEB } from '../support/lifecycle.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { unpackUserData } from '../support/user-data.ts';
import { until } from '../../local/until.ts';

// Quotes and the like, so that each way of writing it down is another text.
const SECRET = 'canary-one "é\\/ +?&=%~ 4f1c9a7e';
const OWN_SECRET = 'canary-own "é\\/ +?&=%~ 81d05b3c';
const PATCHED_SECRET = 'canary-two "é\\/ +?&=%~ c2e6f894';
const PASSWORD = 'canary-registry "é\\/ +?&=%~ 97be20d4';
const ADMIN_TOKEN = 'canary-admin-5e8d3b6f0a2c';
/** Not secret: to be found where secrets would be, or this test looks at nothing. */
const OPEN = 'canary-open "é\\/ +?&=%~ 6a3d07c1';

type Document = { paths: Record<string, Record<string, object>> };
type Sent = { method: string; path: string; body?: unknown; token?: string; headers?: Record<string, string> };
/** `open`: columns in which the text is that may be there; `rows`: how many there are, by table. */
type Dump = { readonly leaks: string[]; readonly open: string[]; readonly rows: ReadonlyMap<string, number> };
type Seen = { readonly what: string; readonly text: string };

/** Everything that may tell a secret, and all routes of the document. */
describe('marked secrets', () => {
  let stack: Stack;
  let receiver: Receiver;
  let marks: Mark[];
  const open = markOf('open', OPEN);
  const seen: Seen[] = [];
  const routes = new Set<string>();
  const dumps: Dump[] = [];
  let greetings: string[] = [];

  beforeAll(async () => {
    receiver = await startReceiver();
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      env: { ADMIN_TOKEN, LOG_LEVEL: 'debug', WEBHOOKS_ALLOWED_NETWORKS: '127.0.0.1' },
    });
    marks = [
      markOf('secret', SECRET),
      markOf('secret of a deployment', OWN_SECRET),
      markOf('patched secret', PATCHED_SECRET),
      markOf('password of a registry', PASSWORD),
      markOf('ADMIN_TOKEN', ADMIN_TOKEN),
      markOf('token of ECR', stack.cloud.ecrPassword),
    ];
    // From the beginning, so that it is sent every event there is.
    const webhook = await makeWebhook();
    greetings = await liveAndHeal();
    await pullFromEcr();
    await walkWebhook(webhook);
    await walkEveryRoute();
    await makeMistakes();
  }, 240_000);
  afterAll(async () => {
    await stack.stop();
    await receiver.close();
  }, 60_000);

  it('are in the containers, each in the one it is for', () => {
    expect(greetings).toEqual([SECRET, OWN_SECRET, SECRET, PATCHED_SECRET]);
  });

  it('are looked for on every route of the document, and by a search that finds', () => {
    const { paths } = JSON.parse(
      readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8'),
    ) as Document;
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.filter((route) => !routes.has(route))).toEqual([]);
    expect(seen.filter(({ text }) => findMarks([open], text).length > 0).length).toBeGreaterThan(5);
  });

  it('are in no answer, neither in its headers nor in its body', () => {
    const leaks = seen.flatMap(({ what, text }) => findMarks(marks, text).map((name) => `${what}: ${name}`));
    expect(leaks).toEqual([]);
  });

  it('are in no table, neither while everything is there nor at the end', async () => {
    dumps.push(await dump());
    for (const { leaks } of dumps) expect(leaks).toEqual([]);
    const [{ open: found, rows }] = dumps as [Dump];
    expect(found).toEqual(expect.arrayContaining(['orders.spec', 'jobs.definition']));
    expect(rows.has('events')).toBe(true);
    const sealed = ['job_secrets', 'registries', 'idempotency_keys', 'launches', 'tokens', 'webhooks'];
    expect(rows.has('webhook_deliveries')).toBe(true);
    // The queue has a schema of its own.
    expect(rows.has('job_common')).toBe(true);
    expect(sealed.filter((table) => !rows.has(table))).toEqual([]);
    // Docker's description of a container holds its environment: one was answered, and is kept without.
    const [looks] = await stack.query<{ count: number }>(
      `SELECT count(*)::int FROM orders WHERE purpose = 'inspect-container' AND result_status = 200`,
    );
    expect(looks?.count).toBeGreaterThan(0);
  });

  it('are in nothing EC2 was told, user data included', () => {
    const instances = stack.cloud.ledger.instances();
    expect(instances.length).toBeGreaterThanOrEqual(4);
    for (const { userData } of instances) {
      expect(unpackUserData(userData)).toContain('agent');
      expect(findMarks(marks, Buffer.from(unpackUserData(userData)))).toEqual([]);
    }
    expect(findMarks(marks, JSON.stringify([instances, stack.cloud.ledger.calls()]))).toEqual([]);
  });

  it('are in nothing that was sent to a webhook', () => {
    const types = receiver.received.map(({ body }) => (JSON.parse(body) as { type: string }).type);
    expect(types).toEqual(expect.arrayContaining(['deployment.active', 'registry.set', 'webhook.ping']));
    expect(findMarks(marks, JSON.stringify(receiver.received))).toEqual([]);
  });

  it('are in no line of the logs', () => {
    const logs = stack.logs();
    expect(logs).toContain('"level":"debug"');
    expect(logs.length).toBeLessThan(500_000);
    expect(findMarks(marks, logs)).toEqual([]);
  });

  it('were looked for in all of these', () => {
    const [{ rows }] = dumps as [Dump];
    const figures = [
      `${marks.length} marks in ${marks.flatMap(({ forms }) => forms).length} forms`,
      `${seen.length / 2} answers of ${routes.size} routes`,
      `${[...rows.values()].reduce((sum, count) => sum + count)} rows of ${rows.size} tables`,
      `${receiver.received.length} webhook requests`,
      `${stack.cloud.ledger.calls().length} calls to EC2`,
      `${stack.logs().split('\n').length} log lines`,
    ];
    process.stdout.write(`canary: ${figures.join(', ')}\n`);
    expect(figures.join()).not.toMatch(/(^|,)0 /);
  });

  /** A service that gets each of the secrets in turn, heals, is rolled back and restarted. @returns what it saw each time */
  async function liveAndHeal(): Promise<string[]> {
    const registry = '/v1/registries/private.example.com';
    await send({ method: 'PUT', path: registry, body: { username: 'robot', password: PASSWORD } });
    const job = {
      name: 'web',
      image: 'private.example.com/web:1',
      ...WEB,
      env: { OPEN },
      secrets: { GREETING: SECRET },
    };
    await send({ method: 'POST', path: '/v1/jobs', body: job, headers: { 'idempotency-key': 'make-web' } });
    await send({ method: 'POST', path: '/v1/jobs', body: job, headers: { 'idempotency-key': 'make-web' } });
    const first = await active(1);
    await stack.cloud.faults.exhaustMemory(await instanceId());
    await lookAtContainer();
    const deployments = '/v1/jobs/web/deployments';
    await send({
      method: 'POST',
      path: deployments,
      body: { image: 'private.example.com/web:2', secrets: { GREETING: OWN_SECRET } },
    });
    const own = await active(2);
    await send({ method: 'POST', path: '/v1/jobs/web/rollback', body: { to: 1 } });
    const rolledBack = await active(3);
    await send({ method: 'PATCH', path: '/v1/jobs/web', body: { secrets: { GREETING: PATCHED_SECRET } } });
    await send({ method: 'POST', path: deployments, body: {} });
    return [first, own, rolledBack, await active(4)];
  }

  /** With a token of our own role: an image that nobody else may pull. */
  async function pullFromEcr(): Promise<void> {
    const image = `${stack.cloud.accountId}.dkr.ecr.${stack.cloud.region}.amazonaws.com/web:1`;
    await send({ method: 'POST', path: '/v1/jobs', body: { name: 'ecr', image, ...WEB } });
    await until(async () => {
      const text = await send({ method: 'GET', path: '/v1/jobs/ecr/deployments/1?wait=30&until=active' });
      const { status, message } = JSON.parse(text) as { status: string; message: string };
      if (status === 'failed') throw new Error(message);
      return status === 'active';
    }, 90_000);
    await send({ method: 'DELETE', path: '/v1/jobs/ecr' });
  }

  /** A minute after an exit the container is looked at: the minute is taken off. */
  async function lookAtContainer(): Promise<void> {
    const isAnswered = async (purpose: string): Promise<boolean> => {
      const sql = 'SELECT 1 FROM orders WHERE purpose = $1 AND answered_at IS NOT NULL';
      return (await stack.query(sql, [purpose])).length > 0;
    };
    await until(() => isAnswered('wait'));
    await stack.query(`UPDATE orders SET answered_at = answered_at - interval '5 min' WHERE purpose = 'wait'`);
    await stack.query('UPDATE jobs SET next_pass_at = clock_timestamp()');
    await until(() => isAnswered('inspect-container'));
  }

  async function makeWebhook(): Promise<string> {
    const made = await send({ method: 'POST', path: '/v1/webhooks', body: { url: receiver.url } }, false);
    const { id, secret } = JSON.parse(made) as { id: string; secret: string };
    marks.push(markOf('secret of a webhook', secret.slice('whsec_'.length)));
    return id;
  }

  async function walkWebhook(id: string): Promise<void> {
    const path = `/v1/webhooks/${id}`;
    const rotated = await send({ method: 'POST', path: `${path}/rotate-secret` }, false);
    marks.push(markOf('new secret of a webhook', (JSON.parse(rotated) as { secret: string }).secret.slice(6)));
    const pinged = JSON.parse(await send({ method: 'POST', path: `${path}/ping` })) as { id: string };
    await until(() => receiver.received.some((request) => request.id === pinged.id));
    for (const rest of ['', '/deliveries', `/deliveries/${pinged.id}`])
      await send({ method: 'GET', path: path + rest });
    await send({ method: 'GET', path: '/v1/webhooks' });
    await send({ method: 'PATCH', path, body: { description: 'of the canary' } });
    await send({ method: 'POST', path: `${path}/deliveries/${pinged.id}/redeliver` });
  }

  async function walkEveryRoute(): Promise<void> {
    const made = await send({ method: 'POST', path: '/v1/tokens', body: { name: 'canary', role: 'viewer' } }, false);
    const { id, token } = JSON.parse(made) as { id: string; token: string };
    marks.push(markOf('token', token));
    for (const path of [
      '/v1/tokens',
      `/v1/tokens/${id}`,
      '/health/live',
      '/health/ready',
      '/v1/jobs',
      '/v1/jobs/web',
    ]) {
      await send({ method: 'GET', path });
    }
    for (const path of ['/v1/jobs/web/deployments', '/v1/jobs/web/deployments/1', '/v1/instances', '/v1/fleet']) {
      await send({ method: 'GET', path, token });
    }
    for (const accept of ['text/plain', 'text/event-stream', 'application/json']) {
      const lines = await send({ method: 'GET', path: '/v1/jobs/web/logs?deployment=1', headers: { accept } });
      expect(lines).toContain('listening');
    }
    for (const path of ['/v1/registries', '/v1/registries/private.example.com']) await send({ method: 'GET', path });
    dumps.push(await dump());
    const { items } = JSON.parse(await send({ method: 'GET', path: '/v1/webhooks' })) as { items: { id: string }[] };
    for (const { id: webhook } of items) await send({ method: 'DELETE', path: `/v1/webhooks/${webhook}` });
    await send({ method: 'DELETE', path: '/v1/registries/private.example.com' });
    for (const path of ['/v1/events?limit=200', '/docs', '/docs/openapi.json', '/metrics'])
      await send({ method: 'GET', path });
    await send({ method: 'POST', path: `/v1/instances/${await instanceId()}/retire` });
    for (const call of ['restart', 'start', 'stop', 'deployments/5/cancel']) {
      await send({ method: 'POST', path: `/v1/jobs/web/${call}` });
    }
    await send({ method: 'DELETE', path: `/v1/tokens/${id}` });
    await send({ method: 'DELETE', path: '/v1/jobs/web' });
  }

  /** All columns of all rows of all tables. */
  async function dump(): Promise<Dump> {
    const tables = await stack.query<{ schema: string; name: string }>(
      `SELECT schemaname AS schema, tablename AS name FROM pg_tables WHERE schemaname LIKE 'scheduler%'`,
    );
    const found: Dump & { rows: Map<string, number> } = { leaks: [], open: [], rows: new Map() };
    for (const { schema, name } of tables) {
      for (const row of await stack.query<Record<string, unknown>>(`SELECT * FROM "${schema}"."${name}"`)) {
        found.rows.set(name, (found.rows.get(name) ?? 0) + 1);
        for (const [column, value] of Object.entries(row)) {
          const content = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
          found.leaks.push(...findMarks(marks, content).map((mark) => `${name}.${column}: ${mark}`));
          if (findMarks([open], content).length > 0) found.open.push(`${name}.${column}`);
        }
      }
    }
    return found;
  }

  /** What is refused is often told with what was refused. */
  async function makeMistakes(): Promise<void> {
    const secrets = { GREETING: SECRET };
    const bodies: unknown[] = [
      { name: 'x', secrets, env: { GREETING: 'x' } },
      { name: 'x', secrets: { 'NO NAME': SECRET } },
      { name: 'x', secrets: { A: [SECRET] } },
      { name: 'x', secrets: SECRET },
      { name: 'x', secrets: { A: `${SECRET}\0` } },
      { name: 'x', secrets: { A: SECRET.repeat(3_000) } },
      { name: 'x', secret: secrets },
      { name: 'web', secrets },
      `{"name":"x","secrets":{"A":${JSON.stringify(SECRET)}`,
      `{"name":"x","secrets":{"A":${JSON.stringify(SECRET)}}x`,
      JSON.stringify(SECRET),
      SECRET,
    ];
    for (const body of bodies) {
      await send({ method: 'POST', path: '/v1/jobs', body });
      await send({ method: 'PATCH', path: '/v1/jobs/none', body });
      await send({ method: 'POST', path: '/v1/jobs/none/deployments', body });
      await send({ method: 'POST', path: '/v1/jobs/none/adopt', body });
    }
    for (const body of [{ password: PASSWORD }, { username: `${PASSWORD}\n`, password: `${PASSWORD}\n` }, PASSWORD]) {
      await send({ method: 'PUT', path: '/v1/registries/private.example.com', body });
    }
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      await send({ method, path: '/v1/nothing', ...(method !== 'GET' && { body: { secrets } }) });
      await send({
        method,
        path: '/v1/jobs',
        token: `${ADMIN_TOKEN}x`,
        ...(method !== 'GET' && { body: { secrets } }),
      });
    }
  }

  /** @param isSecretive false: the one answer that is there to tell a secret */
  async function send({ method, path, body, token = ADMIN_TOKEN, headers = {} }: Sent, isSecretive = true) {
    const response = await fetch(stack.url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      redirect: 'manual',
    });
    const text = await response.text();
    routes.add(`${method} ${templateOf(path)}`);
    const what = `${method} ${path} ${response.status}`;
    if (response.status >= 500) throw new Error(`${what}: ${text}`);
    if (isSecretive) seen.push({ what, text: JSON.stringify([...response.headers]) }, { what, text });
    return text;
  }

  /** Waits for the deployment. @returns what its container was told to greet with */
  async function active(number: number): Promise<string> {
    await until(async () => {
      const text = await send({ method: 'GET', path: `/v1/jobs/web/deployments/${number}?wait=30&until=active` });
      const { status, message } = JSON.parse(text) as { status: string; message: string };
      if (status === 'failed') throw new Error(message);
      return status === 'active';
    }, 90_000);
    const { endpoints } = JSON.parse(await send({ method: 'GET', path: '/v1/jobs/web' })) as { endpoints: string[] };
    return ((await (await fetch(endpoints[0] ?? '')).json()) as { hello: string }).hello;
  }

  async function instanceId(): Promise<string> {
    return (JSON.parse(await send({ method: 'GET', path: '/v1/jobs/web' })) as { instance: { id: string } }).instance
      .id;
  }
});

function templateOf(path: string): string {
  const [plain = ''] = path.split('?');
  return plain
    .replace(/^\/v1\/jobs\/[^/]+/, '/v1/jobs/{name}')
    .replace(/\/deployments\/\d+/, '/deployments/{number}')
    .replace(/^\/v1\/registries\/[^/]+/, '/v1/registries/{host}')
    .replace(/^\/v1\/(tokens|instances|webhooks)\/[^/]+/, '/v1/$1/{id}')
    .replace(/\/deliveries\/[^/]+/, '/deliveries/{deliveryId}');
}
