import { Global, Module } from '@nestjs/common';
import { Heartbeats } from './heartbeats.js';
import { Shutdown } from './shutdown.js';

/** The two things that every part of the process takes part in: signs of life, and the coming end. */
@Global()
@Module({
  providers: [
    { provide: Shutdown, useFactory: () => new Shutdown() },
    { provide: Heartbeats, useFactory: () => new Heartbeats() },
  ],
  exports: [Shutdown, Heartbeats],
})
export class ProcessModule {}
