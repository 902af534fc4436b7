import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { SecretsModule } from '../secrets/secrets.module.js';
import { ChangeWaiter } from './change-waiter.js';
import { JobsController } from './jobs.controller.js';
import { JobsService } from './jobs.service.js';

@Module({
  imports: [AuthModule, SecretsModule],
  controllers: [JobsController],
  providers: [JobsService, ChangeWaiter],
  exports: [ChangeWaiter, SecretsModule],
})
export class JobsModule {}
