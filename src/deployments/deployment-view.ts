import { INSTANCE_COLUMNS, type InstanceColumns, toInstance } from '../jobs/job-view.js';
import { definitionOf, type StoredDefinition } from '../jobs/stored-definition.js';
import { ATTEMPT_PHASES, type AttemptPhase } from './attempt-status.js';
import type { DeploymentStatus, DeploymentTrigger } from './deployment-status.js';
import type { DeploymentResponse } from './deployment.schema.js';
import type { LogLine } from './log-line.js';

/** Columns of a deployment as `d`, of its job as `j`. */
const DEPLOYMENT_COLUMNS = `
  j.id AS job_id, j.name AS job, d.id, d.number, d.image, d.image_digest, d.definition, d.secrets_version, d.secret_names, d.trigger, d.copied_from,
  d.status, d.reason, d.message, d.failed_phase, d.retryable, d.exit_code, d.last_log_lines, d.deadline_at,
  d.cancel_requested_at, d.created_at, d.started_at, d.active_at, d.ended_at`;

/**
 * Deployments with their latest attempt and its instance.
 * @param source SQL that yields the job as `j` and the deployment as `d`, outer-joined: null columns without one
 */
export const selectDeploymentsFrom = (source: string): string => `
  SELECT ${DEPLOYMENT_COLUMNS}, clock_timestamp() AS now,
         a.number AS attempt, a.phase, a.created_at AS waiting_at, a.assigned_at, a.pulling_at, a.starting_at,
         a.healthy_at, a.stopping_at, a.ended_at AS attempt_ended_at, ${INSTANCE_COLUMNS}
  FROM ${source}
  LEFT JOIN LATERAL (SELECT * FROM attempts WHERE deployment_id = d.id ORDER BY number DESC LIMIT 1) a ON true
  LEFT JOIN assignments s ON s.attempt_id = a.id
  LEFT JOIN instances i ON i.id = s.instance_id`;

type AttemptColumns = {
  now: Date;
  attempt: number | null;
  phase: AttemptPhase | null;
  waiting_at: Date | null;
  assigned_at: Date | null;
  pulling_at: Date | null;
  starting_at: Date | null;
  healthy_at: Date | null;
  stopping_at: Date | null;
  attempt_ended_at: Date | null;
};

type DeploymentColumns = {
  number: number;
  image: string;
  image_digest: string | null;
  definition: StoredDefinition;
  secrets_version: number | null;
  secret_names: string[];
  trigger: DeploymentTrigger;
  copied_from: number | null;
  status: DeploymentStatus;
  reason: string | null;
  message: string | null;
  failed_phase: AttemptPhase | null;
  retryable: boolean | null;
  exit_code: number | null;
  last_log_lines: LogLine[] | null;
  deadline_at: Date | null;
  cancel_requested_at: Date | null;
  created_at: Date;
  started_at: Date | null;
  active_at: Date | null;
  ended_at: Date | null;
};

type JobColumns = { job_id: string; job: string };

export type DeploymentRow = JobColumns & DeploymentColumns & AttemptColumns & InstanceColumns & { id: string };
/** A job that has no deployment of the requested number. */
export type NoDeploymentRow = JobColumns & { id: null };

export function toDeployment(row: DeploymentRow): DeploymentResponse {
  return {
    id: row.id,
    job: row.job,
    number: row.number,
    image: row.image,
    imageDigest: row.image_digest,
    trigger: row.trigger,
    copiedFrom: row.copied_from,
    status: row.status,
    reason: row.reason,
    message: row.message,
    failedPhase: row.failed_phase,
    retryable: row.retryable,
    exitCode: row.exit_code,
    lastLogLines: row.last_log_lines,
    attempt: row.attempt,
    phase: row.phase,
    phases: phaseDurations(row),
    instance: toInstance(row),
    definition: definitionOf(row.definition),
    secrets: row.secret_names,
    secretsVersion: row.secrets_version,
    createdAt: row.created_at.toISOString(),
    startedAt: timeOf(row.started_at),
    activeAt: timeOf(row.active_at),
    endedAt: timeOf(row.ended_at),
    deadlineAt: timeOf(row.deadline_at),
    cancelRequestedAt: timeOf(row.cancel_requested_at),
  };
}

/** Milliseconds per phase: from its beginning to that of the next phase reached; an attempt may skip phases. */
export function phaseDurations(columns: AttemptColumns): DeploymentResponse['phases'] {
  const reached = ATTEMPT_PHASES.flatMap((phase) => {
    const at = columns[PHASE_COLUMNS[phase]];
    return at ? [{ phase, at: at.getTime() }] : [];
  });
  const durations: DeploymentResponse['phases'] = {};
  reached.forEach(({ phase, at }, index) => {
    const endsAt = reached[index + 1]?.at ?? columns.now.getTime();
    if (phase !== 'ended') durations[phase] = Math.max(0, endsAt - at);
  });
  return durations;
}

const PHASE_COLUMNS = {
  waiting: 'waiting_at',
  assigned: 'assigned_at',
  pulling: 'pulling_at',
  starting: 'starting_at',
  healthy: 'healthy_at',
  stopping: 'stopping_at',
  ended: 'attempt_ended_at',
} as const satisfies Record<AttemptPhase, keyof AttemptColumns>;

function timeOf(date: Date | null): string | null {
  return date === null ? null : date.toISOString();
}
