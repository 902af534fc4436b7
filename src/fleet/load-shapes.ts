import type { Queryable } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { Attempt } from '../deployments/attempt.entity.js';
import { Instance } from './instance.entity.js';
import { Launch } from './launch.entity.js';
import { type RecentLaunch, RECENT_SECONDS } from './plan/plan-brake.js';
import type { LaunchView, Offer } from './plan/plan-capacity.js';
import {
  type Adoption,
  type Demand,
  LIMIT_REACHED,
  LINE_SECONDS,
  type Supply,
  type Verdict,
} from './plan/plan-fleet.js';
import { Shape } from './shape.entity.js';

const SHAPE = columnsOf(Shape, 'key', 'spec', 'capacity', 'warm');
const VERDICT = columnsOf(Shape, 'verdictReason', 'verdictMessage', 'verdictAt', 'verdictIsFinal');
const CLAIMED = {
  ...SHAPE,
  /** Its `next_pass_at` unless a wake-up since the claim changed it; text: a Date would lose the microseconds. */
  claimedUntil: t.text,
  ...VERDICT,
  /** How long it had been due. */
  lagMs: t.double,
} as const;

/** A due shape, as claimed. */
export type ShapeRow = Omit<RowOf<typeof CLAIMED>, keyof typeof VERDICT> & { readonly verdict: Verdict | null };

export type ShapeFacts = {
  readonly launches: readonly LaunchView[];
  readonly recent: readonly RecentLaunch[];
  readonly supply: readonly Supply[];
  readonly demand: Demand;
  readonly adoptions: readonly Adoption[];
};

/** If this process crashes before it has written its plan, the shape is due again after this. */
const CLAIM_SECONDS = 5;
/** A shape's pass is short; a transaction with this many locks their rows for some 50 ms. */
const MOST_SHAPES = 100;
/** Launches of one shape; it has one a second at most, and far fewer in a series of losses. */
const MOST_RECENT = 60;
/** Instances of attempts that ended longer ago are left to the sweep. */
const ENDED_SECONDS = 600;

/** Milliseconds until the next shape is due: 0 = now, null = none is. */
export async function nextShapeDueMs(database: Queryable): Promise<number | null> {
  const [row] = await database.run(NEXT_DUE, []);
  return row?.ms === null || row === undefined ? null : Math.max(0, row.ms);
}

export async function claimShapes(transaction: Queryable): Promise<ShapeRow[]> {
  const rows = await transaction.run(CLAIM, [MOST_SHAPES, CLAIM_SECONDS]);
  return rows.map(({ verdictReason, verdictMessage, verdictAt, verdictIsFinal, ...row }) => ({
    ...row,
    verdict:
      verdictReason === null || verdictAt === null
        ? null
        : { reason: verdictReason, message: verdictMessage ?? '', isFinal: verdictIsFinal, at: verdictAt },
  }));
}

/**
 * Everything the plans of these shapes need. In this order: the instances of a launch that is settled in between are
 * counted twice, and the missing ones launched later; in another order they would not be counted, and launched twice.
 */
export async function loadShapes(
  transaction: Queryable,
  shapes: readonly ShapeRow[],
): Promise<Map<string, ShapeFacts>> {
  const keys = shapes.map(({ key }) => key);
  const lastLaunches = shapes.flatMap(({ capacity }) => capacity.lastLaunch?.id ?? []);
  const launches = await transaction.run(LAUNCHES, [keys, lastLaunches]);
  const supply = await transaction.run(SUPPLY, [keys, ENDED_SECONDS]);
  const unassigned = Math.max(
    1,
    supply.filter(({ registeredAt, attempt }) => registeredAt && attempt === 'none').length,
  );
  const demand = await transaction.run(DEMAND, [keys, unassigned]);

  const wanting = shapes.filter(({ key, warm }) => warm > 0 || demand.some(({ shapeKey }) => shapeKey === key));
  const recent = await loadRecent(
    transaction,
    wanting.map(({ key }) => key),
  );
  const adoptions = await transaction.run(ADOPTIONS, [keys]);

  const recentOf = Map.groupBy(recent, ({ shapeKey }) => shapeKey);
  const adoptionsOf = Map.groupBy(adoptions, ({ shapeKey }) => shapeKey);
  const launchesOf = Map.groupBy(launches, ({ shapeKey }) => shapeKey);
  const supplyOf = Map.groupBy(supply, ({ shapeKey }) => shapeKey);
  const demandOf = Map.groupBy(demand, ({ shapeKey }) => shapeKey);
  return new Map(
    keys.map((key) => [
      key,
      {
        launches: (launchesOf.get(key) ?? []).map(toLaunch),
        recent: (recentOf.get(key) ?? []).map(toLaunch),
        supply: supplyOf.get(key) ?? [],
        demand: toDemand(demandOf.get(key) ?? []),
        adoptions: adoptionsOf.get(key) ?? [],
      },
    ]),
  );
}

