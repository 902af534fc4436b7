import { Module } from '@nestjs/common';
import { SecretStore } from './secret-store.js';

@Module({ providers: [SecretStore], exports: [SecretStore] })
export class SecretsModule {}
