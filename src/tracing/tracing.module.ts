import { Inject, Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { settingToken } from '../config/setting.decorator.js';

const STOP_TRACING = Symbol('STOP_TRACING');

/** Spans for OpenTelemetry, where a setting enables them; otherwise none of it is loaded. */
@Module({
  providers: [
    {
      provide: STOP_TRACING,
      inject: [settingToken('tracing')],
      useFactory: async (tracing: Config['tracing']): Promise<() => Promise<void>> => {
        if (tracing.exporter === 'none') return () => Promise.resolve();
        const { startTracing } = await import('./start-tracing.js');
        const logger = new Logger('Tracing');
        return startTracing(tracing, (error) => logger.warn({ message: 'spans could not be sent', error }));
      },
    },
  ],
})
export class TracingModule implements OnApplicationShutdown {
  constructor(@Inject(STOP_TRACING) private readonly stop: () => Promise<void>) {}

  async onApplicationShutdown(): Promise<void> {
    await this.stop();
  }
}
