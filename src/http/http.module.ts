import { Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, APP_PIPE } from '@nestjs/core';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Heartbeats } from '../process/heartbeats.js';
import { IdempotencyInterceptor } from './idempotency.interceptor.js';
import { IdempotencyKeys } from './idempotency-keys.js';
import { ProblemFilter } from './problem.filter.js';
import { Shutdown } from '../process/shutdown.js';
import { ValidationPipe } from './validation.pipe.js';

/** What every route shares, and the two things every part tells of itself: signs of life, and the coming end. */
@Global()
@Module({
  providers: [
    { provide: Shutdown, useFactory: () => new Shutdown() },
    { provide: Heartbeats, useFactory: () => new Heartbeats() },
    {
      provide: IdempotencyKeys,
      inject: [Database, CONFIG],
      useFactory: (database: Database, { encryptionKeys }: Config) => new IdempotencyKeys(database, encryptionKeys),
    },
    { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
    { provide: APP_PIPE, useClass: ValidationPipe },
    { provide: APP_FILTER, useClass: ProblemFilter },
  ],
  exports: [Shutdown, Heartbeats],
})
export class HttpModule {}
