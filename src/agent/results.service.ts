import type { Readable } from 'node:stream';
import { Injectable, Logger } from '@nestjs/common';
import { Database } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { Signals } from '../database/signals.js';
import { toJsonb } from '../database/to-jsonb.js';
import { Problem } from '../http/problem.js';
import { AgentLimits } from './agent-limits.js';
import { answerBytesOf, bodyToStore, readAnswer } from '../docker/order-answer.js';
import { Order } from './order.entity.js';
import { readLastBytes } from './read-last-bytes.js';
import { dueNow } from '../database/wake.js';

export type Result = {
  readonly instanceId: string;
  /** Of the order. */
  readonly number: number;
  /** Docker's HTTP status; 0 = Docker could not be reached, did not answer in time, or was not called. */
  readonly status: number;
  readonly error: string | null;
  readonly probeState: 'healthy' | 'unhealthy' | null;
  readonly body: Readable;
};

/** Parses agents' answers and stores the result, so that a job pass does not read what an instance sent. */
@Injectable()
export class ResultsService {
  readonly #logger = new Logger('Results');

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly limits: AgentLimits,
  ) {}

  /**
   * The first answer of an order is kept, as agents repeat it until they get a 204; a probe's answer is replaced when
   * its state changes. Of a body no more is held in memory than is stored, and of a repeat nothing.
   * @throws Problem order-not-found, payload-too-large, malformed-request, too-many-requests
   */
  async store({ instanceId, number, status, error, probeState, body }: Result): Promise<void> {
    const [order] = await this.database.run(FIND, [instanceId, number, probeState]);
    const bytes = await readLastBytes(body, order?.isNews ? answerBytesOf(order.purpose) : 0);
    if (!order) throw notFound(number);
    if (!order.isNews) return;
    if (order.isChange) this.#countChange(instanceId);

    const answer = readAnswer(order.purpose, bytes);
    const kept = bodyToStore(order.purpose, bytes, answer);
    const values = [instanceId, number, status, error, probeState, kept, toJsonb(answer)] as const;
    const [outcome] = await this.database.run(STORE, values);
    if (!outcome?.isKnown) throw notFound(number);
    if (!outcome.isStored) return;
    this.signals.jobsDue();
    if (status === 200 && order.purpose.startsWith('inspect-') && !answer.image && !answer.container) {
      // The image's digest, or whether the container ran out of memory or is down, stays unknown.
      const { message } = answer;
      this.#logger.warn('description of no use', {
        instanceId,
        order: number,
        purpose: order.purpose,
        reason: message,
      });
    }
  }

  /** The agent sends it again later: a delay does not matter for a service that goes up and down without end. */
  #countChange(instanceId: string): void {
    const waitMs = this.limits.takeChange(instanceId);
    if (waitMs === 0) return;
    throw new Problem('too-many-requests', 'The state of this probe changes too often.', {
      retryAfterSeconds: Math.ceil(waitMs / 1000),
    });
  }
}

function notFound(number: number): Problem {
  return new Problem('order-not-found', `There is no order ${number} for this instance.`);
}

const IS_NEWS = `(
    orders.answered_at IS NULL
    OR (orders.kind = 'probe' AND $PROBE::text IS NOT NULL AND orders.probe_state IS DISTINCT FROM $PROBE::text)
  )`;

const FIND = statement('agent-find-order', {
  values: [t.text, t.int, t.nullable(t.text)],
  // `isChange`: of a probe that was answered before.
  row: { ...columnsOf(Order, 'purpose'), isChange: t.bool, isNews: t.bool },
})(`
  SELECT orders.purpose, orders.answered_at IS NOT NULL AS "isChange", ${IS_NEWS.replaceAll('$PROBE', '$3')} AS "isNews"
  FROM orders WHERE orders.instance_id = $1 AND orders.number = $2`);

// One statement is one transaction. `fence` runs before `answer`, which reads from it: the job's row is locked first, and
// an answer stored meanwhile by another request is seen when `answer` locks the order, since its conditions are checked again.
const STORE = statement('agent-store', {
  values: [t.text, t.int, t.int, t.nullable(t.text), t.nullable(t.text), t.byteaValue, t.json],
  row: { isKnown: t.bool, isStored: t.bool },
})(`
  WITH target AS (
    SELECT orders.instance_id, orders.number, attempts.job_id, ${IS_NEWS.replaceAll('$PROBE', '$5')} AS is_news
    FROM orders JOIN attempts ON attempts.id = orders.attempt_id
    WHERE orders.instance_id = $1 AND orders.number = $2
  ), fence AS (
    UPDATE jobs SET ${dueNow('jobs')}
    FROM target WHERE jobs.id = target.job_id AND target.is_news
    RETURNING jobs.id
  ), answer AS (
    UPDATE orders SET taken_at = COALESCE(orders.taken_at, clock_timestamp()), answered_at = clock_timestamp(),
      result_status = $3, result_error = $4, result_body = $6, answer = $7::jsonb,
      probe_state = CASE WHEN orders.kind = 'probe' THEN $5::text END
    FROM target JOIN fence ON fence.id = target.job_id
    WHERE orders.instance_id = target.instance_id AND orders.number = target.number AND ${IS_NEWS.replaceAll('$PROBE', '$5')}
    RETURNING orders.number
  )
  SELECT EXISTS (SELECT FROM target) AS "isKnown", EXISTS (SELECT FROM answer) AS "isStored"`);
