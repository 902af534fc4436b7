import { Logger, Module } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { AuthModule } from '../auth/auth.module.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { AuthorInterceptor } from './author.interceptor.js';
import { EventFeed } from './event-feed.js';
import { EventsController } from './events.controller.js';
import { EventsService } from './events.service.js';
import { SequencerService } from './sequencer.service.js';

const logger = new Logger('Events');

/** What happened and who did it: positions for what is written, and reading by them. */
@Module({
  imports: [AuthModule],
  controllers: [EventsController],
  providers: [
    SequencerService,
    EventsService,
    {
      provide: EventFeed,
      inject: [Database, Signals],
      useFactory: (database: Database, signals: Signals) =>
        new EventFeed(database, signals, (error) => logger.warn('events could not be read', { error: String(error) })),
    },
    { provide: APP_INTERCEPTOR, useClass: AuthorInterceptor },
  ],
})
export class EventsModule {}
