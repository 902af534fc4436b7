import { MOST_ANSWER_BYTES, NO_ANSWER, type OrderAnswer, readAnswer } from '../docker/order-answer.js';
import type { Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { Attempt } from '../deployments/attempt.entity.js';
import { MADE_OF, OUTCOME, PHASE_TIMES } from '../deployments/deployment-columns.js';
import { Deployment } from '../deployments/deployment.entity.js';
import { Job } from '../jobs/job.entity.js';
import { definitionOf } from '../jobs/stored-definition.js';
import {
  ORDER_PURPOSES,
  type InstanceFacts,
  type JobFacts,
  type OrderFacts,
  type OrderPurpose,
  type Premises,
  type VerdictFacts,
} from './plan/plan-facts.js';
import { EXITS_AT_ONCE } from './plan/plan-healing.js';

/** Orders that are repeated while a container runs: only the latest WAITS of each count. */
const REPEATED: readonly OrderPurpose[] = ['wait', 'inspect-container', 'inspect-exit'];
/** As many as plan-healing.ts looks back over. */
const WAITS = EXITS_AT_ONCE;
const PURPOSES = ORDER_PURPOSES.filter((purpose) => !REPEATED.includes(purpose));
/** Enough for every ceiling and pause that counts attempts; more would make a pass of a long troubled job slow. */
const ENDED_ATTEMPTS = 20;

// Inside a JSON object Postgres writes times as text.
type InstanceRow = Omit<InstanceFacts, 'assignedAt' | 'unreachableAt' | 'addressFreeAt'> & {
  assignedAt: string;
  unreachableAt: string | null;
  addressFreeAt: string | null;
};
type VerdictRow = Omit<VerdictFacts, 'at'> & { at: string };

export type ClaimedJob = Pick<JobFacts, 'id' | 'name'>;

export type ClaimOptions = {
  /** Only these, by id. */
  readonly among?: readonly string[] | null;
  /** Called before anything else of them is loaded. */
  readonly onClaimed?: (jobs: readonly ClaimedJob[]) => void;
};

/**
 * Locks up to `limit` due jobs and loads everything their plans need, in a fixed number of statements. `now` is read
 * after the locks, so that all commits before it are seen. `lagsMs`: how long each had been due.
 */
export async function claimJobs(
  transaction: Queryable,
  premises: Premises,
  limit: number,
  { among = null, onClaimed = () => undefined }: ClaimOptions = {},
): Promise<{ now: Date; jobs: JobFacts[]; lagsMs: number[] }> {
  const claimed = await transaction.run(CLAIM, [limit, among]);
  onClaimed(claimed);
  const jobIds = claimed.map(({ id }) => id);
  if (jobIds.length === 0) return { now: new Date(0), jobs: [], lagsMs: [] };

  const jobs = await transaction.run(JOBS, [jobIds]);
  const deployments = await transaction.run(DEPLOYMENTS, [jobIds]);
  const deploymentIds = deployments.map(({ id }) => id);
  const attempts = await transaction.run(ATTEMPTS, [deploymentIds, premises.lateCallerSeconds]);
  const ended = await transaction.run(ENDED, [deploymentIds, ENDED_ATTEMPTS]);
  const attemptIds = attempts.map(({ id }) => id);
  const orders = await transaction.run(ORDERS, [attemptIds, PURPOSES, WAITS, MOST_ANSWER_BYTES]);

  const ordersOf = Map.groupBy(orders, ({ attemptId }) => attemptId);
  const attemptsOf = Map.groupBy(attempts, ({ deploymentId }) => deploymentId);
  const endedOf = Map.groupBy(ended, ({ deploymentId }) => deploymentId);
  const deploymentsOf = Map.groupBy(deployments, ({ jobId }) => jobId);
  return {
    now: jobs[0]?.now ?? new Date(0),
    lagsMs: claimed.map(({ lagMs }) => lagMs),
    jobs: jobs.map((job) => ({
      ...job,
      ...premises,
      deployments: (deploymentsOf.get(job.id) ?? []).map((deployment) => ({
        ...deployment,
        definition: definitionOf(deployment.definition),
        endedAttempts: (endedOf.get(deployment.id) ?? []).toReversed(),
        attempts: (attemptsOf.get(deployment.id) ?? []).map((attempt) => ({
          ...attempt,
          instance: attempt.instance && instanceOf(attempt.instance),
          verdict: attempt.verdict && { ...attempt.verdict, at: new Date(attempt.verdict.at) },
          orders: (ordersOf.get(attempt.id) ?? []).map(orderOf),
        })),
      })),
    })),
  };
}

function orderOf({ answer, unread, ...order }: RowOf<typeof ORDER_ROW>): OrderFacts {
  return { ...order, answer: answer ?? (unread ? readAnswer(order.purpose, unread) : NO_ANSWER) };
}

function instanceOf(row: InstanceRow): InstanceFacts {
  return {
    ...row,
    assignedAt: new Date(row.assignedAt),
    unreachableAt: row.unreachableAt === null ? null : new Date(row.unreachableAt),
    addressFreeAt: row.addressFreeAt === null ? null : new Date(row.addressFreeAt),
  };
}

// NO KEY UPDATE, so that inserting a deployment (which locks the job's key) need not wait for a pass.
const CLAIM = statement('claim-jobs', {
  values: [t.bigintValue, t.nullable(t.arrayOf(t.uuid))],
  row: { ...columnsOf(Job, 'id', 'name'), lagMs: t.double },
})(`
  SELECT id, name, extract(epoch FROM clock_timestamp() - next_pass_at)::float8 * 1000 AS "lagMs" FROM jobs
  WHERE next_pass_at <= clock_timestamp() AND ($2::uuid[] IS NULL OR id = ANY($2))
  ORDER BY next_pass_at
  LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED`);

const JOB_COLUMNS = columnsOf(Job, 'id', 'name', 'desiredState', 'status', 'activeDeploymentId');
const JOBS = statement('load-jobs', {
  values: [t.arrayOf(t.uuid)],
  row: {
    now: t.timestamptz,
    ...JOB_COLUMNS,
    latestStatus: t.nullable(columnsOf(Deployment, 'status').status),
    lingeringInstances: t.int,
    hosts: t.arrayOf(t.text),
  },
})(`
  SELECT clock_timestamp() AS now, ${selectList(JOB_COLUMNS)},
    (SELECT d.status FROM deployments d WHERE d.job_id = j.id ORDER BY d.number DESC LIMIT 1) AS "latestStatus",
    CASE WHEN j.desired_state = 'deleted' THEN (
      SELECT count(*)::int FROM deployments d
      JOIN attempts a ON a.deployment_id = d.id
      JOIN assignments s ON s.attempt_id = a.id
      JOIN instances i ON i.id = s.instance_id
      WHERE d.job_id = j.id AND i.terminated_at IS NULL AND NOT i.quarantined
    ) ELSE 0 END AS "lingeringInstances",
    ARRAY(SELECT host FROM routes WHERE job_id = j.id AND removed_at IS NULL ORDER BY host) AS hosts
  FROM jobs j
  WHERE id = ANY($1)
  ORDER BY id`);

const DEPLOYMENT_ROW = {
  ...MADE_OF,
  ...OUTCOME,
  ...columnsOf(Deployment, 'jobId', 'imageId', 'trigger', 'origin', 'cancelRequestedAt', 'createdAt'),
} as const;
const DEPLOYMENTS = statement('load-deployments', { values: [t.arrayOf(t.uuid)], row: DEPLOYMENT_ROW })(`
  SELECT ${selectList(DEPLOYMENT_ROW)}
  FROM deployments
  WHERE id IN (
    SELECT id FROM deployments
    WHERE job_id = ANY($1) AND status IN ('queued', 'deploying', 'active', 'draining')
    UNION
    SELECT deployment_id FROM attempts WHERE job_id = ANY($1) AND phase <> 'ended'
  )
  ORDER BY job_id, number`);

const ATTEMPT_COLUMNS = {
  ...columnsOf(Attempt, 'deploymentId', 'id', 'number', 'shapeKey', 'phase', 'reason', 'message', 'counted'),
  ...PHASE_TIMES,
  ...columnsOf(Attempt, 'createdAt', 'endedAt', 'logsCompleteAt', 'routedPort', 'unroutedAt'),
  ...columnsOf(Attempt, 'reachPort', 'reachAskedAt', 'reachedAs'),
} as const;
const ATTEMPTS = statement('load-attempts', {
  values: [t.arrayOf(t.uuid), t.double],
  row: {
    ...ATTEMPT_COLUMNS,
    instance: t.nullable(t.jsonOf<InstanceRow>()),
    verdict: t.nullable(t.jsonOf<VerdictRow>()),
  },
})(`
  SELECT ${selectList(ATTEMPT_COLUMNS, 'a')},
    CASE WHEN i.id IS NOT NULL THEN jsonb_build_object(
      'id', i.id, 'assignedAt', s.assigned_at, 'state', i.state, 'stateReason', i.state_reason,
      'privateIp', i.private_ip, 'imageId', i.image_id, 'unreachableAt', i.unreachable_at,
      'retireReason', i.retire_reason, 'isAdopted', d.adopts IS NOT DISTINCT FROM i.id, 'ordersAfter', i.orders_after,
      'addressFreeAt', CASE WHEN a.phase IN ('waiting', 'assigned', 'pulling') THEN (
        SELECT max(CASE WHEN ra.routed_port IS NOT NULL AND ra.phase <> 'ended' THEN clock_timestamp()
            ELSE coalesce(ra.unrouted_at, ra.ended_at) END) + make_interval(secs => $2)
        FROM instances ri JOIN assignments rs ON rs.instance_id = ri.id JOIN attempts ra ON ra.id = rs.attempt_id
        WHERE ri.private_ip = i.private_ip AND ri.id <> i.id
          AND (ra.routed_port IS NOT NULL OR ra.unrouted_at IS NOT NULL)
          AND (ra.phase <> 'ended' OR coalesce(ra.unrouted_at, ra.ended_at) > clock_timestamp() - make_interval(secs => $2))
      ) END) END AS instance,
    CASE WHEN i.id IS NULL AND sh.verdict_reason IS NOT NULL THEN jsonb_build_object(
      'reason', sh.verdict_reason, 'message', coalesce(sh.verdict_message, ''), 'at', sh.verdict_at,
      'isFinal', sh.verdict_is_final) END AS verdict
  FROM attempts a
  JOIN deployments d ON d.id = a.deployment_id
  LEFT JOIN assignments s ON s.attempt_id = a.id
  LEFT JOIN instances i ON i.id = s.instance_id
  LEFT JOIN shapes sh ON sh.key = a.shape_key
  WHERE a.deployment_id = ANY($1) AND a.phase <> 'ended'
  ORDER BY a.deployment_id, a.number`);

const ENDED_COLUMNS = columnsOf(Attempt, 'deploymentId', 'number', 'reason', 'message', 'counted', 'healthyAt');
const ENDED = statement('load-ended', {
  values: [t.arrayOf(t.uuid), t.bigintValue],
  row: { ...ENDED_COLUMNS, endedAt: t.timestamptz, noticedAt: t.nullable(t.timestamptz) },
})(`
  SELECT e.* FROM unnest($1::uuid[]) AS d(id)
  CROSS JOIN LATERAL (
    SELECT ${selectList(ENDED_COLUMNS)}, ended_at AS "endedAt",
      (SELECT max(o.answered_at) FROM orders o
       WHERE o.attempt_id = a.id AND o.purpose = 'watch-spot' AND o.result_status = 200) AS "noticedAt"
    FROM attempts a
    WHERE deployment_id = d.id AND phase = 'ended'
    ORDER BY number DESC
    LIMIT $2
  ) e`);

const ORDER_ROW = {
  attemptId: t.uuid,
  number: t.int,
  purpose: t.oneOf<OrderPurpose>(),
  createdAt: t.timestamptz,
  takenAt: t.nullable(t.timestamptz),
  answeredAt: t.nullable(t.timestamptz),
  status: t.nullable(t.int),
  error: t.nullable(t.text),
  probeState: t.nullable(t.oneOf<'healthy' | 'unhealthy'>()),
  answer: t.nullable(t.jsonOf<OrderAnswer>()),
  /** An answer stored by a version that did not parse it. */
  unread: t.nullable(t.bytea),
} as const;

// The planner reads eight exits, three failures and the open order of the exit watch, and the last look: no more are
// loaded. An image's pull and description are of no use once the container was created, nor are its last lines once
// they are with their deployment.
const ORDERS = statement('load-orders', {
  values: [t.arrayOf(t.uuid), t.arrayOf(t.text), t.bigintValue, t.int],
  row: ORDER_ROW,
})(`
  SELECT a.id AS "attemptId", o.number, o.purpose, o.created_at AS "createdAt", o.taken_at AS "takenAt",
    o.answered_at AS "answeredAt", o.result_status AS status, o.result_error AS error, o.probe_state AS "probeState",
    CASE WHEN NOT u.is_used THEN NULL ELSE o.answer END AS answer,
    CASE WHEN u.is_used AND o.answer IS NULL
      THEN substring(o.result_body FROM greatest(1, octet_length(o.result_body) - $4 + 1)) END AS unread
  FROM attempts a
  CROSS JOIN LATERAL (
    (SELECT * FROM orders x WHERE x.attempt_id = a.id AND x.purpose = ANY($2))
    UNION ALL
    (SELECT * FROM orders x WHERE x.attempt_id = a.id AND x.purpose = 'wait' ORDER BY x.number DESC LIMIT $3)
    UNION ALL
    (SELECT * FROM orders x WHERE x.attempt_id = a.id AND x.purpose = 'inspect-exit' ORDER BY x.number DESC LIMIT $3)
    UNION ALL
    (SELECT * FROM orders x WHERE x.attempt_id = a.id AND x.purpose = 'inspect-container' ORDER BY x.number DESC LIMIT 1)
  ) o
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN o.purpose IN ('pull', 'inspect-image') THEN a.phase IN ('waiting', 'assigned', 'pulling')
      WHEN o.purpose = 'logs' THEN a.phase <> 'stopping'
      ELSE true
    END AS is_used
  ) u
  WHERE a.id = ANY($1)
  ORDER BY a.id, o.number`);
