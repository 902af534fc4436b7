import { Module } from '@nestjs/common';
import { JobsModule } from '../jobs/jobs.module.js';
import { DeploymentIntents } from './deployment-intents.service.js';
import { DeploymentsController } from './deployments.controller.js';
import { DeploymentsService } from './deployments.service.js';
import { NewJobsController } from './new-jobs.controller.js';

@Module({
  imports: [JobsModule],
  controllers: [NewJobsController, DeploymentsController],
  providers: [DeploymentsService, DeploymentIntents],
})
export class DeploymentsModule {}
