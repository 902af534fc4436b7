import { Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { AdminGuard } from './admin.guard.js';

@Module({ providers: [{ provide: APP_GUARD, useClass: AdminGuard }] })
export class AuthModule {}
