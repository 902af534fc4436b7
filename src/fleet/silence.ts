import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Ec2Health } from '../aws/ec2-types.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import type { Log } from '../process/log.js';
import type { OwnerLease } from '../ownership/owner-lease.js';
import { planSilence, SILENT_SECONDS, type SilentInstance, instancesToCheck } from './plan/plan-silence.js';
import { wakeRows } from '../database/wake.js';

export type SilenceOptions = {
  readonly database: Database;
  readonly signals: Signals;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
  /** Start of our tenure: before it, no process of ours may have listened. */
  readonly since: Date;
};

const PAUSE_MS = 15_000;
/** No check for this long: this process was suspended, or the database unreachable. */
const GAP_MS = 60_000;

/** Finds agents that have fallen silent and, with EC2's own checks, the instances that are lost. */
export class Silence {
  #listeningSince: Date;
  #checkedAt: Date | null = null;
  #wasCutOff = false;

  constructor(private readonly options: SilenceOptions) {
    this.#listeningSince = options.since;
  }

  /** @returns milliseconds until the next look */
  async run(): Promise<number> {
    const { database, lease } = this.options;
    if (!lease.isHeld) return PAUSE_MS;
    const [facts] = await database.run(FACTS, [SILENT_SECONDS]);
    if (!facts) return PAUSE_MS;
    const { now, total, returned } = facts;
    const silent = facts.silent.map(({ id, lastSeenAt }): SilentInstance => ({ id, lastSeenAt: new Date(lastSeenAt) }));
    const zones = new Map(facts.silent.map(({ id, availabilityZone }) => [id, availabilityZone]));
    if (this.#checkedAt && now.getTime() - this.#checkedAt.getTime() > GAP_MS) this.#listeningSince = now;
    this.#checkedAt = now;

    const seen = { silent, total, listeningSince: this.#listeningSince, now };
    const health = await this.#readChecks(instancesToCheck(seen), zones);
    const { isCutOff, unreachable } = planSilence({ ...seen, health });
    if (isCutOff) this.#listeningSince = now;
    this.#logCutOff(isCutOff, silent.length, total);
    if (unreachable.length + returned.length > 0) {
      await this.#write(
        unreachable.map(({ instanceId }) => instanceId),
        returned,
      );
    }
    for (const { instanceId, reason } of unreachable)
      this.options.log.warn('instance unreachable', { instanceId, reason });
    return PAUSE_MS;
  }

  /** Zone by zone: one id of a zone that is out fails the call for all in it. */
  async #readChecks(
    ids: readonly string[],
    zones: ReadonlyMap<string, string | null>,
  ): Promise<ReadonlyMap<string, Ec2Health>> {
    const byZone = Map.groupBy(ids, (id) => zones.get(id) ?? null);
    const checks = await Promise.all([...byZone.values()].map((same) => this.#readChecksOfZone(same)));
    return new Map(checks.flatMap((each) => [...each]));
  }

  async #readChecksOfZone(ids: readonly string[]): Promise<ReadonlyMap<string, Ec2Health>> {
    const { ec2, budget, log } = this.options;
    if (budget.take('DescribeInstanceStatus') > 0) return new Map();
    try {
      return await ec2.describeStatuses(ids);
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      log.warn('EC2 did not return its checks of silent instances', { reason: error.reason, message: error.message });
      return new Map();
    }
  }

  async #write(unreachable: readonly string[], returned: readonly string[]): Promise<void> {
    const { lease, signals } = this.options;
    await lease.transaction(async (transaction) => {
      await transaction.run(WAKE_JOBS, [[...unreachable, ...returned]]);
      await transaction.run(MARK, [unreachable, returned, SILENT_SECONDS]);
    });
    signals.jobsDue();
  }

  #logCutOff(isCutOff: boolean, silent: number, total: number): void {
    if (isCutOff && !this.#wasCutOff) {
      this.options.log.error('so many agents are silent that it must be us: no job is healed', {
        alarm: true,
        silent,
        total,
      });
    }
    if (!isCutOff && this.#wasCutOff) this.options.log.info('agents are heard again', { silent, total });
    this.#wasCutOff = isCutOff;
  }
}

type SilentRow = { readonly id: string; readonly lastSeenAt: string; readonly availabilityZone: string | null };

const FACTS = statement('fleet-silence', {
  values: [t.double],
  row: {
    now: t.timestamptz,
    total: t.int,
    silent: t.jsonOf<readonly SilentRow[]>(),
    returned: t.jsonOf<readonly string[]>(),
  },
})(`
  WITH watched AS (
    SELECT i.id, i.last_seen_at, i.unreachable_at, i.availability_zone
    FROM instances i
    WHERE i.assigned AND NOT i.quarantined AND i.terminated_at IS NULL AND i.retire_reason IS NULL AND i.registered_at IS NOT NULL
  )
  SELECT clock_timestamp() AS now, count(*)::int AS total,
    coalesce(jsonb_agg(jsonb_build_object('id', id, 'lastSeenAt', last_seen_at, 'availabilityZone', availability_zone)) FILTER (
      WHERE unreachable_at IS NULL AND last_seen_at < clock_timestamp() - make_interval(secs => $1)), '[]') AS silent,
    coalesce(jsonb_agg(id) FILTER (WHERE last_seen_at > unreachable_at), '[]') AS returned
  FROM watched`);

const WAKE_JOBS = statement('fleet-silence-jobs', { values: [t.arrayOf(t.text)], isPrepared: false })(
  wakeRows(
    'jobs',
    `id IN (
    SELECT a.job_id FROM assignments s JOIN attempts a ON a.id = s.attempt_id
    WHERE s.instance_id = ANY($1) AND a.phase <> 'ended')`,
  ),
);

// Read again under the lock: an agent may have polled during the call to EC2.
const MARK = statement('fleet-silence-mark', {
  values: [t.arrayOf(t.text), t.arrayOf(t.text), t.double],
  isPrepared: false,
})(`
  WITH locked AS (
    SELECT id FROM instances WHERE id = ANY($1) OR id = ANY($2) ORDER BY id FOR NO KEY UPDATE
  )
  UPDATE instances SET unreachable_at = CASE WHEN id = ANY($1) THEN clock_timestamp() END
  WHERE id IN (SELECT id FROM locked)
    AND (id = ANY($2) OR last_seen_at < clock_timestamp() - make_interval(secs => $3))`);
