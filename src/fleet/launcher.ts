import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Ec2Instance, RunInput } from '../aws/ec2-types.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { columnsOf, type RowOf, statement, t } from '../database/statement.js';
import { upsertInstances, wakeShapes } from './instance-writes.js';
import { Launch } from './launch.entity.js';
import { LINE } from './load-shapes.js';
import type { Log } from '../process/log.js';
import { LeaseLost, type OwnerLease } from '../ownership/owner-lease.js';
import {
  instancesToCharge,
  isTooLarge,
  type NextStep,
  type OpenLaunch,
  planNextStep,
  settleLookUp,
  settleRefusal,
  type Settlement,
  settleUnreadable,
  settleWithdrawal,
} from './plan/plan-launch.js';
import { type Keys, unseal } from '../secrets/sealed.js';

export type LauncherOptions = {
  readonly database: Database;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly signals: Pick<Signals, 'eventsWritten'>;
  readonly budget: CallBudget;
  readonly encryptionKeys: Keys;
  readonly log: Log;
  /** Called when a launch has been settled, or stays open for another try. */
  readonly onSettled: () => void;
  /** Trouble with our calls to EC2, for the health page; null = none. */
  readonly onAwsTrouble: (trouble: string | null) => void;
};

/** Without a wake-up: a launch is due when its backoff is over, and the pass wakes the launcher when it writes one. */
const LONGEST_PAUSE_MS = 1_000;
/** After a crash the next owner repeats a call that was made this long ago. A call itself ends after 30 s. */
const CALL_SECONDS = 45;
/** An encoded authorization message is some 2,000 characters. */
const LONGEST_SAID = 4_000;

/** Carries out stored launches and settles them. A crash at any point leaves a row that the next owner goes on from. */
export class Launcher {
  readonly #inFlight = new Map<string, Promise<void>>();

  constructor(private readonly options: LauncherOptions) {}

  /** After a take-over: no other process carries these out any more, so none of them needs to wait. */
  async takeOver(): Promise<void> {
    await this.options.lease.transaction((transaction) => transaction.run(TAKE_OVER, []));
  }

  /** Starts what is due, as far as the budget reaches. @returns milliseconds until there is something to do */
  async run(): Promise<number> {
    const { database, lease, budget } = this.options;
    const open = await database.run(OPEN_LAUNCHES, []);
    let pauseMs = LONGEST_PAUSE_MS;
    let isQuotaSpent = false;
    for (const launch of open) {
      if (!lease.isHeld) break;
      if (this.#inFlight.has(launch.id)) continue;
      if (launch.dueInMs > 0) {
        pauseMs = Math.min(pauseMs, launch.dueInMs);
        continue;
      }
      const step = planNextStep(launch);
      // In that order: a later, small launch must not use the tokens a large one waits for.
      if (step === 'call' && isQuotaSpent) continue;
      const waitMs = this.#take(step, launch);
      if (waitMs === 0) {
        this.#start(launch, step);
      } else if (isTooLarge(launch, { waitMs, burst: budget.available('RunInstances') })) {
        this.#start(launch, 'give-back');
      } else {
        pauseMs = Math.min(pauseMs, waitMs);
        if (step === 'call') isQuotaSpent = true;
      }
    }
    return pauseMs;
  }

  /** Resolves when nothing is under way. */
  async drain(): Promise<void> {
    await Promise.all(this.#inFlight.values());
  }

  #take(step: NextStep, launch: OpenRow): number {
    const { budget } = this.options;
    if (step === 'call') return budget.take('RunInstances', instancesToCharge(launch));
    return step === 'look-up' ? budget.take('DescribeInstances') : 0;
  }

  #start(launch: OpenRow, step: Step): void {
    const work = this.#carryOut(launch, step)
      .catch((error: unknown) => {
        if (error instanceof LeaseLost) return;
        this.options.log.error('launch could not be settled', { launchId: launch.id, error: String(error) });
      })
      .finally(() => {
        this.#inFlight.delete(launch.id);
        this.options.onSettled();
      });
    this.#inFlight.set(launch.id, work);
  }

