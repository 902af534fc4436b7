import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { Signals } from '../database/signals.js';
import { Shutdown } from '../process/shutdown.js';
import { SecretsModule } from '../secrets/secrets.module.js';
import { ChangeWaiter } from './change-waiter.js';
import { JobsController } from './jobs.controller.js';
import { JobsService } from './jobs.service.js';

@Module({
  imports: [AuthModule, SecretsModule],
  controllers: [JobsController],
  providers: [
    JobsService,
    {
      provide: ChangeWaiter,
      inject: [Signals, Shutdown],
      useFactory: (signals: Signals, shutdown: Shutdown) => new ChangeWaiter(signals, shutdown),
    },
  ],
  exports: [ChangeWaiter, SecretsModule],
})
export class JobsModule {}
