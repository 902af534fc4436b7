import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Registry } from 'prom-client';
import { RouteLookup } from '../../src/ingress/route-lookup.ts';
import type { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { createJobView, type JobRow, selectJobsFrom } from '../../src/jobs/job-view.ts';
import { NO_HOSTS, URL_REASONS } from '../../src/jobs/route-rules.ts';
import { registerRouteGauges } from '../../src/metrics/route-gauges.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const DOMAIN = 'jobs.test';
const URLS = { scheme: 'http:', domain: DOMAIN, port: '' } as const;
const ADDRESSES = { ...URLS, private: URLS, hostRules: NO_HOSTS };

/** Every job that there can be, as far as its addresses go. */
describe('jobs by their addresses, for Prometheus', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
    const base = { ...JobDefinition.parse({}), route: undefined };
    await test.database.query(INSERT, [JSON.stringify(base), DOMAIN]);
  });
  afterAll(() => test.close());

  const read = async (domain: string | null): Promise<Record<string, number>> => {
    const registry = new Registry();
    registerRouteGauges(registry, test.database, domain);
    const lines = (await registry.metrics()).split('\n').filter((line) => /^scheduler_job/.test(line));
    return Object.fromEntries(
      lines.map((line) => [line.replace(/ .*$/, ''), Number(line.slice(line.lastIndexOf(' ')))]),
    );
  };

  it('are those that the API and nginx say', async () => {
    const rows = await test.database.query<JobRow>(selectJobsFrom('jobs'));
    const view = createJobView('http://10.0.0.1', ADDRESSES);
    const lookup = new RouteLookup(test.database, undefined as unknown as ChangeWaiter, undefined);
    const expected = new Map<string, number>();
    const count = (name: string, state: string) => {
      const key = `scheduler_${name}{state="${state}"}`;
      expected.set(key, (expected.get(key) ?? 0) + 1);
    };
    for (const row of rows.filter(({ desiredState }) => desiredState === 'running')) {
      const { id, name, status, url, urlReason, hosts } = view(row);
      const stateOf = async (host: string, otherwise: string) => {
        const found = await lookup.find(host);
        if (found?.jobId !== id) return null;
        return found.target ? 'leads' : otherwise;
      };
      const nowhere = status === 'running' ? 'nowhere' : 'nothing-serves';
      const byName = url === null ? urlReason : await stateOf(`${name}.${DOMAIN}`, nowhere);
      count('job_urls', byName ?? 'nothing-serves');
      for (const { host } of hosts) count('job_hosts', (await stateOf(host, 'nothing-serves')) ?? 'missing');
    }
    const found = await read(DOMAIN);
    const reasons = Object.keys(URL_REASONS).filter((reason) => reason !== 'no-domain' && reason !== 'deleting');
    // Each of them there is.
    for (const state of ['leads', 'nowhere', 'nothing-serves', ...reasons]) {
      expect([state, found[`scheduler_job_urls{state="${state}"}`]]).toEqual([state, expect.any(Number)]);
      expect([state, expected.get(`scheduler_job_urls{state="${state}"}`)]).not.toEqual([state, undefined]);
    }
    expect(Object.fromEntries(Object.entries(found).filter(([, value]) => value > 0))).toEqual(
      Object.fromEntries(expected),
    );
  }, 60_000);

  it('are none without JOBS_URL', async () => {
    const [jobs] = await test.database.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM jobs WHERE desired_state = 'running'`,
    );
    const found = Object.entries(await read(null)).filter(([name, value]) => name.includes('urls') && value > 0);
    expect(found).toEqual([['scheduler_job_urls{state="no-domain"}', jobs?.count]]);
  });
});

/** $1: a definition; $2: the domain. Every fifth, seventh, tenth and eleventh differs from what its row says; every thirteenth has an address that another has as well. */
const INSERT = `
  WITH made AS (
    SELECT gen_random_uuid() AS id, gen_random_uuid() AS deployment, gen_random_uuid() AS attempt,
      'job' || row_number() OVER () || suffix AS name, row_number() OVER () AS n, *
    FROM
      (VALUES (''), ('--7')) names(suffix),
      (VALUES (NULL::jsonb), ('false'), ('{}'), ('{"port": 81}'), ('{"port": 99}'), ('{"hosts": ["own.test", "other.test"]}')) routes(route),
      (VALUES ('[]'::jsonb), ('[{"container": 80, "host": 80}]'),
        ('[{"container": 81, "host": 1}, {"container": 82, "host": 2}]')) portlists(ports),
      (VALUES ('running', false, 'null'), ('idle', false, NULL), ('deploying', false, 'null'), ('failed', false, 'null'),
        ('running', true, 'own'), ('running', true, 'false'), ('degraded', true, 'own'), ('deploying', true, NULL)) states(status, is_active, active_route),
      (VALUES (NULL, NULL), ('http', NULL), ('silent', NULL), ('nothing', '1 s'), (NULL, '-1 s'), (NULL, '1 min')) founds(reached_as, asked),
      (VALUES (false, false), (true, false), (true, true)) ways(has_rows, is_led)),
  jobs AS (
    INSERT INTO jobs (id, name, kind, status, desired_state, deployment_count, active_deployment_id, definition)
    SELECT id, name, 'service', status, CASE WHEN n % 10 = 0 THEN 'stopped' ELSE 'running' END,
      CASE WHEN active_route IS NULL AND NOT is_active THEN 0 ELSE 1 END,
      CASE WHEN is_active THEN deployment END,
      $1::jsonb || jsonb_build_object('ports', ports) || CASE
        WHEN route IS NULL THEN '{}'
        WHEN route ? 'hosts' THEN jsonb_build_object('route', jsonb_build_object('hosts', jsonb_build_array(name || '.own', name || '.other')))
        ELSE jsonb_build_object('route', route) END
    FROM made RETURNING id),
  deployments AS (
    INSERT INTO deployments (id, job_id, number, image, status, trigger, active_at, definition)
    SELECT deployment, id, 1, 'web:1', 'active', 'api', '2026-12-01 00:00Z',
      $1::jsonb || jsonb_build_object('ports', ports) || CASE active_route
        WHEN 'own' THEN '{"route": {}}' WHEN 'false' THEN '{"route": false}' ELSE '{}'::jsonb END
    FROM made RETURNING id),
  attempts AS (
    INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority, phase, reach_asked_at, reached_as, routed_port)
    SELECT attempt, id, deployment, 1, 'shape', 2,
      CASE WHEN n % 7 = 0 THEN 'stopping' ELSE 'healthy' END,
      '2026-12-01 00:00Z'::timestamptz + asked::interval, reached_as, CASE WHEN is_led THEN 80 END
    FROM made RETURNING id),
  instances AS (
    INSERT INTO instances (id, state, private_ip)
    SELECT 'i-' || n, 'running', CASE
      WHEN n % 13 = 0 THEN '10.1.0.1' WHEN n % 11 <> 0 THEN '10.0.' || n / 250 || '.' || n % 250 END FROM made RETURNING id),
  assignments AS (
    INSERT INTO assignments (attempt_id, instance_id) SELECT attempt, 'i-' || n FROM made RETURNING attempt_id)
  INSERT INTO routes (host, job_id, removed_at)
  SELECT host, id, CASE WHEN n % 5 = 0 THEN clock_timestamp() END
  FROM made, unnest(ARRAY[CASE WHEN suffix = '' THEN name || '.' || $2::text ELSE name || '.extra' END, name || '.own']) host
  WHERE has_rows`;
