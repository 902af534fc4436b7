import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { AgentModule } from '../../src/agent/agent.module.ts';
import { ApiModule } from '../../src/api/api.module.ts';
import { AuthModule } from '../../src/auth/auth.module.ts';
import { loadConfig } from '../../src/config/config.ts';
import { SettingsModule } from '../../src/config/settings.module.ts';
import { Signals } from '../../src/database/signals.ts';
import { DeploymentIntents } from '../../src/deployments/deployment-intents.ts';
import { DeploymentsModule } from '../../src/deployments/deployments.module.ts';
import { DeploymentsService } from '../../src/deployments/deployments.service.ts';
import { EventsModule } from '../../src/events/events.module.ts';
import { EventsService } from '../../src/events/events.service.ts';
import { ListEvents } from '../../src/events/event.schema.ts';
import { FleetModule } from '../../src/fleet/fleet.module.ts';
import { HealthModule } from '../../src/health/health.module.ts';
import { ADMIN } from '../../src/http/caller.ts';
import { createLogger } from '../../src/http/logger.ts';
import { CreateJob } from '../../src/jobs/job.schema.ts';
import { JobsModule } from '../../src/jobs/jobs.module.ts';
import { JobsService } from '../../src/jobs/jobs.service.ts';
import { LogsModule } from '../../src/logs/logs.module.ts';
import { MetricsModule } from '../../src/metrics/metrics.module.ts';
import { ProcessModule } from '../../src/process/process.module.ts';
import { Registries } from '../../src/registries/registries.ts';
import { RegistriesModule } from '../../src/registries/registries.module.ts';
import { RetentionModule } from '../../src/retention/retention.module.ts';
import { SchedulerModule } from '../../src/scheduler/scheduler.module.ts';
import { DatabaseModule } from '../../src/schema/database.module.ts';
import { SecretsModule } from '../../src/secrets/secrets.module.ts';
import { CreateToken } from '../../src/tokens/token.schema.ts';
import { TokensModule } from '../../src/tokens/tokens.module.ts';
import { TokensService } from '../../src/tokens/tokens.service.ts';
import { TracingModule } from '../../src/tracing/tracing.module.ts';
import { WebhooksModule } from '../../src/webhooks/webhooks.module.ts';
import { createEmptyDatabase, dropDatabase, queryDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

const FEATURES: readonly Type[] = [
  AgentModule,
  ApiModule,
  AuthModule,
  DeploymentsModule,
  EventsModule,
  FleetModule,
  HealthModule,
  JobsModule,
  LogsModule,
  MetricsModule,
  RegistriesModule,
  RetentionModule,
  SchedulerModule,
  SecretsModule,
  TokensModule,
  TracingModule,
  WebhooksModule,
];

describe('a feature’s module', () => {
  let url: string;
  let started: TestingModule | undefined;
  beforeAll(async () => {
    url = await createEmptyDatabase();
  });
  afterEach(async () => {
    await started?.close();
    started = undefined;
  });
  afterAll(() => dropDatabase(url));

  /** These alone on the base of all modules, as a process with ROLE=api has them: without the loops. */
  async function start(...features: Type[]): Promise<TestingModule> {
    const config = loadConfig({
      DATABASE_URL: url,
      ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
      ROLE: 'api',
      LOG_LEVEL: 'error',
    });
    const imports = [SettingsModule.forRoot(config), ProcessModule, DatabaseModule, ...features];
    started = await Test.createTestingModule({ imports }).setLogger(createLogger('error')).compile();
    return await started.init();
  }

  it.each(FEATURES.map((feature) => [feature.name, feature] as const))(
    '(%s) imports all it needs: it starts on the base alone, and ends',
    async (_name, feature) => {
      const module = await start(feature);
      expect(module.get(feature)).toBeInstanceOf(feature);
    },
  );

  it('of deployments stores a job and its deployment in Postgres, makes the job due and says so', async () => {
    const module = await start(DeploymentsModule);
    const due = new Promise<void>((resolve) => {
      module.get(Signals).on('jobs', () => resolve());
    });
    const wanted = CreateJob.parse({ name: 'web', image: 'nginx:1.28', env: { GREETING: 'one' } });
    const { job, version } = await module.get(DeploymentIntents).createJob(wanted, ADMIN);
    expect(job).toMatchObject({ name: 'web', latestDeployment: 1 });
    expect(await module.get(JobsService).get('web')).toEqual({ job, version });
    expect(await module.get(DeploymentsService).get('web', 1)).toMatchObject({ status: 'queued', image: 'nginx:1.28' });
    const rows = await queryDatabase(url, 'SELECT next_pass_at <= clock_timestamp() AS due FROM jobs');
    expect(rows).toEqual([{ due: true }]);
    await due;
  });

  it('of events has a position for each event that other modules write', async () => {
    const module = await start(EventsModule, TokensModule);
    const before = await module.get(EventsService).list(ListEvents.parse({ order: 'newest' }), ADMIN);
    const { id } = await module.get(TokensService).create(CreateToken.parse({ name: 'ci', role: 'deployer' }));
    const list = async () => (await module.get(EventsService).list(ListEvents.parse({ order: 'newest' }), ADMIN)).items;
    module.get(Signals).eventsWritten();
    await until(async () => (await list())[0]?.type === 'token.created');
    const [newest] = await list();
    expect(newest).toMatchObject({ type: 'token.created', data: { token: id, name: 'ci', role: 'deployer' } });
    expect(newest!.position).toBeGreaterThan(before.items[0]?.position ?? 0);
  });

  it('of registries keeps a password sealed, and opens it for a pull', async () => {
    const module = await start(RegistriesModule);
    const registries = module.get(Registries);
    await registries.put('registry.example.com', { username: 'robot', password: 'very-secret' });
    const [row] = await queryDatabase<{ sealed: Buffer }>(url, 'SELECT sealed FROM registries');
    expect(row!.sealed.toString('latin1')).not.toContain('very-secret');
    const auth = await registries.authOf('registry.example.com');
    expect(JSON.parse(Buffer.from(auth!, 'base64url').toString())).toMatchObject({ password: 'very-secret' });
  });
});
