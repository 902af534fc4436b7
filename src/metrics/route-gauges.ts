import type { Registry } from 'prom-client';
import type { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { hasItsAddress } from '../ingress/address-owner.js';
import { reachedAsOf } from '../jobs/job-view.js';
import { keptNames, URL_REASONS } from '../jobs/route-rules.js';
import { registerLazyGauges } from './lazy-gauges.js';

/**
 * Of the URL of a job: it leads to a container; it leads nowhere although the job is running; nothing serves; and else why
 * there is none.
 */
const URL_STATES = [
  ...['leads', 'nowhere', 'nothing-serves'],
  // Of jobs that are to run.
  ...Object.keys(URL_REASONS).filter((reason) => reason !== 'deleting'),
];
/** Of a host of a job's own: it leads to a container; nothing serves; or the job names it and does not have it. */
const HOST_STATES = ['leads', 'nothing-serves', 'missing'];

/** Addresses of the jobs that are to run, as Postgres knows them. @param domain of JOBS_URL; null = jobs have none */
export function registerRouteGauges(registry: Registry, database: Database, domain: string | null): void {
  registerLazyGauges({
    registry,
    look: async () => {
      const rows = await database.run(ADDRESSES, [domain, domain === null ? null : keptNames(domain)]);
      return new Map(rows.map(({ what, state, count }) => [`${what} ${state}`, count]));
    },
    up: { name: 'scheduler_addresses_up', help: '1 when the addresses of jobs could be read from Postgres in time.' },
    gauges: [
      {
        name: 'scheduler_job_urls',
        help: 'Jobs that are to run, by where their URL leads, or why they have none (urlReason).',
        labelNames: ['state'],
        samplesOf: (counts) => URL_STATES.map((state) => [{ state }, counts.get(`url ${state}`) ?? 0]),
      },
      {
        name: 'scheduler_job_hosts',
        help: 'Hosts of their own of jobs that are to run: they lead to the job, nothing serves, or it does not have them.',
        labelNames: ['state'],
        samplesOf: (counts) => HOST_STATES.map((state) => [{ state }, counts.get(`host ${state}`) ?? 0]),
      },
    ],
  });
}

/** As `routedPortOf` (jobs/route-rules.ts) of a definition that has a route; `of`: alias of what has the definition. */
const portChoiceOf = (of: string): string => `(
      SELECT CASE WHEN count(*) = 0 THEN 'no-ports' WHEN count(*) > 1 AND ${of}.definition -> 'route' -> 'port' IS NULL THEN 'several-ports'
        ELSE 'one' END AS choice
      FROM jsonb_array_elements(${of}.definition -> 'ports') port
      WHERE ${of}.definition -> 'route' -> 'port' IS NULL OR port -> 'container' = ${of}.definition -> 'route' -> 'port') ports`;

// In the same order as `urlReason` of a job is found (jobs/job-view.ts), and led as `find-route` says.
const ADDRESSES = statement('metrics-addresses', {
  values: [t.nullable(t.text), t.nullable(t.text)],
  row: { what: t.text, state: t.text, count: t.int },
})(`
  WITH running AS (
    SELECT j.id, j.status, j.definition, j.deployment_count, j.active_deployment_id,
      coalesce(active.definition -> 'route', 'false') <> 'false' AND (SELECT choice = 'one' FROM ${portChoiceOf('active')}) AS is_wanted,
      CASE WHEN j.name !~ $2::text THEN j.name || '.' || $1::text END AS host,
      coalesce(found.is_led, false) AS is_led, found.reached_as
    FROM jobs j
    LEFT JOIN deployments active ON active.id = j.active_deployment_id
    LEFT JOIN LATERAL (
      SELECT bool_or(a.routed_port IS NOT NULL AND i.private_ip IS NOT NULL AND ${hasItsAddress('i')}) AS is_led,
        (array_agg(${reachedAsOf('a', 'active')} ORDER BY a.number DESC) FILTER (WHERE a.phase = 'healthy'))[1] AS reached_as
      FROM attempts a JOIN assignments s ON s.attempt_id = a.id JOIN instances i ON i.id = s.instance_id
      WHERE a.deployment_id = j.active_deployment_id AND a.phase NOT IN ('stopping', 'ended')
    ) found ON true
    WHERE j.deleted_at IS NULL AND j.desired_state = 'running'),
  urls AS (
    SELECT CASE
        WHEN $1 IS NULL THEN 'no-domain'
        WHEN EXISTS (SELECT FROM routes r WHERE r.host = j.host AND r.job_id = j.id AND r.removed_at IS NULL) THEN
          CASE WHEN j.is_led THEN 'leads' WHEN j.status = 'running' THEN 'nowhere' ELSE 'nothing-serves' END
        WHEN coalesce(j.definition -> 'route', 'false') = 'false' THEN 'off'
        WHEN ports.choice <> 'one' THEN ports.choice
        WHEN j.host IS NULL THEN 'reserved-name'
        WHEN j.deployment_count = 0 THEN 'not-deployed'
        WHEN j.active_deployment_id IS NULL AND j.status = 'deploying' THEN 'nothing-serves'
        WHEN j.reached_as = 'asked' THEN 'nothing-serves'
        WHEN j.reached_as = 'nothing' THEN 'route-unreachable'
        WHEN j.reached_as <> 'http' THEN 'not-http'
        WHEN j.is_wanted THEN 'host-still-draining'
        ELSE 'next-deployment'
      END AS state
    FROM running j
    CROSS JOIN LATERAL ${portChoiceOf('j')}),
  hosts AS (
    SELECT CASE WHEN r.host IS NULL THEN 'missing' WHEN j.is_led THEN 'leads' ELSE 'nothing-serves' END AS state
    FROM running j
    CROSS JOIN LATERAL (
      SELECT jsonb_array_elements_text(j.definition -> 'route' -> 'hosts') AS host
      UNION SELECT host FROM routes WHERE job_id = j.id AND removed_at IS NULL
    ) own
    LEFT JOIN routes r ON r.host = own.host AND r.job_id = j.id AND r.removed_at IS NULL
    WHERE own.host IS DISTINCT FROM j.host)
  SELECT 'url' AS what, state, count(*)::int AS count FROM urls GROUP BY state
  UNION ALL SELECT 'host', state, count(*)::int FROM hosts GROUP BY state`);
