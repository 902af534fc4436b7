import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { DeploymentIntents } from './deployment-intents.js';
import { DeploymentsController } from './deployments.controller.js';
import { DeploymentsService } from './deployments.service.js';
import { NewJobsController } from './new-jobs.controller.js';

@Module({
  imports: [AuthModule, JobsModule],
  controllers: [NewJobsController, DeploymentsController],
  providers: [DeploymentsService, DeploymentIntents],
})
export class DeploymentsModule {}
