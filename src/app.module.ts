import { type DynamicModule, Module } from '@nestjs/common';
import { AgentModule } from './agent/agent.module.js';
import { ApiModule } from './api/api.module.js';
import { AuthModule } from './auth/auth.module.js';
import type { Config } from './config/config.js';
import { SettingsModule } from './config/settings.module.js';
import { DeploymentsModule } from './deployments/deployments.module.js';
import { EventsModule } from './events/events.module.js';
import { FleetModule } from './fleet/fleet.module.js';
import { HealthModule } from './health/health.module.js';
import { IngressModule } from './ingress/ingress.module.js';
import { JobsModule } from './jobs/jobs.module.js';
import { LogsModule } from './logs/logs.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { ProcessModule } from './process/process.module.js';
import { RegistriesModule } from './registries/registries.module.js';
import { RetentionModule } from './retention/retention.module.js';
import { SchedulerModule } from './scheduler/scheduler.module.js';
import { DatabaseModule } from './schema/database.module.js';
import { TokensModule } from './tokens/tokens.module.js';
import { TracingModule } from './tracing/tracing.module.js';
import { WebhooksModule } from './webhooks/webhooks.module.js';

/** The only list of modules. Each decides by `config.role` what it does in this process. */
@Module({})
export class AppModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: AppModule,
      imports: [
        // The base of everything else.
        SettingsModule.forRoot(config),
        ProcessModule,
        TracingModule,
        ApiModule,
        AuthModule,
        TokensModule,
        DatabaseModule,
        HealthModule,
        // The purpose of this program.
        JobsModule,
        DeploymentsModule,
        SchedulerModule,
        FleetModule,
        EventsModule,
        RegistriesModule,
        WebhooksModule,
        AgentModule,
        IngressModule,
        LogsModule,
        RetentionModule,
        MetricsModule,
      ],
    };
  }
}
