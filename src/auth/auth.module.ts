import { Module } from '@nestjs/common';
import { AccessService } from './access.service.js';
import { RateLimiter } from './rate-limiter.js';
import { StreamEnds } from './stream-ends.js';
import { Tokens } from './tokens.js';
import { WriteBudget } from './write-budget.js';

/** Who may call what, and how often. */
@Module({
  providers: [AccessService, RateLimiter, StreamEnds, Tokens, WriteBudget],
  exports: [StreamEnds],
})
export class AuthModule {}