  async #carryOut(launch: OpenRow, step: Step): Promise<void> {
    switch (step) {
      case 'withdraw':
        return this.#settle(launch, settleWithdrawal('not-needed'), []);
      case 'give-back':
        return this.#settle(launch, settleWithdrawal('too-large'), []);
      case 'look-up':
        return this.#lookUp(launch);
      case 'call':
        return this.#call(launch);
    }
  }

  async #call(launch: OpenRow): Promise<void> {
    const { ec2, lease, budget, onAwsTrouble } = this.options;
    // Unknown from here on: if this process ends now, the row records that the call may have been made.
    const marked = await lease.transaction((transaction) =>
      transaction.run(MARK_CALLED, [launch.id, launch.status, launch.tries, CALL_SECONDS]),
    );
    const sealed = marked[0]?.input;
    if (!sealed || !lease.isHeld) return;
    const input = this.#read(sealed, launch.id);
    if (input === null) return this.#settle(launch, settleUnreadable(launch), []);
    try {
      const instances = await ec2.runInstances(input, launch.id);
      onAwsTrouble(null);
      await this.#settle(launch, { to: 'done' }, instances);
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      if (error.kind === 'permission' || error.kind === 'account') this.#logForOperator(launch.id, error);
      onAwsTrouble(isOurTrouble(error) ? `${error.reason}: ${error.message}` : null);
      await this.#settle(launch, settleRefusal(launch, error, Math.random()), []);
    }
  }

  /** AWS's whole message: the one for deployers leaves out which role lacks which permission on what. */
  #logForOperator(launchId: string, { code, cause }: AwsError): void {
    const said = cause instanceof Error ? cause.message.slice(0, LONGEST_SAID) : null;
    this.options.log.warn('EC2 does not permit the launch', { launchId, code, said });
  }

  #read(sealed: Buffer, launchId: string): RunInput | null {
    try {
      return JSON.parse(unseal(this.options.encryptionKeys, sealed, launchId)) as RunInput;
    } catch (error) {
      this.options.log.error('launch could not be read', { launchId, error: String(error) });
      return null;
    }
  }

  async #lookUp(launch: OpenRow): Promise<void> {
    const { ec2, budget } = this.options;
    try {
      const found = await ec2.describeByClientToken(launch.id);
      await this.#settle(launch, settleLookUp(launch, found.length), found);
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      await this.#settle(launch, settleLookUp(launch, error), []);
    }
  }

  async #settle(launch: OpenRow, settlement: Settlement, instances: readonly Ec2Instance[]): Promise<void> {
    const { lease, log } = this.options;
    const { to } = settlement;
    const { failure, reason, message } = to === 'done' ? SUCCESS : settlement;
    const isOpen = to === 'planned' || to === 'unknown';
    const againMs = isOpen ? settlement.againMs : null;
    const calledBefore = isOpen && settlement.isVoid ? launch.calledAt : null;
    const settled = await lease.transaction(async (transaction) => {
      await upsertInstances(transaction, { launchId: launch.id, shapeKey: launch.shapeKey }, instances);
      const rows = await transaction.run(SETTLE, [launch.id, to, failure, reason, message, againMs, calledBefore]);
      await wakeShapes(transaction, [launch.shapeKey]);
      return rows.length > 0;
    });
    if (!settled) return;
    this.options.signals.eventsWritten();
    const fields = { launchId: launch.id, count: launch.count };
    if (to === 'done') log.info('instances launched', { ...fields, instanceIds: instances.map(({ id }) => id) });
    else if (to === 'failed') log.warn('launch failed', { ...fields, reason, message });
    else log.warn('launch will be tried again', { ...fields, status: to, reason, message, againMs });
  }
}

type Step = NextStep | 'give-back';
type OpenRow = RowOf<typeof OPEN_ROW>;

const SUCCESS = { failure: null, reason: null, message: null };

/** Trouble with EC2, the network or our credentials, not with the request. */
function isOurTrouble({ kind }: AwsError): boolean {
  return kind === 'permission' || kind === 'account' || kind === 'unknown-outcome' || kind === 'throttled';
}

