import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { logErrors, Loop } from '../process/loop.js';
import { Retention } from './retention.js';

const EVERY_MS = 10 * 60_000;

/** Deletes expired rows, every ten minutes. */
@Injectable()
export class RetentionService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Retention');
  readonly #retention: Retention;
  readonly #loop: Loop;

  constructor(
    database: Database,
    @Setting('role') private readonly role: Config['role'],
    @Setting('retentionDays') days: Config['retentionDays'],
    @Setting('eventsRetentionDays') eventsDays: Config['eventsRetentionDays'],
  ) {
    this.#retention = new Retention(database, days, eventsDays);
    this.#loop = new Loop({ name: 'retention', run: () => this.#clean(), onError: logErrors(this.#logger) });
  }

  onApplicationBootstrap(): void {
    if (this.role !== 'api') this.#loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#loop.stop();
  }

  async #clean(): Promise<number> {
    const deleted = await this.#retention.run();
    if (Object.values(deleted).some((count) => count > 0))
      this.#logger.log({ message: 'old rows deleted', ...deleted });
    return EVERY_MS;
  }
}
