import { AwsError } from '../aws/aws-error.js';
import type { Action, CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import { CLUSTER_TAG, type Ec2Instance, LAUNCH_TAG } from '../aws/ec2-types.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import type { Log } from './log.js';
import type { OwnerLease } from './owner-lease.js';
import { isExpected, planSweep } from './plan-sweep.js';
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

/** An instance ended by hand is noticed within this; a fleet of many pages is asked less often, to stay at one call a second. */
const LEAST_FULL_MS = 10_000;
const MOST_FULL_MS = 60_000;
const MS_PER_PAGE = 1_200;
/** Only while something is in between: at rest nobody is asked. */
const QUICK_MS = 2_000;
/** Two calls a round; the rest has its turn in the next. */
const QUICK_IDS = 400;
const NOTHING_TO_WATCH_MS = 10_000;
const TAG_KEYS = { cluster: CLUSTER_TAG, launch: LAUNCH_TAG };

/** Keeps the rows of instances true: all of them every 10 s to a minute, those on their way somewhere every two seconds. */
export class Sweep {
  #fullDueAt = 0;
  #quickAfter = '';

  constructor(
    private readonly options: SweepOptions,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** @returns milliseconds until the next look */
  async run(): Promise<number> {
    if (!this.options.lease.isHeld) return QUICK_MS;
    try {
      if (this.now() >= this.#fullDueAt) {
        const pages = await this.full();
        this.#fullDueAt = this.now() + Math.min(Math.max(pages * MS_PER_PAGE, LEAST_FULL_MS), MOST_FULL_MS);
        this.options.onAwsTrouble(null);
      }
      const isWatching = await this.quick();
      return Math.min(isWatching ? QUICK_MS : NOTHING_TO_WATCH_MS, Math.max(0, this.#fullDueAt - this.now()));
    } catch (error) {
      // A describe that failed says nothing about any instance: no row is touched.
      if (error instanceof AwsError) {
        this.options.budget.hear(error);
        this.options.onAwsTrouble(`${error.reason}: ${error.message}`);
      }
      throw error;
    }
  }

  /** Compares everything that carries our tag with every living row, in both directions. @returns how many pages it took */
  async full(): Promise<number> {
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
    // A terminated instance loses its tags some time before EC2 forgets it: absence counts only when asked for by id.
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

  /** @returns whether there was anything to watch */
  async quick(): Promise<boolean> {
    const { database, lease } = this.options;
    const ids = await this.#idsInBetween();
    if (ids.length === 0) return false;
    const observed = await this.#describe(ids);
    const { now, rows } = await readInstances(database, ids, 'only');
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
    return true;
  }

  async #idsInBetween(): Promise<string[]> {
    const { database } = this.options;
    const after = await database.prepared<{ id: string }>('fleet-in-between', IN_BETWEEN, [
      this.#quickAfter,
      QUICK_IDS,
    ]);
    const rest = QUICK_IDS - after.length;
    const wrapped =
      rest > 0 && this.#quickAfter !== ''
        ? await database.prepared<{ id: string }>('fleet-in-between', IN_BETWEEN, ['', rest])
        : [];
    this.#quickAfter = rest > 0 ? '' : (after.at(-1)?.id ?? '');
    return [...new Set([...after, ...wrapped].map(({ id }) => id))];
  }

  async #describe(ids: readonly string[]): Promise<Ec2Instance[]> {
    const found: Ec2Instance[] = [];
    for (let at = 0; at < ids.length; at += 200) {
      await this.#permit('DescribeInstances');
      found.push(...(await this.options.ec2.describeByIds(ids.slice(at, at + 200))));
    }
    return found;
  }

  async *#paced<T>(action: Action, pages: AsyncGenerator<T>): AsyncGenerator<T> {
    for (;;) {
      await this.#permit(action);
      const next = await pages.next();
      if (next.done) return;
      yield next.value;
    }
  }

  async #permit(action: Action): Promise<void> {
    for (let waitMs = this.options.budget.take(action); waitMs > 0; waitMs = this.options.budget.take(action)) {
      await new Promise((done) => setTimeout(done, waitMs));
    }
  }

  #signal({ wokenJobs, wokenShapes }: { wokenJobs: number; wokenShapes: number }, retired: number): void {
    // What ended, retires or was found may be told of: the sequencer's own look is a second away.
    this.options.signals.sendHere('new-events');
    if (wokenJobs > 0) this.options.signals.send('jobs');
    if (wokenShapes + retired > 0) this.options.signals.send('shapes');
  }
}

// Booting ones as well: an instance that EC2 ends in its first seconds should not be waited for.
const IN_BETWEEN = `
  SELECT id FROM instances
  WHERE terminated_at IS NULL AND id > $1 AND (
    terminate_called_at IS NOT NULL OR state IN ('stopping', 'shutting-down')
    OR (state = 'pending' AND registered_at IS NULL))
  ORDER BY id LIMIT $2`;