/** Launches of any shape that the limit per minute still allows; if none, from when it allows one again. */
export async function loadLaunchesLeft(transaction: Queryable, most: number): Promise<{ left: number; until: Date }> {
  const rows = await transaction.run(LAUNCHES_OF_A_MINUTE, [most]);
  const oldest = rows.at(-1)?.at ?? new Date(0);
  return { left: most - rows.length, until: new Date(oldest.getTime() + 60_000) };
}

/** Instances that count against MAX_INSTANCES: the living, and those that open launches may still bring. */
export async function countInstances(transaction: Queryable): Promise<number> {
  const [row] = await transaction.run(COUNT, []);
  return row?.count ?? 0;
}

/**
 * Shares the room MAX_INSTANCES leaves among all waiting attempts, whatever their shape, in the order of one line. A
 * shape that waits for something else has no share, or it would hold room that no other can use.
 */
export async function shareRoom(transaction: Queryable, room: number): Promise<Map<string, number>> {
  if (room < 1) return new Map();
  const rows = await transaction.run(SHARE_ROOM, [room, LIMIT_REACHED]);
  return new Map(rows.map(({ shapeKey, count }) => [shapeKey, count]));
}

async function loadRecent(transaction: Queryable, keys: readonly string[]) {
  return keys.length === 0 ? [] : await transaction.run(RECENT, [keys, RECENT_SECONDS, MOST_RECENT]);
}

function toLaunch<Row extends Offer>({ type, subnetId, market, ...row }: Row) {
  return { ...row, offer: { type, subnetId, market } };
}

function toDemand(rows: readonly RowOf<typeof DEMAND_ROW>[]): Demand {
  const hopeful = rows.filter(({ isDoomed }) => !isDoomed);
  return {
    count: hopeful[0]?.count ?? 0,
    doomed: rows.find(({ isDoomed }) => isDoomed)?.count ?? 0,
    newestAt: hopeful[0]?.newestAt ?? null,
    first: hopeful,
  };
}

const NEXT_DUE = statement('fleet-next-due', {
  row: { ms: t.nullable(t.double) },
})(`SELECT extract(epoch FROM min(next_pass_at) - clock_timestamp())::float8 * 1000 AS ms
   FROM shapes WHERE next_pass_at IS NOT NULL`);

const COUNT = statement('fleet-count', {
  row: { count: t.int },
})(`SELECT (SELECT count(*) FROM instances WHERE terminated_at IS NULL)::int
     + coalesce((SELECT sum(l.count - (SELECT count(*) FROM instances i WHERE i.launch_id = l.id))
                 FROM launches l WHERE l.status IN ('planned', 'unknown')), 0)::int AS count`);

const CLAIM = statement('fleet-claim', { values: [t.bigintValue, t.double], row: CLAIMED })(`
  WITH due AS (
    SELECT key, next_pass_at FROM shapes WHERE next_pass_at <= clock_timestamp()
    ORDER BY next_pass_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
  UPDATE shapes s SET next_pass_at = clock_timestamp() + make_interval(secs => $2)
  FROM due WHERE s.key = due.key
  RETURNING ${selectList(SHAPE, 's')}, s.next_pass_at::text AS "claimedUntil", ${selectList(VERDICT, 's')},
    extract(epoch FROM clock_timestamp() - due.next_pass_at)::float8 * 1000 AS "lagMs"`);

const LAUNCH = columnsOf(Launch, 'id', 'shapeKey', 'status', 'count', 'failure', 'reason', 'message', 'tries');
const COLUMNS = columnsOf(Launch, 'instanceType', 'market');
const OFFER = { type: COLUMNS.instanceType, subnetId: t.text, market: COLUMNS.market } as const;

