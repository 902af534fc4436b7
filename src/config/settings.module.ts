import { type DynamicModule, Module } from '@nestjs/common';
import { ConfigModule } from '@nestjs/config';
import { CONFIG, type Config } from './config.js';

/** The typed settings for all modules, by the token CONFIG. ConfigModule only serves libraries with ConfigService. */
@Module({})
export class SettingsModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: SettingsModule,
      global: true,
      imports: [
        ConfigModule.forRoot({ ignoreEnvFile: true, ignoreEnvVars: true, skipProcessEnv: true, load: [() => config] }),
      ],
      providers: [{ provide: CONFIG, useValue: config }],
      exports: [CONFIG, ConfigModule],
    };
  }
}
