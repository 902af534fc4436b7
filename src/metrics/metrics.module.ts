import { Module } from '@nestjs/common';
import { AgentModule } from '../agent/agent.module.js';
import { FleetModule } from '../fleet/fleet.module.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';

@Module({ imports: [AgentModule, FleetModule], controllers: [MetricsController], providers: [Metrics] })
export class MetricsModule {}
