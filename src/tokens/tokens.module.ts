import { Module } from '@nestjs/common';
import { TokensController } from './tokens.controller.js';
import { TokensService } from './tokens.service.js';

/** Makes, lists and revokes tokens; what they allow is auth's. */
@Module({ controllers: [TokensController], providers: [TokensService] })
export class TokensModule {}
