import { Module } from '@nestjs/common';
import { AgentModule } from '../agent/agent.module.js';
import { FleetModule } from '../fleet/fleet.module.js';
import { IngressModule } from '../ingress/ingress.module.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';

@Module({ imports: [AgentModule, FleetModule, IngressModule], controllers: [MetricsController], providers: [Metrics] })
export class MetricsModule {}