const LAUNCHES = statement('fleet-launches', {
  values: [t.arrayOf(t.text), t.arrayOf(t.uuid)],
  row: { ...LAUNCH, ...OFFER, rows: t.int },
})(`
  SELECT ${selectList(LAUNCH, 'l')}, l.instance_type AS type,
    coalesce(l.subnet_id, '') AS "subnetId", l.market,
    (SELECT count(*)::int FROM instances i WHERE i.launch_id = l.id) AS rows
  FROM launches l
  WHERE (l.shape_key = ANY($1) AND l.status IN ('planned', 'unknown')) OR l.id = ANY($2::uuid[])`);

// Instances that were given up count as lost as well: no attempt waits for them any more.
const RECENT = statement('fleet-recent-launches', {
  values: [t.arrayOf(t.text), t.double, t.bigintValue],
  row: {
    shapeKey: LAUNCH.shapeKey,
    at: t.timestamptz,
    ...OFFER,
    ...columnsOf(Launch, 'failure', 'reason', 'message'),
    rows: t.int,
    registered: t.int,
    lost: t.int,
    stateReason: t.nullable(t.text),
  },
})(`
  SELECT l.shape_key AS "shapeKey", l.at, l.type, l."subnetId", l.market, l.failure, l.reason, l.message,
    i.rows, i.registered, i.lost, i."stateReason"
  FROM unnest($1::text[]) AS k(key)
  CROSS JOIN LATERAL (
    SELECT id, shape_key, coalesce(called_at, created_at) AS at, instance_type AS type, coalesce(subnet_id, '') AS "subnetId", market,
      failure, reason, message
    FROM launches
    WHERE shape_key = k.key AND status IN ('done', 'failed') AND created_at > clock_timestamp() - make_interval(secs => $2)
    ORDER BY created_at DESC LIMIT $3
  ) l
  CROSS JOIN LATERAL (
    SELECT count(*)::int AS rows, count(registered_at)::int AS registered,
      count(*) FILTER (WHERE is_lost)::int AS lost,
      (array_agg(CASE WHEN retire_reason IS NULL THEN state_reason END ORDER BY terminated_at DESC NULLS LAST)
        FILTER (WHERE is_lost))[1] AS "stateReason"
    FROM (
      SELECT *, registered_at IS NULL AND (terminated_at IS NOT NULL OR retire_reason IS NOT NULL
        OR state NOT IN ('pending', 'running')) AS is_lost
      FROM instances WHERE launch_id = l.id) of_launch
  ) i
  ORDER BY l.at DESC`);

const LAUNCHES_OF_A_MINUTE = statement('fleet-launches-of-a-minute', {
  values: [t.bigintValue],
  row: { at: t.timestamptz },
})(`
  SELECT created_at AS at FROM launches WHERE created_at > clock_timestamp() - interval '1 minute'
  ORDER BY created_at DESC LIMIT $1`);

const INSTANCE = columnsOf(Instance, 'id', 'shapeKey', 'state', 'launchedAt', 'registeredAt', 'lastSeenAt');

const SUPPLY = statement('fleet-supply', {
  values: [t.arrayOf(t.text), t.double],
  row: { ...INSTANCE, attempt: t.oneOf<Supply['attempt']>() },
})(`
  SELECT ${selectList(INSTANCE)}, 'none' AS attempt
  FROM instances
  WHERE shape_key = ANY($1) AND terminated_at IS NULL AND retire_reason IS NULL AND assigned = false AND NOT quarantined
  UNION ALL
  SELECT i.id, a.shape_key, i.state, i.launched_at, i.registered_at, i.last_seen_at,
    CASE WHEN d.adopts = i.id AND a.healthy_at IS NULL THEN 'adoption-failed' ELSE 'ended' END
  FROM attempts a
  JOIN deployments d ON d.id = a.deployment_id
  JOIN assignments s ON s.attempt_id = a.id
  JOIN instances i ON i.id = s.instance_id
  WHERE a.shape_key = ANY($1) AND a.phase = 'ended' AND a.ended_at > clock_timestamp() - make_interval(secs => $2)
    AND i.terminated_at IS NULL AND i.retire_reason IS NULL AND NOT i.quarantined`);

/** The instance `i` a deployment `d` adopts, as long as it can be: its first attempt waits for no other. */
const ADOPTABLE = `i.id = d.adopts AND i.quarantined AND NOT i.assigned AND i.retire_reason IS NULL
          AND i.terminated_at IS NULL AND i.state IN ('pending', 'running')`;

