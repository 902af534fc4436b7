import { Module, type OnApplicationShutdown } from '@nestjs/common';
import { AgentModule } from '../agent/agent.module.js';
import { OrderPolls } from '../agent/order-polls.js';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { FleetModule } from '../fleet/fleet.module.js';
import { FleetOverview } from '../fleet/fleet-overview.service.js';
import { Heartbeats } from '../process/heartbeats.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';

type Sources = [Config, Database, Signals, Heartbeats, FleetOverview, OrderPolls];

@Module({
  imports: [AgentModule, FleetModule],
  controllers: [MetricsController],
  providers: [
    {
      provide: Metrics,
      inject: [CONFIG, Database, Signals, Heartbeats, FleetOverview, OrderPolls],
      useFactory: (...[{ role, snapshots }, database, signals, heartbeats, fleet, desk]: Sources) =>
        new Metrics({ role, database, signals, heartbeats, fleet, desk, volumeId: snapshots?.volumeId ?? null }),
    },
  ],
})
export class MetricsModule implements OnApplicationShutdown {
  constructor(private readonly metrics: Metrics) {}

  onApplicationShutdown(): void {
    this.metrics.close();
  }
}
