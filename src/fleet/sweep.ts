import { AwsError } from '../aws/aws-error.js';
import { type Action, type CallBudget, takeInTurn } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import { CLUSTER_TAG, type Ec2Instance, LAUNCH_TAG } from '../aws/ec2-types.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { describeByZone, type Located, mayBeOneZone, type ZoneLook } from './describe-by-zone.js';
import { Instance } from './instance.entity.js';
import type { Log } from '../process/log.js';
import type { OwnerLease } from '../ownership/owner-lease.js';
import { isExpected, planSweep } from './plan/plan-sweep.js';
import { readClock, readInstances, readKnownLaunches, retireForgotten, writeSweep } from './sweep-statements.js';

export type SweepOptions = {
  readonly database: Database;
  readonly signals: Signals;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
  readonly onAwsTrouble: (trouble: string | null) => void;
};

/** An instance ended by hand is noticed within this; a fleet of many pages is swept less often: one call a second. */
const LEAST_FULL_MS = 10_000;
const MOST_FULL_MS = 60_000;
const MS_PER_PAGE = 1_200;
/** Only while an instance is between two states: at rest no call is made. */
const QUICK_MS = 2_000;
/** Two calls a round; the rest follows in the next. */
const QUICK_IDS = 400;
const NOTHING_TO_WATCH_MS = 10_000;
const TAG_KEYS = { cluster: CLUSTER_TAG, launch: LAUNCH_TAG };

/** Keeps rows of instances current: all of them every 10 s to a minute, those between two states every two seconds. */
export class Sweep {
  #fullDueAt = 0;
  #quickAfter = '';
  #hasSeenAll = false;

  constructor(
    private readonly options: SweepOptions,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Whether a look at all instances was made: one at some zones does not show instances without a row. */
  get hasSeenAll(): boolean {
    return this.#hasSeenAll;
  }

  /** @returns milliseconds until the next look */
  async run(): Promise<number> {
    if (!this.options.lease.isHeld) return QUICK_MS;
    try {
      if (this.now() >= this.#fullDueAt) {
        const { pages, trouble } = await this.full();
        this.#fullDueAt = this.now() + Math.min(Math.max(pages * MS_PER_PAGE, LEAST_FULL_MS), MOST_FULL_MS);
        this.options.onAwsTrouble(trouble);
      }
      const isWatching = await this.quick();
      return Math.min(isWatching ? QUICK_MS : NOTHING_TO_WATCH_MS, Math.max(0, this.#fullDueAt - this.now()));
    } catch (error) {
      // A describe that failed shows nothing about any instance: no row is touched.
      if (error instanceof AwsError) {
        this.options.budget.recordFailure(error);
        this.options.onAwsTrouble(`${error.reason}: ${error.message}`);
      }
      throw error;
    }
  }

  /** Looks at all instances, or in a zone's outage at those of the other zones. */
  async full(): Promise<FullLook> {
    try {
      const pages = await this.#wholeLook();
      this.#hasSeenAll = true;
      return { pages, trouble: null };
    } catch (error) {
      if (!mayBeOneZone(error)) throw error;
      return await this.#lookByZone(error);
    }
  }

  /** Compares all instances with our tag with every living row, in both directions. @returns how many pages it took */
  async #wholeLook(): Promise<number> {
    const { database, ec2, lease, log } = this.options;
    const startedAt = await readClock(database);
    const observed = new Map<string, Ec2Instance>();
    let pages = 0;
    for await (const page of this.#paced('DescribeInstances', ec2.describeByTag(lease.cluster))) {
      pages += 1;
      for (const instance of page) observed.set(instance.id, instance);
    }
    const { now, rows } = await readInstances(database, [...observed.keys()], 'and-the-living');
    const missing = rows.filter((row) => isExpected(row, startedAt) && !observed.has(row.id)).map(({ id }) => id);
    // A terminated instance loses its tags some time before EC2 drops it: absence counts only in a describe by id.
    for (const instance of await this.#describe(missing)) observed.set(instance.id, instance);
    const absent = new Set(missing.filter((id) => !observed.has(id)));
    const launches = await readKnownLaunches(
      database,
      [...observed.values()].map(({ tags }) => tags[LAUNCH_TAG] ?? ''),
    );
    const plan = planSweep({
      observed: [...observed.values()],
      known: rows,
      launches,
      absent,
      tagKeys: TAG_KEYS,
      cluster: lease.cluster,
      startedAt,
      now,
    });
    const written = await writeSweep(lease, plan);
    const forgotten = await retireForgotten(lease);
    this.#signal(written, forgotten.length);
    if (plan.inserts.length > 0)
      log.warn('lost instances found', { instanceIds: plan.inserts.map(({ instance }) => instance.id) });
    if (written.quarantined.length > 0) {
      log.error('unknown instances quarantined: our rows of their launches are lost', {
        alarm: true,
        instanceIds: written.quarantined,
      });
    }
    if (forgotten.length > 0) log.warn('instances retired', { instanceIds: forgotten, reason: 'attempt-ended' });
    return pages;
  }

  /** An instance that EC2 does not describe is left unchanged: neither missing, nor gone. */
  async #lookByZone(failure: AwsError): Promise<FullLook> {
    const { database, lease, log } = this.options;
    const { rows } = await readInstances(database, [], 'and-the-living');
    const { observed, unanswered } = await this.#describeByZone(rows, failure);
    await this.#writeSeen(observed);
    this.#signal({ wokenJobs: 0, wokenShapes: 0 }, (await retireForgotten(lease)).length);
    const { reason, message } = failure;
    log.warn('EC2 describes instances zone by zone only', { reason, unanswered });
    const silent = unanswered.length > 0 ? `, and none in ${unanswered.join(', ')}` : '';
    const trouble = `${reason}: ${message} EC2 describes instances by their ids only${silent}`;
    return { pages: Math.ceil(rows.length / 200), trouble };
  }

  /** @returns whether there was anything to watch */
  async quick(): Promise<boolean> {
    const ids = await this.#idsInBetween();
    if (ids.length === 0) return false;
    await this.#writeSeen(await this.#describeSome(ids));
    return true;
  }

  async #describeSome(ids: readonly string[]): Promise<readonly Ec2Instance[]> {
    try {
      return await this.#describe(ids);
    } catch (error) {
      if (!mayBeOneZone(error)) throw error;
      const { rows } = await readInstances(this.options.database, ids, 'only');
      return (await this.#describeByZone(rows, error)).observed;
    }
  }

  async #describeByZone(instances: readonly Located[], failure: AwsError): Promise<ZoneLook> {
    const ask = async (ids: readonly string[]) => {
      await takeInTurn(this.options.budget, 'DescribeInstances');
      return await this.options.ec2.describeExactly(ids);
    };
    return await describeByZone(instances, ask, failure);
  }

  /** Writes what was seen, and nothing about what was not. */
  async #writeSeen(observed: readonly Ec2Instance[]): Promise<void> {
    const { database, lease } = this.options;
    const { now, rows } = await readInstances(
      database,
      observed.map(({ id }) => id),
      'only',
    );
    const plan = planSweep({
      observed,
      known: rows,
      launches: new Set(),
      absent: new Set(),
      tagKeys: TAG_KEYS,
      cluster: lease.cluster,
      startedAt: now,
      now,
    });
    this.#signal(await writeSweep(lease, { ...plan, inserts: [], quarantines: [] }), 0);
  }

