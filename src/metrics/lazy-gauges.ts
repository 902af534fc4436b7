import { Gauge, type Registry } from 'prom-client';

/** Scrapes of several collectors within this time share one query of Postgres. */
const CACHE_MS = 2_000;
/** Prometheus gives up after 10 s; a slow Postgres must not cost this process's own metrics. */
const TIMEOUT_MS = 3_000;

export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** `up`: the gauge that says whether Postgres answered in time. */
export type LazyGauges<Facts> = {
  readonly registry: Registry;
  readonly look: () => Promise<Facts>;
  readonly up: { readonly name: string; readonly help: string };
  readonly gauges: readonly {
    readonly name: string;
    readonly help: string;
    readonly labelNames?: readonly string[];
    readonly samplesOf: (facts: Facts) => readonly Sample[];
  }[];
};

/**
 * Gauges of one query of Postgres, made when they are scraped. Without an answer they are absent and `up` is 0: an old
 * number would look like a good one. They are the same in every process: a sum over processes takes them from one.
 */
export function registerLazyGauges<Facts>({ registry, look, up, gauges }: LazyGauges<Facts>): void {
  let facts: Facts | null = null;
  const refresh = onceIn(CACHE_MS, async () => {
    facts = await inTime(look()).catch(() => null);
  });
  new Gauge({
    ...up,
    registers: [registry],
    aggregator: 'first',
    async collect() {
      await refresh();
      this.set(facts === null ? 0 : 1);
    },
  });
  for (const { name, help, labelNames = [], samplesOf } of gauges) {
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      aggregator: 'first',
      async collect() {
        await refresh();
        // `reset` leaves a 0 where there are no labels.
        if (labelNames.length === 0) this.remove();
        else this.reset();
        for (const [labels, value] of facts === null ? [] : samplesOf(facts)) this.set(labels, value);
      },
    });
  }
}

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
