import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Problem } from '../http/problem.js';
import { withoutEnvironment } from './container-spec.js';

export type Result = {
  readonly instanceId: string;
  /** Of the order. */
  readonly number: number;
  /** Docker's HTTP status; 0 = Docker could not be reached, did not answer in time, or was not asked. */
  readonly status: number;
  readonly error: string | null;
  readonly probeState: 'healthy' | 'unhealthy' | null;
  readonly body: Buffer;
};

/** Keeps what agents answer, raw but for a container's environment, which holds secrets: the job pass reads it. */
@Injectable()
export class ResultsService {
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
  ) {}

  /**
   * The first answer of an order stays, as agents repeat until they hear 204; a probe's answer is replaced when its
   * state changes.
   * @throws Problem order-not-found
   */
  async store({ instanceId, number, status, error, probeState, body }: Result): Promise<void> {
    const bare = withoutEnvironment(body);
    const values = [instanceId, number, status, error, probeState, body, bare === body ? null : bare];
    const [outcome] = await this.database.prepared<{ is_known: boolean; is_stored: boolean }>(
      'agent-store',
      STORE,
      values,
    );
    if (!outcome?.is_known) throw new Problem('order-not-found', `There is no order ${number} for this instance.`);
    if (outcome.is_stored) this.signals.send('jobs');
  }
}

// One statement is one transaction. `fence` runs before `answer`, which reads from it: the job's row is locked first, and
// an answer stored meanwhile by another request is seen when `answer` locks the order, since its conditions are checked again.
const STORE = `
  WITH target AS (
    SELECT orders.instance_id, orders.number, attempts.job_id,
      orders.answered_at IS NULL OR (orders.kind = 'probe' AND $5::text IS NOT NULL AND orders.probe_state IS DISTINCT FROM $5::text)
        AS is_news
    FROM orders JOIN attempts ON attempts.id = orders.attempt_id
    WHERE orders.instance_id = $1 AND orders.number = $2
  ), fence AS (
    UPDATE jobs SET next_pass_at = LEAST(jobs.next_pass_at, clock_timestamp())
    FROM target WHERE jobs.id = target.job_id AND target.is_news
    RETURNING jobs.id
  ), answer AS (
    UPDATE orders SET taken_at = COALESCE(orders.taken_at, clock_timestamp()), answered_at = clock_timestamp(),
      result_status = $3, result_error = $4,
      result_body = CASE WHEN $7::bytea IS NOT NULL AND orders.purpose LIKE 'inspect-%' THEN $7 ELSE $6 END,
      probe_state = CASE WHEN orders.kind = 'probe' THEN $5::text END
    FROM target JOIN fence ON fence.id = target.job_id
    WHERE orders.instance_id = target.instance_id AND orders.number = target.number AND (
      orders.answered_at IS NULL
      OR (orders.kind = 'probe' AND $5::text IS NOT NULL AND orders.probe_state IS DISTINCT FROM $5::text)
    )
    RETURNING orders.number
  )
  SELECT EXISTS (SELECT FROM target) AS is_known, EXISTS (SELECT FROM answer) AS is_stored`;
