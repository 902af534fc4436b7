import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { AggregatorRegistry, collectDefaultMetrics, Gauge, type MetricObject, Registry } from 'prom-client';
import { OrderPolls } from '../agent/order-polls.js';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { FleetOverview } from '../fleet/fleet-overview.js';
import { RouteLookup } from '../ingress/route-lookup.js';
import { Heartbeats } from '../process/heartbeats.js';
import { registerAgentMetrics } from './agent-metrics.js';
import { registerDeploymentMetrics } from './deployment-metrics.js';
import { registerEc2Metrics } from './ec2-metrics.js';
import { registerFleetGauges } from './fleet-gauges.js';
import { registerHttpMetrics } from './http-metrics.js';
import { registerLogMetrics } from './log-metrics.js';
import { registerLoopMetrics } from './loop-metrics.js';
import { registerPostgresMetrics } from './postgres-metrics.js';
import { registerRouteGauges } from './route-gauges.js';
import { registerRouteMetrics } from './route-metrics.js';
import { registerSnapshotMetrics } from './snapshot-metrics.js';
import { registerStatusGauges } from './status-gauges.js';
import type { Gathered, Snapshot } from './process-counts.js';
import { registerWebhookMetrics } from './webhook-metrics.js';

/** Metrics for Prometheus. Not in prom-client's global registry: tests have several applications in a process. */
@Injectable()
export class Metrics implements OnApplicationShutdown {
  /** What this process counts; to be summed with the others of its cluster. */
  readonly #own = new Registry();
  /** What Postgres knows, the same in every process: only the process that is scraped queries it. */
  readonly #shared = new Registry();
  readonly #leave: (() => void)[];
  readonly #silent: Gauge;
  #gather = async (): Promise<Gathered> => ({ snapshots: [await this.snapshot()], silent: 0 });

  constructor(
    @Setting('role') role: Config['role'],
    @Setting('snapshots') snapshots: Config['snapshots'],
    @Setting('addresses') addresses: Config['addresses'],
    database: Database,
    signals: Signals,
    heartbeats: Heartbeats,
    fleet: FleetOverview,
    polls: OrderPolls,
    routes: RouteLookup,
  ) {
    // By role, as the loops' memory and event loop are another matter than those of the API workers.
    collectDefaultMetrics({ register: this.#own, labels: { role } });
    exposeLatestStart(this.#own);
    this.#leave = [
      registerHttpMetrics(this.#own),
      registerEc2Metrics(this.#own),
      registerLoopMetrics(this.#own, heartbeats),
      registerDeploymentMetrics(this.#own),
      registerAgentMetrics(this.#own, polls),
      registerLogMetrics(this.#own),
      registerWebhookMetrics(this.#own),
      registerRouteMetrics(this.#own, routes),
      registerSnapshotMetrics(this.#own),
    ];
    registerPostgresMetrics(this.#own, role, database, signals);
    registerFleetGauges(this.#shared, () => fleet.overview());
    registerStatusGauges(this.#shared, database, snapshots?.volumeId ?? null);
    registerRouteGauges(this.#shared, database, addresses?.domain ?? null);
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

  onApplicationShutdown(): void {
    for (const leave of this.#leave) leave();
  }
}

/** By default sums leave it out; the latest start of several processes shows that one was started again. */
function exposeLatestStart(registry: Registry): void {
  Object.assign(registry.getSingleMetric('process_start_time_seconds') ?? {}, { aggregator: 'max' });
}
