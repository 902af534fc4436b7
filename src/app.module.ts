import { type DynamicModule, Module } from '@nestjs/common';
import { AgentModule } from './agent/agent.module.js';
import { AuthModule } from './auth/auth.module.js';
import type { Config } from './config/config.js';
import { SettingsModule } from './config/settings.module.js';
import { DatabaseModule } from './database/database.module.js';
import { DeploymentsModule } from './deployments/deployments.module.js';
import { EventsModule } from './events/events.module.js';
import { FleetModule } from './fleet/fleet.module.js';
import { HealthModule } from './health/health.module.js';
import { HttpModule } from './http/http.module.js';
import { JobsModule } from './jobs/jobs.module.js';
import { LogsModule } from './logs/logs.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { RegistriesModule } from './registries/registries.module.js';
import { SchedulerModule } from './scheduler/scheduler.module.js';
import { TracingModule } from './tracing/tracing.module.js';
import { WebhooksModule } from './webhooks/webhooks.module.js';

/** The one list of modules. What a process does of it, its parts decide by `config.role`. */
@Module({})
export class AppModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: AppModule,
      imports: [
        // What everything else stands on.
        SettingsModule.forRoot(config),
        TracingModule,
        HttpModule,
        AuthModule,
        DatabaseModule,
        HealthModule,
        // What this program is for.
        JobsModule,
        DeploymentsModule,
        SchedulerModule,
        FleetModule,
        EventsModule,
        RegistriesModule,
        WebhooksModule,
        AgentModule,
        LogsModule,
        MetricsModule,
      ],
    };
  }
}
