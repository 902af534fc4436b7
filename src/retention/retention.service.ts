import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Loop } from '../process/loop.js';
import { Retention } from './retention.js';

const EVERY_MS = 10 * 60_000;

/** Deletes expired rows, every ten minutes. */
@Injectable()
export class RetentionService implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger('Retention');
  private readonly retention: Retention;
  private readonly loop: Loop;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    database: Database,
  ) {
    this.retention = new Retention(database, config.retentionDays, config.eventsRetentionDays);
    const onError = (name: string, error: unknown, pauseMs: number): void =>
      this.logger.error({ message: `${name} failed`, error: String(error), nextTryMs: pauseMs });
    this.loop = new Loop({ name: 'retention', run: () => this.clean(), onError });
  }

  onApplicationBootstrap(): void {
    if (this.config.role !== 'api') this.loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop.stop();
  }

  private async clean(): Promise<number> {
    const deleted = await this.retention.run();
    if (Object.values(deleted).some((count) => count > 0)) this.logger.log({ message: 'old rows deleted', ...deleted });
    return EVERY_MS;
  }
}
