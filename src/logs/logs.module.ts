import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import type { Config } from '../config/config.js';
import { settingToken } from '../config/setting.decorator.js';
import { type ObjectFolder, OBJECTS } from './chunk-objects.js';
import { DirectoryFolder } from './directory-folder.js';
import { LineWriter } from './line-writer.js';
import { LogLoopsService } from './log-loops.service.js';
import { LogReader } from './log-reader.js';
import { LogRetention } from './log-retention.js';
import { LogUploadsController } from './log-uploads.controller.js';
import { LogUploads } from './log-uploads.js';
import { LogWaiter } from './log-waiter.js';
import { LogsController } from './logs.controller.js';
import { LogsService } from './logs.service.js';
import { Sealer } from './sealer.js';

/** What containers print: received from agents, kept, and shown. */
@Module({
  imports: [AuthModule],
  controllers: [LogUploadsController, LogsController],
  providers: [
    LineWriter,
    LogLoopsService,
    LogReader,
    LogRetention,
    LogUploads,
    LogWaiter,
    LogsService,
    Sealer,
    { provide: OBJECTS, inject: [settingToken('logs'), settingToken('aws')], useFactory: openFolder },
  ],
})
export class LogsModule {}

async function openFolder({ folder }: Config['logs'], { region }: Config['aws']): Promise<ObjectFolder> {
  if (folder.kind === 'directory') return new DirectoryFolder(folder.path);
  // Only now: loading the SDK costs every start some 100 ms.
  const [{ ObjectStore }, { S3Folder }] = await Promise.all([import('../aws/s3.js'), import('./s3-folder.js')]);
  return new S3Folder(new ObjectStore({ region, isPathStyle: folder.isPathStyle }), folder.bucket, folder.prefix);
}
