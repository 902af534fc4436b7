import { type DynamicModule, Module } from '@nestjs/common';
import { ConfigModule, registerAs } from '@nestjs/config';
import type { Config } from './config.js';

/** Provides each group of the settings by its name, for `@Setting` of any module. They were read and checked before. */
@Module({})
export class SettingsModule {
  static forRoot(config: Config): DynamicModule {
    const load = Object.entries(config).map(([name, group]) => registerAs(name, () => group as object));
    return {
      module: SettingsModule,
      imports: [
        ConfigModule.forRoot({ isGlobal: true, ignoreEnvFile: true, ignoreEnvVars: true, skipProcessEnv: true, load }),
      ],
    };
  }
}
