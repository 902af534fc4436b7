import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { FleetOverview } from '../fleet/fleet-overview.service.js';
import { registerFleetGauges } from './fleet-gauges.js';

/** What Prometheus is told. A registry of this application's own, since tests have several in a process. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  constructor(fleet: FleetOverview) {
    collectDefaultMetrics({ register: this.registry });
    registerFleetGauges(this.registry, () => fleet.overview());
  }
}
