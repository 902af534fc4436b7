import { Module } from '@nestjs/common';
import { AgentModule } from '../agent/agent.module.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { LineWriter } from './line-writer.js';
import { LogUploadsController } from './log-uploads.controller.js';
import { LogUploads } from './log-uploads.service.js';

/** What containers print: taken in from agents, kept, and shown. */
@Module({
  imports: [AgentModule],
  controllers: [LogUploadsController],
  providers: [
    LogUploads,
    {
      provide: LineWriter,
      inject: [Database, Signals],
      useFactory: (database: Database, signals: Signals) => new LineWriter({ database, signals }),
    },
  ],
})
export class LogsModule {}
