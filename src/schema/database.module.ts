import { Global, Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { Config } from '../config/config.js';
import { settingToken } from '../config/setting.decorator.js';
import { connect, whileAway } from '../database/connect.js';
import { createDataSource } from './data-source.js';
import { Database } from '../database/database.js';
import { migrate } from './migrate.js';
import { Signals } from '../database/signals.js';

/** Postgres: connected, migrated and listening before anything else starts. */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [settingToken('database')],
      // connect() does the repeating: Nest's own would hide what is wrong behind ten tries.
      useFactory: (settings: Config['database']) => ({ ...createDataSource(settings).options, toRetry: () => false }),
      dataSourceFactory: async (options) => {
        const logger = new Logger('Database');
        const dataSource = new DataSource(options as DataSourceOptions);
        const warn = (message: string): void => logger.warn(message);
        await connect(dataSource, warn);
        const applied = await whileAway(() => migrate(dataSource), warn);
        if (applied.length > 0) logger.log({ message: 'migrations applied', migrations: applied });
        return dataSource;
      },
    }),
  ],
  providers: [
    Database,
    {
      provide: Signals,
      inject: [Database, settingToken('database')],
      useFactory: async (database: Database, { listenUrl }: Config['database']) => {
        const logger = new Logger('Signals');
        const warn = (message: string): void => logger.warn(message);
        const signals = new Signals(database, listenUrl, warn);
        await whileAway(() => signals.start(), warn);
        return signals;
      },
    },
  ],
  exports: [Database, Signals],
})
export class DatabaseModule implements OnApplicationShutdown {
  constructor(private readonly signals: Signals) {}

  // TypeOrmModule closes the pool in its own hook; modules shut down in reverse order of import, so this one is first.
  async onApplicationShutdown(): Promise<void> {
    await this.signals.stop();
  }
}
