import { Module } from '@nestjs/common';
import { JobsModule } from '../jobs/jobs.module.js';
import { IngressController } from './ingress.controller.js';
import { ReachChecksService } from './reach-checks.service.js';
import { RouteLookup } from './route-lookup.js';

@Module({
  imports: [JobsModule],
  controllers: [IngressController],
  providers: [RouteLookup, ReachChecksService],
  exports: [RouteLookup],
})
export class IngressModule {}
