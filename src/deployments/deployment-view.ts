import { columnsOf, outerJoined, type RowOf, selectList, t } from '../database/statement.js';
import { INSTANCE_COLUMNS, INSTANCE_ROW, toInstance } from '../jobs/job-view.js';
import { definitionOf } from '../jobs/stored-definition.js';
import { Attempt } from './attempt.entity.js';
import { ATTEMPT_PHASES, type AttemptPhase } from './attempt-status.js';
import { MADE_OF, OUTCOME, PHASE_TIMES } from './deployment-columns.js';
import { Deployment } from './deployment.entity.js';
import type { DeploymentResponse } from './deployment.schema.js';

const DEPLOYMENT_COLUMNS = {
  ...MADE_OF,
  ...OUTCOME,
  ...columnsOf(Deployment, 'secretNames', 'trigger', 'copiedFrom', 'cancelRequestedAt', 'createdAt'),
} as const;

/**
 * Deployments with their latest attempt and its instance.
 * @param source SQL that yields the job as `j` and the deployment as `d`, outer-joined: null columns without one
 */
export const selectDeploymentsFrom = (source: string): string => `
  SELECT j.id AS "jobId", j.name AS job, ${selectList(DEPLOYMENT_COLUMNS, 'd')}, clock_timestamp() AS now,
         a.number AS attempt, a.phase, a.created_at AS "waitingAt", ${selectList(PHASE_TIMES, 'a')},
         a.ended_at AS "attemptEndedAt", ${INSTANCE_COLUMNS}
  FROM ${source}
  LEFT JOIN LATERAL (SELECT * FROM attempts WHERE deployment_id = d.id ORDER BY number DESC LIMIT 1) a ON true
  LEFT JOIN assignments s ON s.attempt_id = a.id
  LEFT JOIN instances i ON i.id = s.instance_id`;

const JOB_COLUMNS = { jobId: t.uuid, job: t.text } as const;
const ATTEMPT_ROW = {
  now: t.timestamptz,
  attempt: t.nullable(t.int),
  phase: t.nullable(columnsOf(Attempt, 'phase').phase),
  waitingAt: t.nullable(t.timestamptz),
  ...PHASE_TIMES,
  attemptEndedAt: t.nullable(t.timestamptz),
} as const;
type AttemptColumns = RowOf<typeof ATTEMPT_ROW>;

/** Of `selectDeploymentsFrom`. */
export const DEPLOYMENT_ROW = { ...JOB_COLUMNS, ...DEPLOYMENT_COLUMNS, ...ATTEMPT_ROW, ...INSTANCE_ROW } as const;
export type DeploymentRow = RowOf<typeof DEPLOYMENT_ROW>;

/** The same, of a job that may have no such deployment: all columns of it are null then. */
export const OUTER_DEPLOYMENT_ROW = { ...DEPLOYMENT_ROW, ...outerJoined(DEPLOYMENT_COLUMNS) } as const;

export function toDeployment(row: DeploymentRow): DeploymentResponse {
  return {
    id: row.id,
    job: row.job,
    number: row.number,
    image: row.image,
    imageDigest: row.imageDigest,
    trigger: row.trigger,
    copiedFrom: row.copiedFrom,
    status: row.status,
    reason: row.reason,
    message: row.message,
    failedPhase: row.failedPhase,
    retryable: row.retryable,
    exitCode: row.exitCode,
    lastLogLines: row.lastLogLines,
    attempt: row.attempt,
    phase: row.phase,
    phases: phaseDurations(row),
    instance: toInstance(row),
    definition: definitionOf(row.definition),
    secrets: row.secretNames,
    secretsVersion: row.secretsVersion,
    createdAt: row.createdAt.toISOString(),
    startedAt: timeOf(row.startedAt),
    activeAt: timeOf(row.activeAt),
    endedAt: timeOf(row.endedAt),
    deadlineAt: timeOf(row.deadlineAt),
    cancelRequestedAt: timeOf(row.cancelRequestedAt),
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
  waiting: 'waitingAt',
  assigned: 'assignedAt',
  pulling: 'pullingAt',
  starting: 'startingAt',
  healthy: 'healthyAt',
  unrouting: 'unroutingAt',
  stopping: 'stoppingAt',
  ended: 'attemptEndedAt',
} as const satisfies Record<AttemptPhase, keyof AttemptColumns>;

function timeOf(date: Date | null): string | null {
  return date === null ? null : date.toISOString();
}
