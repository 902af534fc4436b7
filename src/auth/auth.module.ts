import { type BeforeApplicationShutdown, Logger, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { AccessGuard } from './access.guard.js';
import { Shutdown } from '../process/shutdown.js';
import { RateLimiter } from './rate-limiter.js';
import { StreamEnds } from './stream-ends.js';
import { Tokens } from './tokens.js';
import { TokensController } from './tokens.controller.js';
import { TokensService } from './tokens.service.js';

const logger = new Logger('Access');

/** Who may call what, and how often. */
@Module({
  controllers: [TokensController],
  providers: [
    TokensService,
    {
      provide: Tokens,
      inject: [Database, Signals],
      useFactory: (database: Database, signals: Signals) =>
        new Tokens(database, signals, (message, error) => logger.warn(message, { error: String(error) })),
    },
    {
      provide: RateLimiter,
      inject: [Database, CONFIG],
      useFactory: (database: Database, { limits }: Config) => new RateLimiter(database, limits.requestsPerMinute),
    },
    {
      provide: StreamEnds,
      inject: [Signals, Shutdown],
      useFactory: (signals: Signals, shutdown: Shutdown) => new StreamEnds(signals, shutdown),
    },
    { provide: APP_GUARD, useClass: AccessGuard },
  ],
  exports: [StreamEnds],
})
export class AuthModule implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(private readonly tokens: Tokens) {}

  onApplicationBootstrap(): void {
    this.tokens.start();
  }

  // Before the pool closes.
  async beforeApplicationShutdown(): Promise<void> {
    await this.tokens.stop();
  }
}
