import { Module } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { AuthorInterceptor } from './author.interceptor.js';
import { SequencerService } from './sequencer.service.js';

@Module({ providers: [SequencerService, { provide: APP_INTERCEPTOR, useClass: AuthorInterceptor }] })
export class EventsModule {}
