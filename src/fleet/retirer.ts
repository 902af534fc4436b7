import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Database } from '../database/database.js';
import type { Log } from './log.js';
import type { OwnerLease } from './owner-lease.js';

export type RetirerOptions = {
  readonly database: Database;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
};

export type Retired = {
  /** Until there may be something to do. */
  readonly pauseMs: number;
  /** Something was terminated: a describe will tell when it is over. */
  readonly isWatchNeeded: boolean;
};

/** EC2 takes more, but one bad id fails them all, and a split costs a call per halving. */
const BATCH = 200;
/** A terminate that took no effect is repeated; EC2 shows `shutting-down` long before, which ends the repeats. */
const REPEAT_SECONDS = 30;
/** A net: whoever writes a retire_reason wakes us. */
const LONGEST_PAUSE_MS = 2_000;

/** Ends the instances that are to end. That it happened is told by a describe, never by the call's answer. */
export class Retirer {
  constructor(private readonly options: RetirerOptions) {}

  async run(): Promise<Retired> {
    const { database, budget, lease } = this.options;
    const due = await database.prepared<{ id: string }>('fleet-due-retirements', DUE, [REPEAT_SECONDS, BATCH]);
    if (due.length === 0 || !lease.isHeld) return { pauseMs: LONGEST_PAUSE_MS, isWatchNeeded: false };
    const waitMs = budget.take('TerminateInstances', due.length);
    if (waitMs > 0) return { pauseMs: Math.min(waitMs, LONGEST_PAUSE_MS), isWatchNeeded: false };
    await this.terminate(due.map(({ id }) => id));
    return { pauseMs: due.length === BATCH ? 0 : LONGEST_PAUSE_MS, isWatchNeeded: true };
  }

  /** Splits a batch that EC2 refuses for one id: the others must not wait for it. */
  private async terminate(ids: readonly string[]): Promise<void> {
    const { ec2, budget, lease, log } = this.options;
    if (!lease.isHeld) return;
    try {
      await ec2.terminate(ids);
      log.info('instances terminated', { instanceIds: ids });
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      if (error.reason === 'ec2-throttled') budget.throttled('TerminateInstances');
      const isAboutOne =
        error.kind === 'not-found' || error.kind === 'invalid' || error.code === 'UnauthorizedOperation';
      // A refusal of all of them must not cost a call for each: what the bucket does not give waits for the repeat.
      if (isAboutOne && ids.length > 1 && budget.take('TerminateInstances', ids.length) === 0) {
        const half = Math.ceil(ids.length / 2);
        await this.terminate(ids.slice(0, half));
        await this.terminate(ids.slice(half));
        return;
      }
      log.warn('instances could not be terminated yet', {
        instanceIds: ids,
        reason: error.reason,
        message: error.message,
      });
    }
    // Also when it failed: it is repeated after a while, and the sweep tells what has become of an id EC2 does not know.
    await lease.transaction((transaction) => transaction.prepared('fleet-terminate-called', CALLED, [ids]));
  }
}

const DUE = `
  SELECT id FROM instances
  WHERE retire_reason IS NOT NULL AND terminated_at IS NULL AND state NOT IN ('shutting-down', 'terminated')
    AND (terminate_called_at IS NULL OR terminate_called_at < clock_timestamp() - make_interval(secs => $1))
  ORDER BY retired_at LIMIT $2`;

const CALLED = `
  UPDATE instances SET terminate_called_at = clock_timestamp()
  WHERE id IN (SELECT id FROM instances WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)`;
