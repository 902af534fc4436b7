import { Gauge, type Registry } from 'prom-client';
import type { FleetResponse } from '../fleet/fleet.schema.js';

/** Scrapes of several collectors within this are one look at Postgres. */
const CACHE_MS = 2_000;
/** Prometheus gives up after 10 s; what this process tells of itself must not be lost for the fleet's sake. */
const TIMEOUT_MS = 3_000;

/**
 * Gauges of what Postgres knows of the fleet, looked up when they are scraped. Every process tells the same: whoever
 * sums over processes takes them from one (`aggregator: 'first'`). Without an answer they are absent and
 * `scheduler_fleet_up` is 0: an old number would look like a good one.
 */
export function registerFleetGauges(registry: Registry, look: () => Promise<FleetResponse>): void {
  let fleet: FleetResponse | null = null;
  const refresh = onceIn(CACHE_MS, async () => {
    fleet = await inTime(look()).catch(() => null);
  });
  const gauge = (name: string, help: string, labelNames: string[], valuesOf: (fleet: FleetResponse) => Value[]) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      aggregator: 'first',
      async collect() {
        await refresh();
        // `reset` leaves a 0 where there are no labels.
        if (labelNames.length === 0) this.remove();
        else this.reset();
        for (const [labels, value] of fleet ? valuesOf(fleet) : []) this.set(labels, value);
      },
    });
  new Gauge({
    name: 'scheduler_fleet_up',
    help: '1 when Postgres told of the fleet in time.',
    registers: [registry],
    aggregator: 'first',
    async collect() {
      await refresh();
      this.set(fleet ? 1 : 0);
    },
  });
  gauge('scheduler_instances', 'Living instances, by what they are for.', ['state'], ({ instances }) =>
    STATES.map((state) => [{ state }, instances[state]]),
  );
  gauge('scheduler_instances_orphaned', 'Alive although nothing needs them: must be 0.', [], ({ instances }) => [
    [{}, instances.orphaned],
  ]);
  gauge('scheduler_attempts_waiting', 'Attempts that wait for an instance.', [], ({ demand }) => [[{}, demand]]);
  gauge('scheduler_launches_open', 'RunInstances calls that are not settled yet.', ['status'], ({ launches }) =>
    Object.entries(launches).map(([status, count]) => [{ status }, count]),
  );
  gauge('scheduler_owned', '1 while a process of the cluster owns the fleet.', [], ({ owner }) => [
    [{}, owner ? 1 : 0],
  ]);
  gauge('scheduler_owner_epoch', 'Grows with every change of the owner.', [], ({ owner }) =>
    owner ? [[{}, owner.epoch]] : [],
  );
}

type Value = [labels: Record<string, string>, value: number];

const STATES = ['pending', 'registered', 'assigned', 'retiring', 'quarantined'] as const;

/** All collectors of one scrape wait for the same work. */
function onceIn(ms: number, work: () => Promise<void>): () => Promise<void> {
  let startedAtMs = -Infinity;
  let latest = Promise.resolve();
  return () => {
    if (performance.now() - startedAtMs >= ms) {
      startedAtMs = performance.now();
      latest = work();
    }
    return latest;
  };
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  try {
    return await Promise.race([answer, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}
