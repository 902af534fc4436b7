import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, settled } from '../support/lifecycle.ts';
import { findUnknown, readPromQl, readScrape } from '../support/promql.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';
import { describeWhen } from '../support/when.ts';

const SERVICE = {
  kind: 'service',
  rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1, deadlineSeconds: 60 },
};

const VOLUME = 'vol-0123456789abcdef0';

type Line = { level: string; timestamp: number; pid: number; message: string; [field: string]: unknown };

// One life of two deployments, and what an operator is told of it.
describe('what is told of a deployment', () => {
  let stack: Stack;
  let lines: Line[];
  let scrape: string;
  let metrics: ReadonlyMap<string, number>;
  let instanceId: string;

  beforeAll(async () => {
    stack = await startStack({
      runtime: createSimulatedRuntime(),
      cloud: { volumes: { [VOLUME]: 40 } },
      env: { METRICS: 'public', LOG_LEVEL: 'debug', DATA_VOLUME_ID: VOLUME },
    });
    const create = async (requestId: string, body: object) => {
      const headers = { 'content-type': 'application/json', 'x-request-id': requestId };
      const answer = await fetch(`${stack.url}/v1/jobs`, { method: 'POST', headers, body: JSON.stringify(body) });
      expect(answer.status).toBe(201);
    };
    await create('request-of-web', { name: 'web', image: 'hello-web:1', ...SERVICE });
    await create('request-of-broken', { name: 'broken', image: 'sim/missing', ...SERVICE });
    const active = await settled(stack, 'web', 1);
    expect(active.status).toBe('active');
    instanceId = active.instance?.id ?? '';
    expect((await settled(stack, 'broken', 1)).status).toBe('failed');
    await stack.status('GET', '/v1/jobs/nobody');
    await stack.call('DELETE', '/v1/jobs/web');
    await until(() => alive(stack).length === 0);
    await until(async () => (await stack.status('GET', '/v1/jobs/web')) === 404);
    scrape = await (await fetch(`${stack.url}/metrics`)).text();
    metrics = new Map(
      scrape
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
    );
    lines = stack
      .logs()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
  }, 90_000);
  afterAll(() => stack.stop(), 60_000);

  const said = (message: string, fields: object = {}) =>
    lines.filter(
      (line) => line.message === message && Object.entries(fields).every(([key, value]) => line[key] === value),
    );

  it('is one JSON object a line, each with level, time and process', () => {
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) {
      expect(line).toMatchObject({
        level: expect.stringMatching(/^(log|warn|error|debug|verbose|fatal)$/),
        timestamp: expect.any(Number),
        pid: expect.any(Number),
        message: expect.stringMatching(/./),
      });
    }
  });

  it('leads from the request to every line of its deployment', () => {
    const requestId = 'request-of-web';
    const [request] = said('request answered', { requestId });
    expect(request).toMatchObject({
      level: 'log',
      method: 'POST',
      route: '/v1/jobs',
      status: 201,
      caller: 'anonymous',
      location: '/v1/jobs/web',
      durationMs: expect.any(Number),
    });
    const [job] = lines.filter((line) => line.message === 'deployment.active');
    expect(job).toMatchObject({
      requestId,
      job: 'web',
      jobId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      deployment: 1,
      deploymentId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    const about = { requestId, job: 'web', deployment: 1, attempt: 1 };
    expect(said('attempt.waiting', about)).toHaveLength(1);
    for (const phase of ['assigned', 'pulling', 'starting', 'healthy', 'ended']) {
      expect(said(`attempt.${phase}`, { ...about, instanceId })).toHaveLength(1);
    }
    expect(said('deployment.stopped', { job: 'web', reason: 'delete-requested' })).toHaveLength(1);
    expect(said('deployment.failed', { job: 'broken', reason: 'image-not-found' })).toHaveLength(1);
  });

  it('names the instance from its launch to its end', () => {
    expect(said('instances launched').flatMap((line) => line['instanceIds'])).toContain(instanceId);
    expect(said('registered', { instanceId })).toHaveLength(1);
    expect(said('instance assigned', { instanceId })).toHaveLength(1);
    expect(said('instance retired', { instanceId })).toHaveLength(1);
  });

  it('tells of changes and failures at info, of reads at debug, and of what machines ask all day nothing', () => {
    const requests = said('request answered');
    const levels = (method: string, status: number) =>
      new Set(
        requests.filter((line) => line['method'] === method && line['status'] === status).map(({ level }) => level),
      );
    expect(levels('POST', 201)).toEqual(new Set(['log']));
    expect(levels('GET', 200)).toEqual(new Set(['debug']));
    expect(levels('GET', 404)).toEqual(new Set(['log']));
    const routes = requests.map((line) => String(line['route']));
    expect(routes.filter((route) => /^\/(health|metrics|agent\/v1\/orders)/.test(route))).toEqual([]);
  });

  it('is counted: how it ended and why, how long each phase took, what EC2 was asked for', () => {
    const ended = (labels: string) => metrics.get(`scheduler_deployments_ended_total{${labels}}`);
    expect(ended('status="stopped",reason="delete-requested",cause="request"')).toBe(1);
    expect(ended('status="failed",reason="image-not-found",cause="user"')).toBe(1);
    const phase = (name: string) => metrics.get(`scheduler_attempt_phase_duration_seconds_count{phase="${name}"}`);
    expect({ waiting: phase('waiting'), assigned: phase('assigned'), healthy: phase('healthy') }).toEqual({
      waiting: 2,
      assigned: 2,
      healthy: undefined,
    });
    expect(phase('pulling')).toBeGreaterThanOrEqual(1);
    expect(metrics.get('scheduler_deployment_time_to_active_seconds_count')).toBe(1);
    expect(metrics.get('scheduler_deployment_time_to_active_seconds_sum')).toBeGreaterThan(0.1);
    const calls = (action: string) => metrics.get(`scheduler_ec2_calls_total{action="${action}",outcome="ok"}`);
    expect(calls('RunInstances')).toBe(stack.cloud.ledger.calls('RunInstances').length);
    expect(calls('TerminateInstances')).toBe(stack.cloud.ledger.calls('TerminateInstances').length);
    expect(metrics.get('scheduler_agent_registrations_total{outcome="registered"}')).toBe(2);
    expect(metrics.get('scheduler_log_lines_total')).toBeGreaterThan(0);
    expect(metrics.get('scheduler_webhooks{state="well"}')).toBe(0);
    // How long agents' polls are parked says nothing of us.
    const polls = [...metrics.keys()].filter((name) => name.includes('route="/agent/v1/orders"'));
    expect(polls.length).toBeGreaterThan(0);
    expect(polls.filter((name) => !name.startsWith('scheduler_http_requests_total'))).toEqual([]);
    for (const pass of ['job', 'fleet']) {
      const passes = metrics.get(`scheduler_pass_duration_seconds_count{pass="${pass}"}`) ?? 0;
      expect(passes).toBeGreaterThan(1);
      expect(metrics.get(`scheduler_pass_batch_size_count{pass="${pass}"}`)).toBe(passes);
      expect(metrics.get(`scheduler_wakeup_lag_seconds_count{pass="${pass}"}`)).toBeGreaterThanOrEqual(passes);
    }
  });

  it('is on the dashboard, which names only series and labels that a scrape has', async () => {
    const dashboard = await readDashboard();
    const expressions = expressionsOf(dashboard);
    expect(expressions.length).toBeGreaterThan(30);
    const series = readScrape(scrape);
    for (const expression of expressions) {
      const unknown = findUnknown(readPromQl(expression), series);
      expect({ expression, unknown }).toEqual({ expression, unknown: [] });
    }
    for (const { query } of dashboard.templating.list) {
      if (typeof query === 'string') continue;
      const [, metric = ''] = /^label_values\((\w+), job\)$/.exec(query.query) ?? [];
      expect(series.has(metric)).toBe(true);
    }
    // What Grafana does not say when it loads the file: panels that lie on each other, or have one id.
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)}/${y + Math.floor(n / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });

  it('is watched by alerts, each with a heading in the manual, on series and labels that a scrape has', async () => {
    const { groups } = parse(await read('deploy/prometheus/alerts.yml')) as { groups: { rules: Alert[] }[] };
    const alerts = groups.flatMap(({ rules }) => rules);
    expect(alerts.length).toBeGreaterThan(15);
    const series = readScrape(scrape);
    for (const { alert, expr, annotations } of alerts) {
      expect({ alert, unknown: findUnknown(readPromQl(expr), series) }).toEqual({ alert, unknown: [] });
      expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`);
    }
    const headings = (await read('docs/operations.md')).matchAll(/^### (Scheduler\w+)$/gm);
    expect([...headings].map(([, name]) => name).sort()).toEqual(alerts.map(({ alert }) => alert).sort());
  });
});

type Dashboard = {
  panels: { id: number; gridPos: Record<'x' | 'y' | 'w' | 'h', number>; targets?: { expr: string }[] }[];
  templating: { list: { query: string | { query: string } }[] };
};
type Alert = { alert: string; expr: string; annotations: { runbook: string } };

async function read(path: string): Promise<string> {
  return await readFile(join(import.meta.dirname, '../..', path), 'utf8');
}

async function readDashboard(): Promise<Dashboard> {
  return JSON.parse(await read('deploy/grafana/dashboard.json')) as Dashboard;
}

/** As Grafana sends them. */
function expressionsOf({ panels }: Dashboard): string[] {
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return expressions.map((expression) => expression.replaceAll('$__rate_interval', '5m'));
}

const promtool = process.env['PROMTOOL'] ?? 'promtool';
const hasPromtool = spawnSync(promtool, ['--version']).status === 0;
describeWhen(hasPromtool, 'promtool is not installed, the rules were not played', 'by promtool', () => {
  const expectSuccess = (...args: string[]): void => {
    const { status, stdout, stderr } = spawnSync(promtool, args, { encoding: 'utf8' });
    expect({ status, output: `${stdout}${stderr}` }).toEqual({ status: 0, output: expect.stringContaining('SUCCESS') });
  };

  it('alerts fire on trouble of every kind, and on nothing else', () => {
    expectSuccess('test', 'rules', join(import.meta.dirname, '../../deploy/prometheus/alerts.test.yml'));
  });

  it('the dashboard’s expressions are PromQL', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'dashboard-'));
    const rules = expressionsOf(await readDashboard()).map((expr, index) => ({ record: `panel:${index}`, expr }));
    const file = join(directory, 'rules.yml');
    await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    expectSuccess('check', 'rules', file);
    await rm(directory, { recursive: true });
  });
});