  async #idsInBetween(): Promise<string[]> {
    const { database } = this.options;
    const after = await database.run(IN_BETWEEN, [this.#quickAfter, QUICK_IDS]);
    const rest = QUICK_IDS - after.length;
    const wrapped = rest > 0 && this.#quickAfter !== '' ? await database.run(IN_BETWEEN, ['', rest]) : [];
    this.#quickAfter = rest > 0 ? '' : (after.at(-1)?.id ?? '');
    return [...new Set([...after, ...wrapped].map(({ id }) => id))];
  }

  async #describe(ids: readonly string[]): Promise<Ec2Instance[]> {
    const found: Ec2Instance[] = [];
    for (let at = 0; at < ids.length; at += 200) {
      await takeInTurn(this.options.budget, 'DescribeInstances');
      found.push(...(await this.options.ec2.describeByIds(ids.slice(at, at + 200))));
    }
    return found;
  }

  async *#paced<T>(action: Action, pages: AsyncGenerator<T>): AsyncGenerator<T> {
    for (;;) {
      await takeInTurn(this.options.budget, action);
      const next = await pages.next();
      if (next.done) return;
      yield next.value;
    }
  }

  #signal({ wokenJobs, wokenShapes }: { wokenJobs: number; wokenShapes: number }, retired: number): void {
    // There may be new events of what ended, retires or was found; without the signal the sequencer looks in a second.
    this.options.signals.eventsWritten();
    if (wokenJobs > 0) this.options.signals.jobsDue();
    if (wokenShapes + retired > 0) this.options.signals.shapesDue();
  }
}

type FullLook = {
  readonly pages: number;
  /** Of a look at some zones only. */
  readonly trouble: string | null;
};

// Booting ones as well: no attempt should wait for an instance that EC2 ends in its first seconds, and one whose agent
// has registered meanwhile is not pending.
const IN_BETWEEN = statement('fleet-in-between', { values: [t.text, t.bigintValue], row: columnsOf(Instance, 'id') })(`
  SELECT id FROM instances
  WHERE terminated_at IS NULL AND id > $1 AND (
    terminate_called_at IS NOT NULL OR state IN ('stopping', 'shutting-down')
    OR state = 'pending')
  ORDER BY id LIMIT $2`);
