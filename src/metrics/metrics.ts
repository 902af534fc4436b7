import { AggregatorRegistry, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client';
import type { OrderDesk } from '../agent/order-desk.js';
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
  readonly desk: OrderDesk;
  /** The volume that snapshots are taken of; null = none are. */
  readonly volumeId: string | null;
};

/** What Prometheus is told. Own registries, not prom-client's global one, since tests have several applications in a process. */
export class Metrics {
  /** What this process counts; to be summed with the others of its cluster. */
  readonly #own = new Registry();
  /** What Postgres knows, the same in every process: only the one that is asked looks. */
  readonly #shared = new Registry();
  readonly #leave: (() => void)[];
  readonly #silent: Gauge;
  #gather = async (): Promise<Gathered> => ({ snapshots: [await this.snapshot()], silent: 0 });

  constructor({ role, database, signals, heartbeats, fleet, desk, volumeId }: MetricsSources) {
    // By role, as the loops' memory and event loop are another matter than those of the API workers.
    collectDefaultMetrics({ register: this.#own, labels: { role } });
    tellLatestStart(this.#own);
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
      help: 'Workers behind this address that did not tell in time; their counters are as they last were, their gauges missing.',
      registers: [this.#shared],
    });
  }

  /** What this process has counted so far. */
  async snapshot(): Promise<Snapshot> {
    return await this.#own.getMetricsAsJSON();
  }

  /** From now on a scrape tells of all the processes `gather` asks, this one among them. */
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

/** By default it is left out of a sum; of several processes the latest start says that one was started again. */
function tellLatestStart(registry: Registry): void {
  Object.assign(registry.getSingleMetric('process_start_time_seconds') ?? {}, { aggregator: 'max' });
}
