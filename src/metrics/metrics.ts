import { AggregatorRegistry, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client';
import type { OrderPolls } from '../agent/order-polls.js';
import type { Role } from '../config/config.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import type { FleetOverview } from '../fleet/fleet-overview.service.js';
import type { Heartbeats } from '../process/heartbeats.js';
import { registerAgentMetrics } from './agent-metrics.js';
import { registerDeploymentMetrics } from './deployment-metrics.js';
import { registerEc2Metrics } from './ec2-metrics.js';
import { registerFleetGauges } from './fleet-gauges.js';
import { registerHttpMetrics } from './http-metrics.js';
import { registerLogMetrics } from './log-metrics.js';
import { registerLoopMetrics } from './loop-metrics.js';
import { registerPostgresMetrics } from './postgres-metrics.js';
import { registerSnapshotMetrics } from './snapshot-metrics.js';
import { registerStatusGauges } from './status-gauges.js';
import type { Gathered, Snapshot } from './snapshot.js';
import { registerWebhookMetrics } from './webhook-metrics.js';

export type MetricsSources = {
  readonly role: Role;
  readonly database: Database;
  readonly signals: Signals;
  readonly heartbeats: Heartbeats;
  readonly fleet: FleetOverview;
  readonly desk: OrderPolls;
  /** The volume that snapshots are taken of; null = none are. */
  readonly volumeId: string | null;
};

/** Metrics for Prometheus. Not in prom-client's global registry: tests have several applications in a process. */
export class Metrics {
  /** What this process counts; to be summed with the others of its cluster. */
  readonly #own = new Registry();
  /** What Postgres knows, the same in every process: only the process that is scraped queries it. */
  readonly #shared = new Registry();
  readonly #leave: (() => void)[];
  readonly #silent: Gauge;
  #gather = async (): Promise<Gathered> => ({ snapshots: [await this.snapshot()], silent: 0 });

  constructor({ role, database, signals, heartbeats, fleet, desk, volumeId }: MetricsSources) {
    // By role, as the loops' memory and event loop are another matter than those of the API workers.
    collectDefaultMetrics({ register: this.#own, labels: { role } });
    exposeLatestStart(this.#own);
    this.#leave = [
      registerHttpMetrics(this.#own),
      registerEc2Metrics(this.#own),
      registerLoopMetrics(this.#own, heartbeats),
      registerDeploymentMetrics(this.#own),
      registerAgentMetrics(this.#own, desk),
      registerLogMetrics(this.#own),
      registerWebhookMetrics(this.#own),
      registerSnapshotMetrics(this.#own),
    ];
    registerPostgresMetrics(this.#own, role, database, signals);
    registerFleetGauges(this.#shared, () => fleet.overview());
    registerStatusGauges(this.#shared, database, volumeId);
    this.#silent = new Gauge({
      name: 'scheduler_workers_silent',
      help: 'Workers behind this address that did not report in time; their counters keep the last values, their gauges are missing.',
      registers: [this.#shared],
    });
  }

  /** What this process has counted so far. */
  async snapshot(): Promise<Snapshot> {
    return await this.#own.getMetricsAsJSON();
  }

  /** From now on a scrape shows all processes that `gather` collects from, including this one. */
  gatherBy(gather: () => Promise<Gathered>): void {
    this.#gather = gather;
  }

  get contentType(): string {
    return this.#own.contentType;
  }

  /** What Prometheus reads. @throws what `gather` throws */
  async text(): Promise<string> {
    const { snapshots, silent } = await this.#gather();
    this.#silent.set(silent);
    const shared = await this.#shared.getMetricsAsJSON();
    return await AggregatorRegistry.aggregate([...snapshots, shared] as MetricObject[][]).metrics();
  }

  close(): void {
    for (const leave of this.#leave) leave();
  }
}

/** By default sums leave it out; the latest start of several processes shows that one was started again. */
function exposeLatestStart(registry: Registry): void {
  Object.assign(registry.getSingleMetric('process_start_time_seconds') ?? {}, { aggregator: 'max' });
}
