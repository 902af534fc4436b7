import type { BudgetStart } from '../aws/call-budget.js';
import type { Database, Queryable } from '../database/database.js';
import { columnsOf, type RowOf, statement, t } from '../database/statement.js';
import { Owner } from './owner.entity.js';

const LEASE_SECONDS = 15;
/** Renewed at a third of the lease: two renewals may fail. */
export const RENEW_MS = 5_000;
/** Effects stop this long before the lease ends by our own clock, as a call under way needs time, too. */
const MARGIN_MS = 1_000;

export type Tenure = {
  readonly epoch: string;
  /** The database's clock when it began. */
  readonly since: Date;
  /** Our estimate of EC2's buckets: a crashed predecessor may have emptied them until the end of its lease. */
  readonly budgets: BudgetStart;
};

/** Thrown inside a fleet transaction of a process that is not the owner any more: nothing of it is written. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

/**
 * The right to make mutating EC2 calls for a cluster: a row with a holder, an epoch and an end by Postgres's clock. For
 * one tenure: once lost it is never held again, so that code still running under it changes nothing.
 */
export class OwnerLease {
  #epoch: string | null = null;
  #heldUntilMs = 0;
  #isOver = false;

  constructor(
    private readonly database: Database,
    readonly cluster: string,
    /** Unique to this process. */
    readonly holder: string,
    /** Milliseconds on a clock that never jumps. */
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Whether effects may start now. Decided without a query, so that losing the database stops them as well. */
  get isHeld(): boolean {
    return this.#epoch !== null && this.now() < this.#heldUntilMs;
  }

  get epoch(): string | null {
    return this.#epoch;
  }

  /** Acquires the lease if no process holds it; each time with a new epoch. */
  async acquire(): Promise<Tenure | null> {
    if (this.#isOver || this.#epoch !== null) throw new Error('a lease is for one tenure');
    const queriedAt = this.now();
    const tenure = await this.database.transaction(async (transaction) => {
      await transaction.run(INSERT, [this.cluster]);
      const [row] = await transaction.run(PREVIOUS, [this.cluster, LEASE_SECONDS]);
      if (!row) return null;
      const [taken] = await transaction.run(TAKE, [this.cluster, this.holder, LEASE_SECONDS]);
      return taken ? { epoch: taken.epoch, since: row.now, budgets: budgetsOf(row) } : null;
    });
    if (tenure) this.#hold(tenure.epoch, queriedAt);
    return tenure;
  }

  /** @returns whether it is still ours; budgets are stored for the view of the fleet */
  async renew(budgets: Readonly<Record<string, number>>): Promise<boolean> {
    const epoch = this.#epoch;
    if (epoch === null) return false;
    const queriedAt = this.now();
    const renewed = await this.database.run(RENEW, [
      this.cluster,
      this.holder,
      epoch,
      LEASE_SECONDS,
      JSON.stringify(budgets),
    ]);
    if (renewed.length === 0) this.#lose();
    else this.#hold(epoch, queriedAt);
    return renewed.length > 0;
  }

  /** Lets the next owner begin at once, with our knowledge of EC2's buckets. */
  async release(budgets: Readonly<Record<string, number>>): Promise<void> {
    const epoch = this.#epoch;
    this.#lose();
    if (epoch === null) return;
    await this.database.run(RELEASE, [this.cluster, this.holder, epoch, JSON.stringify(budgets)]);
  }

  /**
   * Every write of the fleet is made by this: the row is share-locked, so that no process takes over before the commit,
   * and a stale owner finds another epoch and changes nothing.
   * @throws LeaseLost
   */
  async transaction<T>(work: (transaction: Queryable, now: Date) => Promise<T>): Promise<T> {
    return this.database.transaction(async (transaction) => work(transaction, await this.#assert(transaction)));
  }

  async #assert(transaction: Queryable): Promise<Date> {
    const [row] = await transaction.run(ASSERT, [this.cluster, this.holder, this.#epoch ?? '-1']);
    if (row) return row.now;
    this.#lose();
    throw new LeaseLost(`this process is not the owner of cluster ${this.cluster} any more`);
  }

  #hold(epoch: string, queriedAt: number): void {
    this.#epoch = epoch;
    // Counted from before the query: Postgres's clock started the lease later than that.
    this.#heldUntilMs = queriedAt + LEASE_SECONDS * 1000 - MARGIN_MS;
  }

  #lose(): void {
    this.#isOver = true;
    this.#epoch = null;
    this.#heldUntilMs = 0;
  }
}

const PREVIOUS_ROW = {
  ...columnsOf(Owner, 'holder', 'budgets'),
  isFirst: t.bool,
  now: t.timestamptz,
  elapsedMs: t.nullable(t.double),
} as const;

function budgetsOf({ holder, budgets, isFirst, elapsedMs }: RowOf<typeof PREVIOUS_ROW>): BudgetStart {
  if (isFirst) return { kind: 'full' };
  // A released lease holds what was left. Else the holder may have spent all of it by the end of its lease.
  const tokens = holder === '' ? (budgets ?? {}) : {};
  return { kind: 'levels', tokens, elapsedMs: elapsedMs ?? 0 };
}

const INSERT = statement('owner-insert', { values: [t.text], isPrepared: false })(
  `INSERT INTO owner (cluster, holder, epoch, expires_at) VALUES ($1, '', 0, '-infinity') ON CONFLICT DO NOTHING`,
);

const PREVIOUS = statement('owner-previous', { values: [t.text, t.double], row: PREVIOUS_ROW, isPrepared: false })(`
  SELECT holder, budgets, expires_at = '-infinity' AS "isFirst", clock_timestamp() AS now,
    CASE WHEN expires_at > '-infinity' THEN extract(epoch FROM clock_timestamp() - expires_at)::float8 * 1000 END AS "elapsedMs"
  FROM owner WHERE cluster = $1 AND (expires_at <= clock_timestamp()
    -- Longer than any lease lasts: the clock was set back, and the holder may be gone.
    OR expires_at > clock_timestamp() + make_interval(secs => $2)) FOR UPDATE`);

const TAKE = statement('owner-take', {
  values: [t.text, t.text, t.double],
  row: { epoch: t.text },
  isPrepared: false,
})(`
  UPDATE owner SET holder = $2, epoch = epoch + 1, budgets = NULL,
    expires_at = clock_timestamp() + make_interval(secs => $3)
  WHERE cluster = $1 RETURNING epoch::text`);

const RENEW = statement('owner-renew', { values: [t.text, t.text, t.bigint, t.double, t.json], isPrepared: false })(`
  UPDATE owner SET expires_at = clock_timestamp() + make_interval(secs => $4), budgets = $5
  WHERE cluster = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp() RETURNING 1`);

const RELEASE = statement('owner-release', { values: [t.text, t.text, t.bigint, t.json], isPrepared: false })(`
  UPDATE owner SET holder = '', expires_at = clock_timestamp(), budgets = $4
  WHERE cluster = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp()`);

const ASSERT = statement('fleet-assert-owner', { values: [t.text, t.text, t.bigint], row: { now: t.timestamptz } })(`
  SELECT clock_timestamp() AS now FROM owner
  WHERE cluster = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp() FOR SHARE`);
