import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Database } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import type { Log } from '../process/log.js';
import type { OwnerLease } from '../ownership/owner-lease.js';
import { Instance } from './instance.entity.js';
import { backoffMs } from './plan/plan-backoff.js';

export type RetirerOptions = {
  readonly database: Database;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
  /** Instances that EC2 refuses to terminate, for the health page; null = none any more. */
  readonly onTrouble: (trouble: string | null) => void;
};

export type Retired = {
  /** Until the next run. */
  readonly pauseMs: number;
  /** An instance was terminated: a describe will show when it has ended. */
  readonly isWatchNeeded: boolean;
};

/** EC2 accepts more, but one bad id fails them all, and a split costs a call per halving. */
const BATCH = 200;
/**
 * A terminate that took no effect is repeated; EC2 shows `shutting-down` long before, which ends the repeats. One that
 * EC2 refuses for good is repeated after as long as it has been tried: longer would pay for instances that EC2 would
 * terminate by then.
 */
const REPEAT_SECONDS = 30;
const LONGEST_REPEAT_SECONDS = 300;
/** Covers lost wake-ups: every write of a retire_reason wakes the retirer. */
const LONGEST_PAUSE_MS = 2_000;

/** Terminates the retired instances. Only a describe shows that they ended, never the call's answer. */
export class Retirer {
  #failures = 0;
  #notBeforeMs = 0;
  /** Instances that EC2 refused to terminate at the last call, and its message. */
  readonly #refused = new Map<string, string>();
  #trouble: string | null = null;

  constructor(
    private readonly options: RetirerOptions,
    private readonly now: () => number = () => performance.now(),
  ) {}

  async run(): Promise<Retired> {
    const retired = await this.#retire();
    await this.#reportTrouble();
    return retired;
  }

  async #retire(): Promise<Retired> {
    const { database, budget, lease } = this.options;
    const backoff = this.#notBeforeMs - this.now();
    if (backoff > 0) return { pauseMs: backoff, isWatchNeeded: false };
    const due = await database.run(DUE, [REPEAT_SECONDS, LONGEST_REPEAT_SECONDS, BATCH]);
    if (due.length === 0 || !lease.isHeld) return { pauseMs: LONGEST_PAUSE_MS, isWatchNeeded: false };
    const waitMs = budget.take('TerminateInstances', due.length);
    if (waitMs > 0) return { pauseMs: Math.min(waitMs, LONGEST_PAUSE_MS), isWatchNeeded: false };
    const isHeard = await this.#terminate(due.map(({ id }) => id));
    this.#failures = isHeard ? 0 : this.#failures + 1;
    if (!isHeard) {
      const pauseMs = backoffMs(this.#failures, Math.random());
      this.#notBeforeMs = this.now() + pauseMs;
      return { pauseMs, isWatchNeeded: true };
    }
    return { pauseMs: due.length === BATCH ? 0 : LONGEST_PAUSE_MS, isWatchNeeded: true };
  }

  /**
   * Splits a batch that EC2 refuses for one id: the others must not wait for it.
   * @returns false when EC2 did not read the ids at all, or may not have: then the call is repeated soon
   */
  async #terminate(ids: readonly string[]): Promise<boolean> {
    const { ec2, budget, lease, log } = this.options;
    if (!lease.isHeld) return true;
    try {
      await ec2.terminate(ids);
      for (const id of ids) this.#refused.delete(id);
      log.info('instances terminated', { instanceIds: ids });
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      const { reason, message } = error;
      log.warn('instances could not be terminated yet', { instanceIds: ids, reason, message });
      if (error.kind === 'throttled' || error.kind === 'unknown-outcome') return false;
      if (isAboutOne(error) && ids.length > 1) return this.#terminateHalves(ids);
      // An id that EC2 does not know is left to the sweep.
      if (error.kind !== 'not-found') for (const id of ids) this.#refused.set(id, `${reason}: ${message}`);
    }
    await this.#markCalled(ids);
    return true;
  }

  async #terminateHalves(ids: readonly string[]): Promise<boolean> {
    const middle = Math.ceil(ids.length / 2);
    let isHeard = true;
    for (const half of [ids.slice(0, middle), ids.slice(middle)]) {
      // A refusal of all of them must not cost a call for each: those beyond the budget wait for the repeat.
      if (this.options.budget.take('TerminateInstances', half.length) > 0) await this.#markCalled(half);
      else if (!(await this.#terminate(half))) isHeard = false;
    }
    return isHeard;
  }

  async #reportTrouble(): Promise<void> {
    if (this.#refused.size > 0) {
      const ids = [...this.#refused.keys()];
      const left = await this.options.database.run(LEFT, [ids]);
      for (const id of ids) if (!left.some((row) => row.id === id)) this.#refused.delete(id);
    }
    const [[id, said] = []] = this.#refused;
    const others = this.#refused.size > 1 ? ` and ${this.#refused.size - 1} more` : '';
    const trouble = id === undefined ? null : `EC2 does not terminate ${id}${others}: ${said}`;
    if (trouble !== this.#trouble) this.options.onTrouble(trouble);
    this.#trouble = trouble;
  }

  /** Also when it failed: it is repeated after a while, and an id that EC2 does not know is left to the sweep. */
  async #markCalled(ids: readonly string[]): Promise<void> {
    await this.options.lease.transaction((transaction) => transaction.run(CALLED, [ids]));
  }
}

function isAboutOne({ kind, code }: AwsError): boolean {
  return kind === 'not-found' || kind === 'invalid' || code === 'UnauthorizedOperation';
}

const IS_TO_END = `retire_reason IS NOT NULL AND terminated_at IS NULL AND state NOT IN ('shutting-down', 'terminated')`;

const DUE = statement('fleet-due-retirements', {
  values: [t.double, t.double, t.bigintValue],
  row: columnsOf(Instance, 'id'),
})(`
  SELECT id FROM instances
  WHERE ${IS_TO_END} AND (terminate_called_at IS NULL OR terminate_called_at < clock_timestamp() - LEAST(
    GREATEST(terminate_called_at - retired_at, make_interval(secs => $1)), make_interval(secs => $2)))
  ORDER BY retired_at LIMIT $3`);

const LEFT = statement('fleet-refused-retirements', { values: [t.arrayOf(t.text)], row: columnsOf(Instance, 'id') })(
  `SELECT id FROM instances WHERE id = ANY($1) AND ${IS_TO_END}`,
);

const CALLED = statement('fleet-terminate-called', { values: [t.arrayOf(t.text)] })(`
  UPDATE instances SET terminate_called_at = clock_timestamp()
  WHERE id IN (SELECT id FROM instances WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)`);
