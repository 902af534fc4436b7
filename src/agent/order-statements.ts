import type { Database } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import type { OrderSpec } from '../docker/order.js';
import { dueNow } from '../database/wake.js';
import { Order } from './order.entity.js';

/** How far an agent is: the highest order number on its disk. */
export type Position = { readonly instanceId: string; readonly after: number };

export type FoundOrders = {
  /** The next one. */
  readonly order?: { readonly number: number; readonly spec: OrderSpec };
  /** Of those the agent has, some are not marked as taken. */
  readonly hasUntaken: boolean;
};

/** The orders for each position; instances without any are left out. */
export async function findOrders(
  database: Database,
  positions: readonly Position[],
): Promise<Map<string, FoundOrders>> {
  if (positions.length === 0) return new Map();
  const rows = await database.run(FIND_ORDERS, arraysOf(positions));
  return new Map(
    rows.map(({ instanceId, number, spec, hasUntaken }) => [
      instanceId,
      { ...(number !== null && spec !== null && { order: { number, spec } }), hasUntaken },
    ]),
  );
}

/** Instances with a recent order that no agent took: its signal may be lost. Older ones are of silent agents. */
export async function findRecentUntaken(database: Database): Promise<string[]> {
  const rows = await database.run(RECENT_UNTAKEN, []);
  return rows.map(({ instanceId }) => instanceId);
}

/** Marks all orders up to each position as taken. Locks their jobs' rows first, and so waits for passes under way. */
export async function acknowledge(database: Database, positions: readonly Position[]): Promise<void> {
  const arrays = arraysOf(positions);
  await database.transaction(async (transaction) => {
    await transaction.run(ACKNOWLEDGE_FENCE, arrays);
    await transaction.run(ACKNOWLEDGE, arrays);
  });
}

const POSITIONS = `unnest($1::text[], $2::int[]) AS position (instance_id, after)`;
const positionTypes = [t.arrayOf(t.text), t.arrayOf(t.int)] as const;

const NEXT = columnsOf(Order, 'number', 'spec');

const FIND_ORDERS = statement('agent-find-orders', {
  values: positionTypes,
  row: { instanceId: t.text, number: t.nullable(NEXT.number), spec: t.nullable(NEXT.spec), hasUntaken: t.bool },
})(`
  SELECT * FROM (
    SELECT position.instance_id AS "instanceId", next.number, next.spec, EXISTS (
      SELECT FROM orders AS taken
      WHERE taken.instance_id = position.instance_id AND taken.number <= position.after AND taken.taken_at IS NULL
    ) AS "hasUntaken"
    FROM ${POSITIONS}
    LEFT JOIN LATERAL (
      SELECT number, spec FROM orders
      WHERE orders.instance_id = position.instance_id AND orders.number > position.after
        -- Orders of an ended attempt must not be carried out any more.
        AND EXISTS (SELECT FROM attempts WHERE attempts.id = orders.attempt_id AND attempts.phase <> 'ended')
      ORDER BY number LIMIT 1
    ) AS next ON true
  ) AS found
  WHERE number IS NOT NULL OR "hasUntaken"`);

// Read whole from the index orders_untaken, which is nearly empty at any time.
const RECENT_UNTAKEN = statement('agent-recent-untaken', { row: columnsOf(Order, 'instanceId') })(`
  SELECT DISTINCT instance_id AS "instanceId" FROM orders
  WHERE taken_at IS NULL AND created_at > clock_timestamp() - interval '2 minutes'`);

const ACKNOWLEDGE_FENCE = statement('agent-acknowledge-fence', { values: positionTypes })(`
  WITH fence AS (
    SELECT jobs.id FROM jobs
    WHERE jobs.id IN (
      SELECT attempts.job_id FROM ${POSITIONS}
      JOIN orders ON orders.instance_id = position.instance_id AND orders.number <= position.after
      JOIN attempts ON attempts.id = orders.attempt_id
      WHERE orders.taken_at IS NULL
    )
    ORDER BY jobs.id FOR NO KEY UPDATE
  )
  UPDATE jobs SET ${dueNow('jobs')} FROM fence WHERE jobs.id = fence.id`);

const ACKNOWLEDGE = statement('agent-acknowledge', { values: positionTypes })(`
  UPDATE orders SET taken_at = clock_timestamp() FROM ${POSITIONS}
  WHERE orders.instance_id = position.instance_id AND orders.number <= position.after AND orders.taken_at IS NULL`);

function arraysOf(positions: readonly Position[]): [string[], number[]] {
  return [positions.map(({ instanceId }) => instanceId), positions.map(({ after }) => after)];
}
