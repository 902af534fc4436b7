import type { Registry } from 'prom-client';

/** What one process has counted, as prom-client writes it for other processes. Plain JSON. */
export type Snapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** The content of a scrape. `silent`: how many processes did not report in time. */
export type Gathered = { readonly snapshots: readonly Snapshot[]; readonly silent: number };

/** The metrics that only ever grow; a gauge is worth nothing once its process is silent or gone. */
export function countersOf(snapshot: Snapshot): Snapshot {
  return snapshot.filter(({ type }) => TYPES_THAT_GROW.has(type));
}

/** Sums two snapshots of counters. */
export function addCounters(one: Snapshot, other: Snapshot): Snapshot {
  const sums = new Map(one.map((metric) => [metric.name, metric]));
  for (const metric of other) {
    const sum = sums.get(metric.name);
    sums.set(metric.name, sum ? { ...sum, values: addValues(sum.values, metric.values) } : metric);
  }
  return [...sums.values()];
}

/** As strings: prom-client exports neither the names of types nor its enum of them as values. */
const TYPES_THAT_GROW: ReadonlySet<unknown> = new Set(['counter', 'histogram']);

type Values = Snapshot[number]['values'];

function addValues(one: Values, other: Values): Values {
  const sums = new Map(one.map((value) => [keyOf(value), value]));
  for (const value of other) {
    const sum = sums.get(keyOf(value));
    sums.set(keyOf(value), sum ? { ...sum, value: sum.value + value.value } : value);
  }
  return [...sums.values()];
}

/** A histogram's buckets, sum and count are values of one metric, told apart by `metricName`. */
function keyOf({ labels, ...value }: Values[number]): string {
  const name = 'metricName' in value ? value.metricName : '';
  return JSON.stringify([name, ...Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
