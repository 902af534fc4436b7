import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import type { EventPage } from '../../src/events/event.schema.ts';
import { alive, HOST_PORT, remove, settled } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

type Job = { status: string; activeDeployment: number | null; instance: { id: string; privateIp: string } | null };
type Fleet = { instances: Record<string, number>; demand: number };
type Instance = { id: string; quarantined: boolean; job: string | null; retireReason: string | null };

const WEB = {
  kind: 'service',
  ports: [{ container: 8080, host: HOST_PORT }],
  health: { path: '/', port: HOST_PORT, intervalSeconds: 1, timeoutSeconds: 1, startPeriodSeconds: 2 },
  rollout: { stableSeconds: 1, drainSeconds: 1, stopGraceSeconds: 2, deadlineSeconds: 60 },
};
const IMAGE = 'hello-web:1';

/** Rows are lost, instances and containers are not. */
describe('after the database was', () => {
  let stack: Stack;
  beforeEach(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime() });
  }, 60_000);
  afterEach(() => stack.stop(), 60_000);

  const serve = async (name: string): Promise<{ id: string; privateIp: string }> => {
    await stack.call('POST', '/v1/jobs', { name, image: IMAGE, env: { GREETING: name }, ...WEB });
    expect(await settled(stack, name, 1)).toMatchObject({ status: 'active' });
    const { instance } = await stack.call<Job>('GET', `/v1/jobs/${name}`);
    return instance ?? { id: '', privateIp: '' };
  };
  const instance = async (id: string) => {
    const { items } = await stack.call<{ items: Instance[] }>('GET', '/v1/instances');
    return items.find((item) => item.id === id);
  };
  const eventsOf = async (id: string) => {
    const { items } = await stack.call<EventPage>('GET', '/v1/events?type=instance.*&limit=200');
    return items.flatMap((event) => (event.instance === id ? [event.type] : []));
  };
  const quarantined = async () => (await stack.call<Fleet>('GET', '/v1/fleet')).instances['quarantined'];
  const terminated = () =>
    stack.cloud.ledger.calls('TerminateInstances').flatMap(({ instanceIds = [] }) => instanceIds);

  /** Runs while the API does not. */
  async function withoutApi(work: (administrator: pg.Client, database: string) => Promise<unknown>): Promise<void> {
    await stack.kill(0);
    const url = new URL(stack.databaseUrl);
    const database = url.pathname.slice(1);
    url.pathname = '/postgres';
    const administrator = new pg.Client({ connectionString: url.href });
    await administrator.connect();
    await until(async () => {
      const { rows } = await administrator.query('SELECT 1 FROM pg_stat_activity WHERE datname = $1', [database]);
      return rows.length === 0;
    });
    try {
      await work(administrator, database);
    } finally {
      await administrator.end();
    }
    await stack.restart(0);
  }

  it('emptied: all is quarantined and goes on; one is adopted without a restart, one is retired, a wrong word harms nobody', async () => {
    const [web, api, shop] = [await serve('web'), await serve('api'), await serve('shop')];
    const clients = [web, api, shop].map(({ privateIp }) => keepAsking(`http://${privateIp}:${HOST_PORT}`));
    const launches = stack.cloud.ledger.calls('RunInstances').length;

    await withoutApi(async (administrator, database) => {
      await administrator.query(`DROP DATABASE ${database}`);
      await administrator.query(`CREATE DATABASE ${database}`);
    });
    await until(async () => (await quarantined()) === 3);
    await until(() => stack.logs().includes('unknown instances quarantined'));
    const metrics = await (await fetch(`${stack.url}/metrics`)).text();
    expect(metrics).toContain('scheduler_instances{state="quarantined"} 3');
    expect(metrics).toContain('scheduler_instances_orphaned 0');

    // The job is made anew, as its owner has it in a file; then it gets its instance back.
    await stack.call('POST', '/v1/jobs', { name: 'web', env: { GREETING: 'web' }, ...WEB });
    const adopt = { instance: web.id, image: IMAGE };
    expect(await stack.call('POST', '/v1/jobs/web/adopt', adopt)).toMatchObject({ number: 1, trigger: 'adopt' });
    expect(await stack.call('POST', '/v1/jobs/web/adopt', adopt)).toMatchObject({ number: 1 });
    expect(await stack.status('POST', '/v1/jobs/web/adopt', { ...adopt, instance: 'i-0123456789abcdef0' })).toBe(404);
    expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active', attempt: 1, instance: { id: web.id } });
    expect(await stack.call<Job>('GET', '/v1/jobs/web')).toMatchObject({ status: 'running', instance: { id: web.id } });
    expect(await stack.status('POST', `/v1/instances/${web.id}/retire`)).toBe(409);

    // A definition that is not what runs there: the health check says so, and nothing is stopped.
    const wrong = { ...WEB, ports: [{ container: 8080, host: 9999 }], health: { ...WEB.health, port: 9999 } };
    await stack.call('POST', '/v1/jobs', { name: 'shop', ...wrong });
    await stack.call('POST', '/v1/jobs/shop/adopt', { instance: shop.id, image: IMAGE });
    expect(await settled(stack, 'shop', 1)).toMatchObject({ status: 'failed', reason: 'health-check-failed' });
    await until(async () => (await instance(shop.id))?.quarantined === true);
    expect(await stack.status('POST', '/v1/jobs/shop/adopt', { instance: shop.id, image: IMAGE })).toBe(409);
    expect(terminated()).toEqual([]);
    expect(stack.cloud.ledger.calls('RunInstances')).toHaveLength(launches);
    for (const client of clients) expect(await client.stop()).toEqual([]);

    for (const { id } of [api, shop]) await stack.call('POST', `/v1/instances/${id}/retire`);
    await until(() => alive(stack).length === 1);
    await until(async () => (await eventsOf(shop.id)).includes('instance.terminated'));
    const lives = await Promise.all([web, shop].map(({ id }) => eventsOf(id)));
    expect(lives.map((events) => events.slice(0, 3))).toEqual([
      ['instance.quarantined', 'instance.registered', 'instance.adopted'],
      ['instance.quarantined', 'instance.registered', 'instance.adopted'],
    ]);
    expect(lives[1]?.slice(3)).toEqual(['instance.quarantined', 'instance.retiring', 'instance.terminated']);
    expect(alive(stack)).toEqual([web.id]);
    // What was adopted is a job like any other: replaced, and gone with it.
    await stack.call('POST', '/v1/jobs/web/deployments', { image: IMAGE, env: { GREETING: 'two' } });
    expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
    await until(() => !alive(stack).includes(web.id));
    for (const name of ['web', 'shop']) await remove(stack, name);
    await until(() => alive(stack).length === 0);
  }, 240_000);

  it('restored to an older state: what came later is quarantined and can be adopted, what was healed meanwhile ends', async () => {
    const first = await serve('web');
    await withoutApi((administrator, database) =>
      administrator.query(`CREATE DATABASE ${database}_backup TEMPLATE ${database}`),
    );
    await stack.call('POST', '/v1/jobs/web/deployments', { image: IMAGE, env: { GREETING: 'two' } });
    expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active' });
    const second = (await stack.call<Job>('GET', '/v1/jobs/web')).instance ?? first;
    await until(() => !alive(stack).includes(first.id));
    const before = terminated();
    const client = keepAsking(`http://${second.privateIp}:${HOST_PORT}`);

    await withoutApi(async (administrator, database) => {
      await administrator.query(`DROP DATABASE ${database}`);
      await administrator.query(`ALTER DATABASE ${database}_backup RENAME TO ${database}`);
    });
    await until(async () => (await instance(second.id))?.quarantined === true);
    // Its own instance has ended long ago, so the job heals.
    await until(async () => (await stack.call<Job>('GET', '/v1/jobs/web')).status === 'running', 90_000);
    expect(terminated()).toEqual(before);

    await stack.call('PATCH', '/v1/jobs/web', { env: { GREETING: 'two' } });
    await stack.call('POST', '/v1/jobs/web/adopt', { instance: second.id });
    expect(await settled(stack, 'web', 2)).toMatchObject({ status: 'active', trigger: 'adopt' });
    await until(() => alive(stack).length === 1);
    expect(alive(stack)).toEqual([second.id]);
    expect(await client.stop()).toEqual([]);
    await remove(stack, 'web');
  }, 240_000);
});

/** Asks until it is stopped. @returns what went wrong */
function keepAsking(url: string): { stop(): Promise<string[]> } {
  const failures: string[] = [];
  const signal = { isStopped: false };
  const loop = (async () => {
    while (!signal.isStopped) {
      await fetch(url, { signal: AbortSignal.timeout(5_000), headers: { connection: 'close' } }).then(
        ({ status }) => status !== 200 && failures.push(String(status)),
        (error: unknown) => failures.push(String(error)),
      );
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  return {
    stop: async () => {
      signal.isStopped = true;
      await loop;
      return failures;
    },
  };
}