const TAKE_OVER = statement('fleet-take-over-launches', { isPrepared: false })(
  `UPDATE launches SET next_try_at = NULL WHERE status IN ('planned', 'unknown')`,
);

const LAUNCH = columnsOf(Launch, 'tries', 'count', 'failure', 'reason', 'message');
const OPEN_ROW = {
  ...columnsOf(Launch, 'id', 'shapeKey'),
  status: t.oneOf<OpenLaunch['status']>(),
  tries: LAUNCH.tries,
  count: LAUNCH.count,
  refusedAs: LAUNCH.failure,
  reason: LAUNCH.reason,
  message: LAUNCH.message,
  ageMs: t.double,
  /** Of the last call that may have taken effect; text, because a Date would lose the microseconds. */
  calledAt: t.nullable(t.text),
  calledMsAgo: t.nullable(t.double),
  dueInMs: t.double,
  wanted: t.int,
} as const;

// In the order of the attempts that wait for them: a heal must not wait behind launches of a thousand other shapes.
const OPEN_LAUNCHES = statement('fleet-open-launches', { row: OPEN_ROW })(`
  SELECT l.id, l.shape_key AS "shapeKey", l.status, l.tries, l.count, l.failure AS "refusedAs", l.reason, l.message,
    extract(epoch FROM clock_timestamp() - l.created_at)::float8 * 1000 AS "ageMs",
    l.called_at::text AS "calledAt", extract(epoch FROM clock_timestamp() - l.called_at)::float8 * 1000 AS "calledMsAgo",
    coalesce(extract(epoch FROM l.next_try_at - clock_timestamp())::float8 * 1000, 0) AS "dueInMs",
    s.warm + (
      SELECT count(*) FROM (
        SELECT 1 FROM attempts a
        WHERE a.shape_key = l.shape_key AND a.phase = 'waiting'
          AND NOT EXISTS (SELECT 1 FROM assignments x WHERE x.attempt_id = a.id)
        LIMIT l.count) waiting)::int AS wanted
  FROM launches l JOIN shapes s ON s.key = l.shape_key
  WHERE l.status IN ('planned', 'unknown')
  ORDER BY (
    SELECT min(${LINE}) FROM attempts a WHERE a.shape_key = l.shape_key AND a.phase = 'waiting'
      AND NOT EXISTS (SELECT 1 FROM assignments x WHERE x.attempt_id = a.id)), l.created_at, l.id`);

// Status and tries as they were read: two processes never make one call at once.
const MARK_CALLED = statement('fleet-mark-called', {
  values: [t.uuid, t.text, t.int, t.double],
  row: columnsOf(Launch, 'input'),
  isPrepared: false,
})(`
  UPDATE launches SET status = 'unknown', tries = tries + 1, called_at = clock_timestamp(),
    next_try_at = clock_timestamp() + make_interval(secs => $4)
  WHERE id = $1 AND status = $2 AND tries = $3
  RETURNING input`);

const TEXT = t.nullable(t.text);

// A settled launch is never repeated: its input, 16 KB with the launch secret in it, is no longer needed.
const SETTLE = statement('fleet-settle-launch', {
  values: [t.uuid, t.text, TEXT, TEXT, TEXT, t.nullable(t.double), t.nullable(t.timestamptzText)],
  isPrepared: false,
})(`
  UPDATE launches SET status = $2, failure = $3, reason = $4, message = $5,
    input = CASE WHEN $2 IN ('done', 'failed') THEN ''::bytea ELSE input END,
    called_at = CASE WHEN $2 = 'planned' THEN NULL ELSE coalesce($7::timestamptz, called_at) END,
    next_try_at = CASE WHEN $6::float8 IS NULL THEN NULL ELSE clock_timestamp() + make_interval(secs => $6::float8 / 1000) END,
    settled_at = CASE WHEN $2 IN ('done', 'failed') THEN clock_timestamp() END
  WHERE id = $1 AND status IN ('planned', 'unknown')
  RETURNING 1`);
