import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { until } from '../../local/until.ts';
import { alive, type Deployment, type Job, settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';

type Addressed = Job & {
  url: string | null;
  urlReason: string | null;
  privateUrl: string | null;
  hosts: { host: string; url: string | null; reason: string | null }[];
};

const DOMAIN = 'jobs.test';

/** What an ingress is told, and what is behind it. */
describe('the address of a job', () => {
  let stack: Stack;
  const names: string[] = [];
  beforeAll(async () => {
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      env: {
        ...{ JOBS_URL: `https://${DOMAIN}:8443`, JOBS_PRIVATE_URL: 'http://jobs.internal:81' },
        ADDRESS_STALE_SECONDS: '25',
        ...{ JOBS_HOSTS: 'own.test', METRICS: 'public' },
      },
    });
  }, 60_000);
  afterAll(() => stack.stop(), 60_000);
  afterEach(async () => {
    const jobs = names.splice(0);
    for (const name of jobs) await stack.status('DELETE', `/v1/jobs/${name}`);
    for (const name of jobs) await isGone(name);
  }, 60_000);

  it('is there with the job, and leads to its container once that serves', async () => {
    await create('web', { env: { GREETING: 'one' } });
    expect(await job('web')).toMatchObject({ url: `https://web.${DOMAIN}:8443`, urlReason: null });
    await settled(stack, 'web', 1);
    await until(async () => (await route('web')).status === 200);
    const { status, headers } = await route('web');
    expect([status, headers.get('route-job'), headers.get('route-deployment')]).toEqual([200, 'web', '1']);
    expect(headers.get('cache-control')).toBe('max-age=1, stale-if-error=25');
    const { instance, privateUrl } = await job('web');
    expect(headers.get('route-target')).toBe(`${instance?.privateIp}:8080`);
    expect(await greeting('web')).toBe('one');
    // Other jobs call it by another name, which leads to the same place in each of the three lookups.
    expect(privateUrl).toBe('http://web.jobs.internal:81');
    for (const lookup of [
      'routes/web.jobs.internal',
      'callers/web.jobs.internal/10.0.0.1',
      'holds/web.jobs.internal',
    ]) {
      const there = await fetch(`${stack.url}/ingress/v1/${lookup}`);
      expect([there.status, there.headers.get('route-target')]).toEqual([200, headers.get('route-target')]);
    }
    for (const host of ['other.jobs.internal', 'jobs.internal', 'a.web.jobs.internal', 'webjobs.internal']) {
      expect((await fetch(`${stack.url}/ingress/v1/routes/${host}`)).headers.has('route-known')).toBe(false);
    }
  }, 60_000);

  it('leads to the next deployment as soon as that is active, while the one before serves who still comes to it', async () => {
    await create('replaced', { env: { GREETING: 'one' } });
    await settled(stack, 'replaced', 1);
    const before = (await route('replaced')).headers.get('route-target');
    await stack.call('POST', '/v1/jobs/replaced/deployments', { env: { GREETING: 'two' } });
    await settled(stack, 'replaced', 2);
    expect((await route('replaced')).headers.get('route-deployment')).toBe('2');
    expect(await greeting('replaced')).toBe('two');

    // Longer than drainSeconds, which is 2: an ingress that cannot reach us goes by its last answer for half a minute.
    await new Promise((done) => setTimeout(done, 6_000));
    expect(await (await fetch(`http://${before}/`)).json()).toMatchObject({ hello: 'one' });
    expect(await stack.call<Deployment>('GET', '/v1/jobs/replaced/deployments/1')).toMatchObject({
      status: 'draining',
    });

    await until(async () => {
      await forgetOldAnswers();
      return (await deployment('replaced', 1)).status === 'superseded';
    });
    await until(() => alive(stack).length === 1);
    expect(await greeting('replaced')).toBe('two');
  }, 90_000);

  it('leads nowhere while nothing serves, and says why', async () => {
    await create('stopped', {});
    await settled(stack, 'stopped', 1);
    await stack.call('POST', '/v1/jobs/stopped/stop');
    await until(async () => (await route('stopped')).status === 401);
    expect(await waysOf('stopped')).toEqual(['yes', null]);
    expect((await job('stopped')).url).toBe(`https://stopped.${DOMAIN}:8443`);
    await until(async () => {
      await forgetOldAnswers();
      return (await job('stopped')).status === 'stopped';
    });
    await stack.call('POST', '/v1/jobs/stopped/start');
    await settled(stack, 'stopped', 2);
    expect((await route('stopped')).headers.get('route-deployment')).toBe('2');

    expect(await waysOf('other')).toEqual([null, null]);
    expect(await waysOf('-no.name-')).toEqual([null, null]);
    expect(await stack.status('GET', '/ingress/v1/routes/a%2fb')).toBe(401);
  }, 90_000);

  it('lets a request wait for what is on its way, and for no longer than the job says', async () => {
    await create('late', { image: 'sim/slow:3', route: { holdSeconds: 60 } });
    await until(async () => (await waysOf('late'))[0] === 'yes');
    const hold = (name: string, not = '') => fetch(`${stack.url}/ingress/v1/holds/${name}.${DOMAIN}?not=${not}`);
    expect(await waysOf('late')).toEqual(['yes', 'yes']);
    const held = await hold('late');
    expect([held.status, held.headers.get('route-deployment')]).toEqual([200, '1']);
    expect(held.headers.get('cache-control')).toBe('no-store');
    expect(await deployment('late', 1)).toMatchObject({ status: 'active' });
    // One that refused is waited for, for a moment.
    const before = performance.now();
    expect((await hold('late', held.headers.get('route-target') ?? '')).status).toBe(200);
    expect(performance.now() - before).toBeGreaterThan(1_900);

    await create('slow', { image: 'sim/slow:60', route: { holdSeconds: 1 } });
    await until(async () => (await waysOf('slow'))[0] === 'yes');
    const began = performance.now();
    expect((await hold('slow')).status).toBe(401);
    expect(performance.now() - began).toBeGreaterThan(900);

    await create('refusing', { route: { holdSeconds: 0 }, image: 'sim/slow:60' });
    await until(async () => (await waysOf('refusing'))[0] === 'yes');
    expect(await waysOf('refusing')).toEqual(['yes', null]);
    expect((await hold('other')).status).toBe(401);

    const scrape = await (await fetch(`${stack.url}/metrics`)).text();
    const counted = (series: string) =>
      Number(
        scrape
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.slice(series.length),
      );
    for (const outcome of ['served', 'retried', 'ran-out']) {
      expect([outcome, counted(`scheduler_route_holds_total{outcome="${outcome}"}`)]).toEqual([outcome, 1]);
    }
    expect(counted('scheduler_route_hold_duration_seconds_sum{outcome="retried"}')).toBeGreaterThan(1.9);
    expect(counted('scheduler_route_lookups_total{kind="hold",outcome="unknown"}')).toBe(1);
    expect(counted('scheduler_reach_checks_total{found="http"}')).toBeGreaterThan(0);
    expect(counted('scheduler_job_urls{state="leads"}')).toBeGreaterThan(0);
    expect(counted('scheduler_route_requests_held')).toBe(0);
    // How long they waited says nothing of the API.
    expect(scrape).toContain('scheduler_http_requests_total{method="GET",route="/ingress/v1/holds/:host"');
    expect(scrape).not.toMatch(/scheduler_http_request_duration_seconds_count\{[^}]*holds/);
  }, 60_000);

  it('is for the callers that the deployment lists, and tells those alone where it leads', async () => {
    await create('listed', { route: { allow: ['10.0.0.0/8', '2001:db8::/32'] } });
    await settled(stack, 'listed', 1);
    const all = await route('listed');
    expect([all.status, all.headers.get('route-limited'), all.headers.get('cache-control')]).toEqual([
      ...[401, 'yes', 'max-age=1, stale-if-error=25'],
    ]);
    expect([all.headers.has('route-target'), all.headers.has('route-holds')]).toEqual([false, false]);
    const caller = async (address: string) => {
      const { status, headers } = await fetch(`${stack.url}/ingress/v1/callers/listed.${DOMAIN}/${address}`);
      return [status, headers.has('route-target'), headers.get('route-refused'), headers.get('cache-control')];
    };
    const kept = 'max-age=1, stale-if-error=25';
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '2001:db8::7']) {
      expect(await caller(address)).toEqual([200, true, null, kept]);
    }
    for (const address of ['11.0.0.1', '::ffff:11.0.0.1', '::1']) {
      expect(await caller(address)).toEqual([401, false, 'yes', kept]);
    }
    expect((await caller('::10.1.2.3'))[0]).toBe(400);
    const hold = (query: string) => fetch(`${stack.url}/ingress/v1/holds/listed.${DOMAIN}?${query}`);
    expect((await hold('from=10.1.2.3')).headers.has('route-target')).toBe(true);
    for (const query of ['from=11.0.0.1', 'from=', '', 'not=10.0.0.1:80&from=11.0.0.1']) {
      const { status, headers } = await hold(query);
      expect([status, headers.has('route-target'), headers.get('route-refused')]).toEqual([401, false, 'yes']);
    }

    // The list is a part of the deployment, as the image is.
    await stack.call('PATCH', '/v1/jobs/listed', { route: { allow: [] } });
    expect((await route('listed')).status).toBe(401);
    await stack.call('POST', '/v1/jobs/listed/deployments', {});
    await settled(stack, 'listed', 2);
    expect((await route('listed')).status).toBe(200);
    await stack.call('POST', '/v1/jobs/listed/rollback', {});
    await settled(stack, 'listed', 3);
    expect((await caller('11.0.0.1'))[2]).toBe('yes');

    const refused = await stack.answer('PATCH', '/v1/jobs/listed', { route: { allow: ['10.0.0.0/8', '10.1.0.1/16'] } });
    expect(refused).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '#/route/allow/1', detail: 'must be written as 10.1.0.0/16' }] },
    });
  }, 60_000);

  it('is also each host of its own that no other job has', async () => {
    const at = async (host: string) => {
      const { status, headers } = await fetch(`${stack.url}/ingress/v1/routes/${host}`);
      return [status, headers.get('route-job')];
    };
    const hosts = async (name: string) =>
      (await job(name)).hosts.map(({ host, url, reason }) => `${host} ${url ?? reason}`);
    await create('shop', { route: { hosts: ['own.test', 'www.own.test'] } });
    await settled(stack, 'shop', 1);
    expect(await hosts('shop')).toEqual([
      ...['own.test https://own.test:8443', 'www.own.test https://www.own.test:8443'],
    ]);
    expect([await at('own.test'), await at('www.own.test'), await at('a.own.test')]).toEqual([
      ...[
        [200, 'shop'],
        [200, 'shop'],
        [401, null],
      ],
    ]);

    await create('rival', { route: { hosts: ['www.own.test', 'rival.own.test'] } });
    await settled(stack, 'rival', 1);
    expect(await hosts('rival')).toEqual(['www.own.test host-taken', 'rival.own.test https://rival.own.test:8443']);
    expect([(await job('rival')).url, await at('www.own.test')]).toEqual([
      ...[`https://rival.${DOMAIN}:8443`, [200, 'shop']],
    ]);

    await stack.call('PATCH', '/v1/jobs/shop', { route: { hosts: ['own.test', 'new.own.test'] } });
    expect(await hosts('shop')).toEqual([
      ...['own.test https://own.test:8443', 'new.own.test next-deployment', 'www.own.test https://www.own.test:8443'],
    ]);
    await stack.call('POST', '/v1/jobs/shop/deployments', {});
    await settled(stack, 'shop', 2);
    expect([await at('new.own.test'), await at('www.own.test')]).toEqual([
      ...[
        [200, 'shop'],
        [401, null],
      ],
    ]);
    expect((await hosts('rival'))[0]).toBe('www.own.test host-still-draining');
    await leavesIn(-40);
    await until(async () => (await at('www.own.test'))[1] === 'rival');

    for (const [host, status] of [
      ['other.test', 403],
      [`other.${DOMAIN}`, 403],
      ['10.0.0.1', 422],
    ] as const) {
      const answer = await stack.answer('PATCH', '/v1/jobs/shop', { route: { hosts: ['own.test', host] } });
      expect(answer).toMatchObject({ status, body: { errors: [{ pointer: '#/route/hosts/1' }] } });
    }
  }, 60_000);

  it('is another team’s only when nobody can be led to the former owner any more', async () => {
    await create('moved', {});
    await settled(stack, 'moved', 1);
    await stack.call('DELETE', '/v1/jobs/moved');
    await isGone('moved');
    expect((await route('moved')).status).toBe(401);
    await leavesIn(3_600);
    await create('moved', { env: { GREETING: 'theirs' } });
    await settled(stack, 'moved', 1);
    expect(await job('moved')).toMatchObject({ url: null, urlReason: 'host-still-draining' });
    expect((await route('moved')).status).toBe(401);
    await leavesIn(-40);
    await until(async () => (await job('moved')).url !== null);
    expect(await greeting('moved')).toBe('theirs');
  }, 90_000);

  it('is none where the job wants none, has no port or several, or a name that is kept', async () => {
    await create('off', { route: false });
    await create('none', { ports: [], health: undefined });
    await create('several', { ports: [...WEB.ports, { container: 9090, host: 9090 }] });
    await create('chosen', { ports: [...WEB.ports, { container: 9090, host: 9091 }], route: { port: 9090 } });
    await create('web--7', {});
    for (const name of ['off', 'none', 'several', 'chosen', 'web--7']) await settled(stack, name, 1);
    const reasons = await Promise.all(
      ['off', 'none', 'several', 'web--7'].map(async (name) => (await job(name)).urlReason),
    );
    expect(reasons).toEqual(['off', 'no-ports', 'several-ports', 'reserved-name']);
    expect((await route('chosen')).headers.get('route-target')).toMatch(/:9091$/);
    expect(
      await stack.answer('POST', '/v1/jobs', { name: 'bad', image: 'web', ...WEB, route: { port: 1 } }),
    ).toMatchObject({
      status: 422,
    });

    // What a deployment switches off is off once it is active.
    await stack.call('PATCH', '/v1/jobs/chosen', { route: false });
    await stack.call('POST', '/v1/jobs/chosen/deployments', {});
    await settled(stack, 'chosen', 2);
    expect((await route('chosen')).status).toBe(401);
    expect(await job('chosen')).toMatchObject({ url: null, urlReason: 'off' });
  }, 60_000);

  it('is none where nothing can be connected to, and a deployment that is to have one fails', async () => {
    const elsewhere = { ports: [{ container: 8081, host: 8081 }], health: undefined };
    await create('unreachable', { image: 'sim/crash:600', ...elsewhere });
    await create('insisting', { image: 'sim/crash:600', ...elsewhere, route: { port: 8081 } });
    await until(async () => (await job('unreachable')).urlReason === 'route-unreachable');
    expect(await deployment('unreachable', 1)).toMatchObject({ status: 'active' });
    expect(await settled(stack, 'insisting', 1)).toMatchObject({ status: 'failed', reason: 'route-unreachable' });
  }, 240_000);

  async function create(name: string, definition: object): Promise<void> {
    names.push(name);
    await stack.call('POST', '/v1/jobs', { name, image: 'web', ...WEB, ...definition });
  }

  const job = (name: string) => stack.call<Addressed>('GET', `/v1/jobs/${name}`);
  const deployment = (name: string, number: number) =>
    stack.call<Deployment>('GET', `/v1/jobs/${name}/deployments/${number}`);
  const route = (name: string) => fetch(`${stack.url}/ingress/v1/routes/${name}.${DOMAIN}`);

  /** Whether a host is a job's, and whether it is worth while to wait for it. */
  async function waysOf(name: string): Promise<(string | null)[]> {
    const { headers } = await route(name);
    return [headers.get('route-known'), headers.get('route-holds')];
  }

  /** As if that were when names were given up. */
  async function leavesIn(seconds: number): Promise<void> {
    const at = `clock_timestamp() + make_interval(secs => ${seconds})`;
    await stack.query(`UPDATE routes SET removed_at = ${at} WHERE removed_at IS NOT NULL`);
    await stack.query(`UPDATE jobs SET deleted_at = ${at} WHERE deleted_at IS NOT NULL`);
  }

  /** What the container says that the address leads to. */
  async function greeting(name: string): Promise<string> {
    const target = (await route(name)).headers.get('route-target');
    const answer = await fetch(`http://${target}/`, { headers: { connection: 'close' } });
    return ((await answer.json()) as { hello: string }).hello;
  }

  async function isGone(name: string): Promise<void> {
    await until(async () => {
      await forgetOldAnswers();
      return (await stack.status('GET', `/v1/jobs/${name}`)) === 404;
    });
  }

  /** As if half a minute had passed since any address led anywhere else. */
  async function forgetOldAnswers(): Promise<void> {
    // Rows of jobs first, as all that writes to them: a pass may be at work on the same attempts.
    await stack.query(`
      WITH locked AS (SELECT id FROM jobs ORDER BY id FOR UPDATE),
      attempts AS (
        UPDATE attempts a SET unrouted_at = a.unrouted_at - interval '40 s' FROM locked
        WHERE a.job_id = locked.id AND a.unrouted_at > clock_timestamp() - interval '40 s'),
      deployments AS (
        UPDATE deployments d SET deadline_at = clock_timestamp() FROM locked
        WHERE d.job_id = locked.id AND d.status = 'draining')
      UPDATE jobs j SET next_pass_at = clock_timestamp() FROM locked WHERE j.id = locked.id`);
  }
});
