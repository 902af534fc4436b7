import { Global, Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { CONFIG, type Config } from '../config/config.js';
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
      inject: [CONFIG],
      // connect() does the repeating: Nest's own would hide what is wrong behind ten tries.
      useFactory: (config: Config) => ({ ...createDataSource(config.database).options, toRetry: () => false }),
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
    { provide: Database, inject: [DataSource], useFactory: (dataSource: DataSource) => new Database(dataSource) },
    {
      provide: Signals,
      inject: [Database, CONFIG],
      useFactory: async (database: Database, config: Config) => {
        const logger = new Logger('Signals');
        const warn = (message: string): void => logger.warn(message);
        const signals = new Signals(database, config.database.listenUrl, warn);
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
