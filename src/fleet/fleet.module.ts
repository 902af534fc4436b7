import { Module } from '@nestjs/common';
import { FleetController } from './fleet.controller.js';
import { FleetOverview } from './fleet-overview.js';
import { FleetService } from './fleet.service.js';
import { InstanceIntents } from './instance-intents.js';

/** Supplies instances; the database and the signals are global. */
@Module({
  controllers: [FleetController],
  providers: [FleetOverview, FleetService, InstanceIntents],
  exports: [FleetOverview],
})
export class FleetModule {}
