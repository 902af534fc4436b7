import { Module } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { AuthModule } from '../auth/auth.module.js';
import { AuthorInterceptor } from './author.interceptor.js';
import { EventFeed } from './event-feed.js';
import { EventsController } from './events.controller.js';
import { EventsService } from './events.service.js';
import { SequencerService } from './sequencer.service.js';

/** What happened and who did it: positions for what is written, and reading by them. */
@Module({
  imports: [AuthModule],
  controllers: [EventsController],
  providers: [SequencerService, EventsService, EventFeed, { provide: APP_INTERCEPTOR, useClass: AuthorInterceptor }],
})
export class EventsModule {}
