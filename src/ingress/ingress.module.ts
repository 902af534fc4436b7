import { Module } from '@nestjs/common';
import { JobsModule } from '../jobs/jobs.module.js';
import { IngressController } from './ingress.controller.js';
import { RouteLookup } from './route-lookup.js';

@Module({ imports: [JobsModule], controllers: [IngressController], providers: [RouteLookup] })
export class IngressModule {}
