import { randomUUID } from 'node:crypto';
import { AwsError } from '../aws/aws-error.js';
import { type Action, type CallBudget, takeInTurn } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import { SNAPSHOT_TAG, STACK_TAG } from '../aws/ec2-types.js';
import type { Signals } from '../database/signals.js';
import type { Log } from '../process/log.js';
import type { OwnerLease } from '../ownership/owner-lease.js';
import { Occurrence } from '../process/observation.js';
import {
  ASKED,
  failed,
  type KnownSnapshot,
  planSnapshots,
  type SeenSnapshot,
  type SnapshotsPlan,
  TOO_OLD,
} from './plan-snapshots.js';
import { readSnapshots, writeSnapshots } from './snapshot-rows.js';

export type SnapshotKeeperOptions = {
  readonly signals: Pick<Signals, 'eventsWritten'>;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
  readonly volumeId: string;
  readonly retentionDays: number;
};

export const SNAPSHOT_OUTCOMES = ['completed', 'failed', 'deleted', 'not-deleted'] as const;
/** The outcome of a snapshot, or of a try to make or delete one. */
export const snapshotOutcomes = new Occurrence<{ readonly outcome: (typeof SNAPSHOT_OUTCOMES)[number] }>('snapshot');

/** Snapshots are not urgent, and each look costs a call. */
const LOOK_MS = 10 * 60_000;

/** Takes snapshots of the volume with Postgres's data, and deletes those of its own that are too old. */
export class SnapshotKeeper {
  constructor(private readonly options: SnapshotKeeperOptions) {}

  /** @returns milliseconds until the next look */
  async run(): Promise<number> {
    const seen = await this.#look();
    const { plan, next } = await this.#plan(seen);
    if (next?.state === 'asked') await this.#create(next);
    for (const row of plan.deletions) await this.#delete(row);
    return LOOK_MS;
  }

  async #look(): Promise<readonly SeenSnapshot[] | AwsError> {
    const { ec2, lease, log } = this.options;
    const look = await this.#call('DescribeSnapshots', async () => await ec2.describeSnapshots(lease.cluster));
    if (!(look instanceof AwsError))
      return look.map(({ tags, ...shown }) => ({ ...shown, rowId: tags[SNAPSHOT_TAG] ?? '' }));
    log.warn('snapshots could not be listed', said(look));
    return look;
  }

  /** Writes what was seen, and the snapshot about to be made: the next owner must find its row. */
  async #plan(seen: readonly SeenSnapshot[] | AwsError): Promise<{ plan: SnapshotsPlan; next: KnownSnapshot | null }> {
    const { volumeId, retentionDays } = this.options;
    return await this.#write((known, now) => {
      const isBlind = seen instanceof AwsError;
      const plan = planSnapshots({ volumeId, retentionDays, seen: isBlind ? null : seen, known, now });
      const asked: KnownSnapshot = { ...ASKED, id: randomUUID(), volumeId, askedAt: now };
      // Without a look there could be two for one: that counts as a failed try.
      const next = plan.isDue ? (isBlind ? failed(asked, seen, known, now) : asked) : null;
      return { rows: next ? [...plan.changes, next] : plan.changes, result: { plan, next } };
    });
  }

  async #create(row: KnownSnapshot): Promise<void> {
    const { ec2, lease } = this.options;
    if (!lease.isHeld) return;
    const answer = await this.#call(
      'CreateSnapshot',
      async () => await ec2.createSnapshot(row.volumeId, this.#tags(row)),
    );
    // The next looks show whether there is a snapshot.
    if (answer instanceof AwsError && answer.kind === 'unknown-outcome') {
      this.options.log.warn('it is not known whether a snapshot was made', said(answer));
      return;
    }
    await this.#write((known, now) => {
      const isRefused = answer instanceof AwsError;
      const next: KnownSnapshot = isRefused
        ? failed(row, answer, known, now)
        : { ...row, snapshotId: answer, state: 'pending' };
      return { rows: [next], result: undefined };
    });
  }

  async #delete(row: KnownSnapshot): Promise<void> {
    const { ec2, lease, log } = this.options;
    if (!lease.isHeld) return;
    const { snapshotId } = row;
    const answer = await this.#call('DeleteSnapshot', async () => await ec2.deleteSnapshot(snapshotId ?? ''));
    if (answer instanceof AwsError && answer.code !== 'InvalidSnapshot.NotFound') {
      log.warn('snapshot could not be deleted', { snapshotId, ...said(answer) });
      snapshotOutcomes.publish({ outcome: 'not-deleted' });
      return;
    }
    const deleted: KnownSnapshot = { ...row, state: 'deleted', reason: TOO_OLD };
    await this.#write(() => ({ rows: [deleted], result: undefined }));
  }

  #tags({ id }: KnownSnapshot) {
    const { cluster } = this.options.lease;
    return [
      { Key: 'Name', Value: `${cluster}-data` },
      { Key: STACK_TAG, Value: cluster },
      { Key: SNAPSHOT_TAG, Value: id },
    ];
  }

  async #call<T>(action: Action, call: () => Promise<T>): Promise<T | AwsError> {
    const { budget } = this.options;
    await takeInTurn(budget, action);
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      return error;
    }
  }

  /** In one transaction; the outcomes are logged and counted after its commit. */
  async #write<T>(
    work: (known: readonly KnownSnapshot[], now: Date) => { rows: readonly KnownSnapshot[]; result: T },
  ): Promise<T> {
    const { lease, signals } = this.options;
    const { rows, result } = await lease.transaction(async (transaction, now) => {
      const written = work(await readSnapshots(transaction), now);
      await writeSnapshots(transaction, written.rows);
      return written;
    });
    if (rows.length > 0) signals.eventsWritten();
    for (const row of rows) this.#report(row);
    return result;
  }

  #report({ state, snapshotId, volumeId, toldAt, reason, message }: KnownSnapshot): void {
    const { log } = this.options;
    if (state === 'asked' || state === 'pending') return;
    snapshotOutcomes.publish({ outcome: state });
    if (state !== 'failed') log.info(`snapshot ${state}`, { snapshotId, volumeId, ...(reason !== null && { reason }) });
    else
      log.error('snapshot failed', { ...(toldAt !== null && { alarm: true }), snapshotId, volumeId, reason, message });
  }
}

function said({ reason, message }: AwsError): object {
  return { reason, message };
}
