import { Module } from '@nestjs/common';
import { FleetController } from './fleet.controller.js';
import { FleetOverview } from './fleet-overview.service.js';
import { FleetService } from './fleet.service.js';

/** Supplies instances; the database and the signals are global. */
@Module({ controllers: [FleetController], providers: [FleetOverview, FleetService] })
export class FleetModule {}
