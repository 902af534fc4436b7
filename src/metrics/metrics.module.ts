import { Module } from '@nestjs/common';
import { FleetModule } from '../fleet/fleet.module.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.service.js';

@Module({ imports: [FleetModule], controllers: [MetricsController], providers: [Metrics] })
export class MetricsModule {}
