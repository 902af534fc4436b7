import { Module } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { settingToken } from '../config/setting.decorator.js';
import { RegistriesModule } from '../registries/registries.module.js';
import { SecretsModule } from '../secrets/secrets.module.js';
import { AgentAccess } from './agent-access.js';
import { AgentLimits } from './agent-limits.js';
import { AgentController } from './agent.controller.js';
import { Agents } from './agents.js';
import { trustedIdentityKeys } from './identity.js';
import { OrderFiller } from './order-filler.js';
import { OrderPolls } from './order-polls.js';
import { OrderStreams } from './order-streams.js';
import { IDENTITY_KEYS, RegistrationService } from './registration.service.js';
import { ResultsService } from './results.service.js';

@Module({
  imports: [SecretsModule, RegistriesModule],
  controllers: [AgentController],
  providers: [
    AgentAccess,
    AgentLimits,
    Agents,
    OrderFiller,
    OrderPolls,
    OrderStreams,
    RegistrationService,
    ResultsService,
    {
      provide: IDENTITY_KEYS,
      inject: [settingToken('aws'), settingToken('identity')],
      useFactory: ({ region }: Config['aws'], { certificates }: Config['identity']) =>
        trustedIdentityKeys(region, certificates),
    },
  ],
  exports: [OrderPolls],
})
export class AgentModule {}
