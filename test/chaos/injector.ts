import { createRandom } from '../../local/cloud/random.ts';
import { ALL_ADDRESSES, FAULT_ACTIONS } from './fault-actions.ts';
import { VISIBILITY_MS, type House } from './house.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';
import { wait } from './wait.ts';

export type Injected = { readonly at: string; readonly kind: FaultKind; readonly detail: string };

/** Causes the faults of a schedule, and undoes those that do not end by themselves. */
export class Injector {
  readonly injected: Injected[] = [];
  /** How many faults found nothing that they could meet. */
  skipped = 0;
  /** When EC2 was made to throttle: from, to in ms. */
  readonly throttled: (readonly [from: number, to: number])[] = [];
  readonly #house: House;
  readonly #ending = new AbortController();
  readonly #work = new Set<Promise<void>>();

  constructor(house: House) {
    this.#house = house;
  }

  /** Resolves after the last fault has begun. */
  async run(schedule: readonly PlannedFault[], signal: AbortSignal): Promise<void> {
    const startedAt = performance.now();
    for (const fault of schedule) {
      await wait(fault.atMs - (performance.now() - startedAt), signal);
      if (signal.aborted) return;
      const work = this.#inject(fault).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  /** All is well again: processes and Postgres run, EC2 gives what it has, agents get through. */
  async stop(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#work);
    const { cloud, replicas } = this.#house;
    const { faults } = cloud;
    faults.clear();
    faults.delayVisibility(VISIBILITY_MS);
    const instances = cloud.ledger.instances();
    for (const subnetId of new Set(instances.map(({ spec }) => spec.subnetId)))
      faults.setFreeAddresses(subnetId, ALL_ADDRESSES);
    for (const { id } of instances.filter(({ state }) => state === 'running'))
      await Promise.allSettled([faults.thaw(id), faults.mendDocker(id), faults.reconnect(id)]);
    for (const replica of replicas) {
      replica.resume();
      replica.start();
    }
  }

  async #inject({ kind, seed }: PlannedFault): Promise<void> {
    const reported: string[] = [];
    await FAULT_ACTIONS[kind]({
      house: this.#house,
      random: createRandom(seed),
      wait: (ms) => wait(ms, this.#ending.signal),
      report: (detail) => {
        reported.push(detail);
        this.injected.push({ at: new Date().toISOString(), kind, detail });
      },
      onThrottle: (ms) => void this.throttled.push([Date.now(), Date.now() + ms]),
    });
    if (reported.length === 0) this.skipped += 1;
  }
}
