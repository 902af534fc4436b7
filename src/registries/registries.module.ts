import { Logger, Module } from '@nestjs/common';
import { Ecr } from '../aws/ecr.js';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { EcrRegistries } from './ecr-registries.js';
import { Registries } from './registries.js';
import { RegistriesController } from './registries.controller.js';

const logger = new Logger('Registries');

@Module({
  controllers: [RegistriesController],
  providers: [
    {
      provide: Registries,
      inject: [Database, CONFIG],
      useFactory: (database: Database, { encryptionKeys, aws }: Config) => {
        const ecr = new Ecr();
        const made = new EcrRegistries({
          allowed: aws.ecrRegistries,
          region: aws.region,
          getToken: (region) => ecr.getToken(region),
          warn: (message, details) => logger.warn(message, details),
        });
        return new Registries(database, encryptionKeys, (host) => made.authOf(host));
      },
    },
  ],
  exports: [Registries],
})
export class RegistriesModule {}
