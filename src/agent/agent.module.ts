import { type BeforeApplicationShutdown, Logger, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Shutdown } from '../process/shutdown.js';
import { AgentController } from './agent.controller.js';
import { AgentAccess } from './agent-access.js';
import { AgentLimits } from './agent-limits.js';
import { Agents } from './agents.js';
import { trustedIdentityKeys } from './identity.js';
import { Registries } from '../registries/registries.js';
import { RegistriesModule } from '../registries/registries.module.js';
import { SecretStore } from '../secrets/secret-store.js';
import { SecretsModule } from '../secrets/secrets.module.js';
import { OrderPolls } from './order-polls.js';
import { OrderFiller } from './order-filler.js';
import { OrderStreams } from './order-streams.service.js';
import { IDENTITY_KEYS, RegistrationService } from './registration.service.js';
import { ResultsService } from './results.service.js';

const logger = new Logger('Agents');
const log = (message: string, error: unknown): void =>
  logger.warn(message, error instanceof Error ? error : new Error(String(error)));

@Module({
  imports: [SecretsModule, RegistriesModule],
  controllers: [AgentController],
  providers: [
    RegistrationService,
    ResultsService,
    OrderStreams,
    {
      provide: AgentAccess,
      useFactory: (agents: Agents) => new AgentAccess(agents, agents.limits),
      inject: [Agents],
    },
    { provide: AgentLimits, useFactory: ({ limits }: Agents) => limits, inject: [Agents] },
    { provide: Agents, useFactory: (database: Database) => new Agents(database, log), inject: [Database] },
    {
      provide: OrderPolls,
      useFactory: (database: Database, signals: Signals, secrets: SecretStore, registries: Registries) => {
        const filler = new OrderFiller(database, secrets, registries);
        return new OrderPolls({ database, signals, log, fill: (...order) => filler.fill(...order) });
      },
      inject: [Database, Signals, SecretStore, Registries],
    },
    {
      provide: IDENTITY_KEYS,
      useFactory: ({ aws, identity }: Config) => trustedIdentityKeys(aws.region, identity.certificates),
      inject: [CONFIG],
    },
  ],
  exports: [OrderPolls],
})
export class AgentModule implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly agents: Agents,
    private readonly desk: OrderPolls,
    private readonly shutdown: Shutdown,
  ) {}

  onApplicationBootstrap(): void {
    this.agents.start();
    this.desk.start();
    // When the shutdown begins: parked polls are requests under way, and the server waits for those.
    this.shutdown.onBegin(() => this.desk.close());
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.desk.close();
    await this.agents.stop();
  }
}
