import { Module } from '@nestjs/common';
import { AccessService } from './access.service.js';
import { RateLimiter } from './rate-limiter.js';
import { OpenAnswers } from './open-answers.js';
import { Tokens } from './tokens.js';
import { WriteBudget } from './write-budget.js';

/** Who may call what, and how often. */
@Module({
  providers: [AccessService, RateLimiter, OpenAnswers, Tokens, WriteBudget],
  exports: [OpenAnswers],
})
export class AuthModule {}
