import { Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiParam, ApiTags } from '@nestjs/swagger';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { FleetOverview } from './fleet-overview.js';
import {
  FLEET_EXAMPLE,
  FleetResponse,
  INSTANCE_EXAMPLE,
  InstanceId,
  InstancePage,
  InstanceResponse,
  ListInstances,
} from './fleet.schema.js';
import { InstanceIntents } from './instance-intents.js';

@ApiTags('fleet')
@Controller('/v1')
export class FleetController {
  constructor(
    private readonly fleet: FleetOverview,
    private readonly intents: InstanceIntents,
  ) {}

  @Get('instances')
  @Endpoint({
    operationId: 'Fleet_instances',
    access: 'viewer',
    scope: 'filtered',
    summary: 'List instances by id',
    description: 'Terminated ones as well, as long as they are kept. A token with a scope sees those of its jobs only.',
    answer: 'A page of instances',
    ok: InstancePage,
    example: { items: [INSTANCE_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async instances(
    @Query({ schema: ListInstances }) query: ListInstances,
    @CurrentCaller() { scope }: Caller,
  ): Promise<Page<InstanceResponse>> {
    return await this.fleet.list(query, scope);
  }

  @Post('instances/:id/retire')
  @ApiParam({ name: 'id', description: 'EC2’s id of an instance in quarantine.', example: INSTANCE_EXAMPLE.id })
  @Endpoint({
    operationId: 'Fleet_retire',
    access: 'admin',
    summary: 'End an instance in quarantine',
    description:
      'Terminates it, with all that runs on it. One that is already to be terminated is returned unchanged. To keep what runs on it, adopt it instead: `POST /v1/jobs/{name}/adopt`.',
    status: 202,
    answer: 'The instance; `retireReason` is set',
    ok: InstanceResponse,
    example: { ...INSTANCE_EXAMPLE, quarantined: true, job: null, retireReason: 'retired-by-operator' },
    problems: ['invalid-parameter', 'instance-not-found', 'not-quarantined'],
  })
  async retire(@Param('id', { schema: InstanceId }) id: string): Promise<InstanceResponse> {
    return await this.intents.retire(id);
  }

  @Get('fleet')
  @Endpoint({
    operationId: 'Fleet_overview',
    access: 'viewer',
    summary: 'Get the state of the fleet',
    answer: 'Counts of instances and launches, call budgets, and the owner',
    ok: FleetResponse,
    example: FLEET_EXAMPLE,
  })
  async overview(): Promise<FleetResponse> {
    return await this.fleet.overview();
  }
}
