import { Global, Module } from '@nestjs/common';
import { Heartbeats } from './heartbeats.js';
import { Shutdown } from './shutdown.js';

/** What every part of the process uses: signs of life, and the shutdown. */
@Global()
@Module({
  providers: [Shutdown, Heartbeats],
  exports: [Shutdown, Heartbeats],
})
export class ProcessModule {}
