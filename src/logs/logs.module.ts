import { Logger, Module, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Shutdown } from '../process/shutdown.js';
import type { ObjectFolder } from './chunk-objects.js';
import { DirectoryFolder } from './directory-folder.js';
import { LineWriter } from './line-writer.js';
import { LogKeeper } from './log-keeper.service.js';
import { LogReader } from './log-reader.js';
import { LogRetention } from './log-retention.js';
import { LogUploadsController } from './log-uploads.controller.js';
import { LogUploads } from './log-uploads.service.js';
import { LogWaiter } from './log-waiter.js';
import { LogsController } from './logs.controller.js';
import { LogsService } from './logs.service.js';
import { Sealer } from './sealer.js';

/** Where sealed chunks are: an ObjectFolder. */
const OBJECTS = Symbol('OBJECTS');

const logger = new Logger('Logs');

/** What containers print: received from agents, kept, and shown. */
@Module({
  imports: [AuthModule],
  controllers: [LogUploadsController, LogsController],
  providers: [
    LogUploads,
    LogsService,
    LogKeeper,
    { provide: OBJECTS, inject: [CONFIG], useFactory: openFolder },
    {
      provide: LineWriter,
      inject: [Database, Signals],
      useFactory: (database: Database, signals: Signals) => new LineWriter({ database, signals }),
    },
    {
      provide: LogReader,
      inject: [Database, OBJECTS],
      useFactory: (database: Database, objects: ObjectFolder) =>
        new LogReader(database, objects, (message, details) => logger.warn(message, details)),
    },
    {
      provide: Sealer,
      inject: [Database, OBJECTS],
      useFactory: (database: Database, objects: ObjectFolder) => new Sealer({ database, objects }),
    },
    {
      provide: LogRetention,
      inject: [Database, OBJECTS, CONFIG],
      useFactory: (database: Database, objects: ObjectFolder, { logs, retentionDays }: Config) =>
        new LogRetention({
          database,
          objects,
          maxBytes: logs.maxBytes,
          days: logs.retentionDays,
          deletedJobDays: retentionDays,
        }),
    },
    {
      provide: LogWaiter,
      inject: [Database, Signals, Shutdown],
      useFactory: (database: Database, signals: Signals, shutdown: Shutdown) =>
        new LogWaiter({
          database,
          signals,
          shutdown,
          log: (message, error) => logger.warn(message, { error: String(error) }),
        }),
    },
  ],
})
export class LogsModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(private readonly waiter: LogWaiter) {}

  onApplicationBootstrap(): void {
    this.waiter.start();
  }

  onApplicationShutdown(): void {
    this.waiter.stop();
  }
}

async function openFolder({ logs: { folder }, aws: { region } }: Config): Promise<ObjectFolder> {
  if (folder.kind === 'directory') return new DirectoryFolder(folder.path);
  // Only now: loading the SDK costs every start some 100 ms.
  const [{ ObjectStore }, { S3Folder }] = await Promise.all([import('../aws/s3.js'), import('./s3-folder.js')]);
  return new S3Folder(new ObjectStore({ region, isPathStyle: folder.isPathStyle }), folder.bucket, folder.prefix);
}
