import { Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { SecretStore } from './secret-store.js';

@Module({
  providers: [
    {
      provide: SecretStore,
      inject: [CONFIG],
      useFactory: ({ encryptionKeys }: Config) => new SecretStore(encryptionKeys),
    },
  ],
  exports: [SecretStore],
})
export class SecretsModule {}
