import type { Registry } from 'prom-client';
import type { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { DEPLOYMENT_STATUSES, isEnded } from '../deployments/deployment-status.js';
import { SILENT_SECONDS } from '../fleet/plan/plan-silence.js';
import { JOB_STATUSES } from '../jobs/job-status.js';
import { registerLazyGauges, type Sample } from './lazy-gauges.js';

/**
 * Jobs, deployments, agents, webhooks and snapshots, as Postgres knows them.
 * @param volumeId the volume that snapshots are taken of; null = none are
 */
export function registerStatusGauges(registry: Registry, database: Database, volumeId: string | null): void {
  registerLazyGauges({
    registry,
    look: async () => {
      const [row] = await database.run(STATUSES, [SILENT_SECONDS, volumeId]);
      if (!row) throw new Error('a statement of aggregates has a row');
      return row;
    },
    up: { name: 'scheduler_statuses_up', help: '1 when jobs and deployments could be read from Postgres in time.' },
    gauges: [
      {
        name: 'scheduler_jobs',
        help: 'Jobs, by status.',
        labelNames: ['status'],
        samplesOf: ({ jobs }) => countsOf(JOB_STATUSES, jobs),
      },
      {
        name: 'scheduler_deployments',
        help: 'Deployments that have not ended, by status.',
        labelNames: ['status'],
        samplesOf: ({ deployments }) => countsOf(OPEN_STATUSES, deployments),
      },
      {
        name: 'scheduler_agents',
        help: 'Agents of instances with work: heard lately, or silent.',
        labelNames: ['state'],
        samplesOf: ({ heard, silent }) => [
          [{ state: 'heard' }, heard],
          [{ state: 'silent' }, silent],
        ],
      },
      {
        name: 'scheduler_webhooks',
        help: 'Webhooks: well, failing (no delivery has arrived for a while), or disabled because they failed for too long.',
        labelNames: ['state'],
        samplesOf: ({ webhooks }) => countsOf(WEBHOOK_STATES, webhooks, 'state'),
      },
      {
        name: 'scheduler_snapshot_age_seconds',
        help: 'Time since the last completed snapshot of the data volume began; while there is none, since the first was tried.',
        samplesOf: ({ snapshotAge }) => (snapshotAge === null ? [] : [[{}, snapshotAge]]),
      },
    ],
  });
}

/** A webhook that a user has switched off is not counted. */
const WEBHOOK_STATES = ['well', 'failing', 'disabled'];

const OPEN_STATUSES = DEPLOYMENT_STATUSES.filter((status) => !isEnded(status));

type Counts = Readonly<Record<string, number>>;

/** With 0 for values without rows: a series that comes and goes looks like a scrape that failed. */
function countsOf(values: readonly string[], counts: Counts | null, label = 'status'): Sample[] {
  return values.map((value) => [{ [label]: value }, counts?.[value] ?? 0]);
}

const STATUSES = statement('metrics-statuses', {
  values: [t.double, t.nullable(t.text)],
  row: {
    jobs: t.nullable(t.jsonOf<Counts>()),
    deployments: t.nullable(t.jsonOf<Counts>()),
    webhooks: t.nullable(t.jsonOf<Counts>()),
    snapshotAge: t.nullable(t.double),
    heard: t.int,
    silent: t.int,
  },
})(`
  SELECT
    (SELECT jsonb_object_agg(status, count) FROM (
       SELECT status, count(*)::int AS count FROM jobs WHERE deleted_at IS NULL GROUP BY status) j) AS jobs,
    (SELECT jsonb_object_agg(status, count) FROM (
       SELECT status, count(*)::int AS count FROM deployments
       WHERE status IN ('queued', 'deploying', 'active', 'draining') GROUP BY status) d) AS deployments,
    (SELECT jsonb_object_agg(state, count) FROM (
       SELECT CASE WHEN disabled_reason IS NOT NULL THEN 'disabled' WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'well' END AS state,
         count(*)::int AS count
       FROM webhooks WHERE enabled OR disabled_reason IS NOT NULL GROUP BY 1) w) AS webhooks,
    (SELECT extract(epoch FROM clock_timestamp() - coalesce(max(asked_at) FILTER (WHERE state = 'completed'), min(asked_at)))::float8
     FROM snapshots WHERE volume_id = $2) AS "snapshotAge",
    count(*) FILTER (WHERE last_seen_at >= clock_timestamp() - make_interval(secs => $1))::int AS heard,
    count(*) FILTER (WHERE last_seen_at < clock_timestamp() - make_interval(secs => $1))::int AS silent
  FROM instances
  WHERE assigned AND NOT quarantined AND terminated_at IS NULL AND retire_reason IS NULL AND registered_at IS NOT NULL`);
