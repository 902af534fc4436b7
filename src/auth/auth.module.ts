import { type BeforeApplicationShutdown, Logger, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { AccessService } from './access.service.js';
import { Shutdown } from '../process/shutdown.js';
import { RateLimiter } from './rate-limiter.js';
import { StreamEnds } from './stream-ends.js';
import { Tokens } from './tokens.js';
import { WriteBudget } from './write-budget.js';

const logger = new Logger('Access');
const log = (message: string, error: unknown): void => logger.warn(message, { error: String(error) });

/** Who may call what, and how often. */
@Module({
  providers: [
    AccessService,
    { provide: WriteBudget, useFactory: () => new WriteBudget() },
    {
      provide: Tokens,
      inject: [Database, Signals],
      useFactory: (database: Database, signals: Signals) => new Tokens(database, signals, log),
    },
    {
      provide: RateLimiter,
      inject: [Database, CONFIG],
      useFactory: (database: Database, { limits }: Config) => new RateLimiter(database, limits.requestsPerMinute),
    },
    {
      provide: StreamEnds,
      inject: [Signals, Shutdown, Tokens],
      useFactory: (signals: Signals, shutdown: Shutdown, tokens: Tokens) =>
        new StreamEnds({ signals, shutdown, findEnded: (ids) => tokens.findEnded(ids), log }),
    },
  ],
  exports: [StreamEnds],
})
export class AuthModule implements BeforeApplicationShutdown {
  constructor(private readonly tokens: Tokens) {}

  // Before the pool closes.
  async beforeApplicationShutdown(): Promise<void> {
    await this.tokens.stop();
  }
}