const ATTEMPT = columnsOf(Attempt, 'id', 'jobId', 'shapeKey', 'priority', 'createdAt');

const ADOPTIONS = statement('fleet-adoptions', {
  values: [t.arrayOf(t.text)],
  row: { shapeKey: ATTEMPT.shapeKey, attemptId: ATTEMPT.id, jobId: ATTEMPT.jobId, instanceId: INSTANCE.id },
})(`
  SELECT a.shape_key AS "shapeKey", a.id AS "attemptId", a.job_id AS "jobId", i.id AS "instanceId"
  FROM attempts a
  JOIN deployments d ON d.id = a.deployment_id
  JOIN instances i ON ${ADOPTABLE}
  WHERE a.shape_key = ANY($1) AND a.phase = 'waiting' AND a.number = 1 AND i.registered_at IS NOT NULL`);

// plan-fleet's place in line, of `attempts a`.
export const LINE = `(a.created_at + a.priority * interval '${LINE_SECONDS} seconds')`;

// The first so many in line of each shape have an instance on its way already.
const SHARE_ROOM = statement('fleet-share-room', {
  values: [t.bigintValue, t.text],
  row: { ...columnsOf(Attempt, 'shapeKey'), count: t.int },
})(`
  SELECT shape_key AS "shapeKey", count(*)::int AS count FROM (
    SELECT shape_key FROM (
      SELECT a.shape_key, ${LINE} AS line, a.id,
        row_number() OVER (PARTITION BY a.shape_key ORDER BY ${LINE}, a.id) AS place
      FROM attempts a JOIN shapes s ON s.key = a.shape_key
      WHERE a.phase = 'waiting' AND coalesce(s.verdict_reason, $2) = $2
        AND NOT EXISTS (SELECT 1 FROM assignments x WHERE x.attempt_id = a.id)
    ) waiting
    WHERE place > (
      SELECT count(*) FROM instances i
      WHERE i.shape_key = waiting.shape_key AND i.terminated_at IS NULL AND i.retire_reason IS NULL
        AND i.assigned = false AND NOT i.quarantined
    ) + coalesce((
      SELECT sum(l.count - (SELECT count(*) FROM instances i WHERE i.launch_id = l.id)) FROM launches l
      WHERE l.shape_key = waiting.shape_key AND l.status IN ('planned', 'unknown')), 0)
    ORDER BY line, id LIMIT $1
  ) first
  GROUP BY shape_key`);

// What serves is never given up: a healing attempt is launched for again, but not with every pass.
const HEALING_PAUSE_SECONDS = 60;

const DEMAND_ROW = {
  ...ATTEMPT,
  line: t.timestamptz,
  isDoomed: t.bool,
  count: t.int,
  newestAt: t.timestamptz,
  place: t.bigint,
} as const;

// A final verdict covers the attempts that existed when it was made; the job pass is about to end them, except healing
// ones (priority 0), which it keeps in line.
const DEMAND = statement('fleet-demand', { values: [t.arrayOf(t.text), t.bigintValue], row: DEMAND_ROW })(`
  SELECT * FROM (
    SELECT w.*, count(*) OVER same::int AS count, max(w."createdAt") OVER same AS "newestAt",
      row_number() OVER (PARTITION BY w."shapeKey", w."isDoomed" ORDER BY w.line, w.id) AS place
    FROM (
      SELECT ${selectList(ATTEMPT, 'a')},
        ${LINE} AS line, (s.verdict_is_final AND a.created_at <= s.verdict_at AND (
          a.priority > 0 OR s.verdict_at > clock_timestamp() - interval '${HEALING_PAUSE_SECONDS} seconds')
        ) IS TRUE AS "isDoomed"
      FROM attempts a
      JOIN shapes s ON s.key = a.shape_key
      WHERE a.shape_key = ANY($1) AND a.phase = 'waiting'
        AND NOT EXISTS (SELECT 1 FROM assignments x WHERE x.attempt_id = a.id)
        AND NOT (a.number = 1 AND EXISTS (SELECT 1 FROM deployments d JOIN instances i ON ${ADOPTABLE} WHERE d.id = a.deployment_id))
    ) w
    WINDOW same AS (PARTITION BY w."shapeKey", w."isDoomed")
  ) ranked
  WHERE place <= $2`);
