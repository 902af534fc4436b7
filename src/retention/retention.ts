import { EXPIRING_ORDERS } from '../agent/expiring-orders.js';
import { EXPIRING_ANSWERS } from '../api/expiring-answers.js';
import { EXPIRING_RATE_LIMITS, EXPIRING_TOKENS } from '../auth/expiring-tokens.js';
import { ADVISORY_LOCKS } from '../database/advisory-locks.js';
import type { Database, Queryable } from '../database/database.js';
import type { ExpiringRows, RetentionDays } from '../database/expiring-rows.js';
import { statement, t } from '../database/statement.js';
import { EXPIRING_ATTEMPTS, EXPIRING_DEPLOYMENTS } from '../deployments/expiring-deployments.js';
import { EXPIRING_EVENTS } from '../events/expiring-events.js';
import { EXPIRING_INSTANCES, EXPIRING_LAUNCHES, EXPIRING_SHAPES } from '../fleet/expiring-instances.js';
import { EXPIRING_JOBS, EXPIRING_SECRETS } from '../jobs/expiring-jobs.js';
import { EXPIRING_SNAPSHOTS } from '../snapshots/expiring-snapshots.js';
import { EXPIRING_DELIVERIES } from '../webhooks/expiring-deliveries.js';

/** In the order of deletion. */
const EXPIRING: readonly ExpiringRows[] = [
  EXPIRING_ORDERS,
  EXPIRING_DEPLOYMENTS,
  EXPIRING_ATTEMPTS,
  EXPIRING_JOBS,
  // Instances before launches, for they refer to them; both after the attempts whose assignments refer to instances.
  EXPIRING_INSTANCES,
  EXPIRING_LAUNCHES,
  // After the attempts, launches and instances that refer to them.
  EXPIRING_SHAPES,
  EXPIRING_ANSWERS,
  EXPIRING_TOKENS,
  EXPIRING_RATE_LIMITS,
  // After the deployments that referred to them.
  EXPIRING_SECRETS,
  EXPIRING_EVENTS,
  EXPIRING_DELIVERIES,
  EXPIRING_SNAPSHOTS,
];
/** Small enough that no batch holds locks for more than some milliseconds. */
const BATCH = 500;
/** At most this many batches a table and run: the rest is deleted in the next. */
const MAX_BATCHES = 200;
/** How many rows were deleted, by the names of `ExpiringRows`. */
export type Deleted = Readonly<Record<string, number>>;

/** Deletes expired rows, in small batches; any number of processes may try, one at a time does. */
export class Retention {
  readonly #days: RetentionDays;

  constructor(
    private readonly database: Database,
    days: number,
    eventsDays = days,
  ) {
    this.#days = { days, eventsDays };
  }

  async run(): Promise<Deleted> {
    const deleted: Record<string, number> = {};
    for (const rows of EXPIRING) deleted[rows.name] = await this.#deleteAll(rows);
    return deleted;
  }

  async #deleteAll(rows: ExpiringRows): Promise<number> {
    let total = 0;
    for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
      const deleted = await this.database.transaction((transaction) => this.#deleteBatch(transaction, rows));
      total += deleted;
      if (deleted < BATCH) break;
    }
    return total;
  }

  async #deleteBatch(transaction: Queryable, { deleteSome }: ExpiringRows): Promise<number> {
    const [lock] = await transaction.run(HOLD, [ADVISORY_LOCKS.retention]);
    return lock?.isHeld ? (await deleteSome(transaction, BATCH, this.#days)).length : 0;
  }
}

const HOLD = statement('retention-hold', { values: [t.bigintValue], row: { isHeld: t.bool }, isPrepared: false })(
  `SELECT pg_try_advisory_xact_lock($1) AS "isHeld"`,
);
