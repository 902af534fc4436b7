import { Module } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Registries } from './registries.js';
import { RegistriesController } from './registries.controller.js';

@Module({
  controllers: [RegistriesController],
  providers: [
    {
      provide: Registries,
      inject: [Database, CONFIG],
      useFactory: (database: Database, { encryptionKeys }: Config) => new Registries(database, encryptionKeys),
    },
  ],
  exports: [Registries],
})
export class RegistriesModule {}
