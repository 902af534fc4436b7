import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { Caller } from '../auth/access-rules.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { Endpoint } from '../http/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { FleetOverview } from './fleet-overview.service.js';
import {
  FLEET_EXAMPLE,
  FleetResponse,
  INSTANCE_EXAMPLE,
  InstancePage,
  type InstanceResponse,
  ListInstances,
} from './fleet.schema.js';

@ApiTags('fleet')
@Controller('/v1')
export class FleetController {
  constructor(private readonly fleet: FleetOverview) {}

  @Get('instances')
  @Endpoint({
    access: 'viewer',
    scope: 'filtered',
    summary: 'List instances by id',
    description: 'Terminated ones as well, as long as they are kept. A token with a scope sees those of its jobs only.',
    answer: 'A page of instances',
    ok: InstancePage,
    example: { items: [INSTANCE_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(
    @Query({ schema: ListInstances }) query: ListInstances,
    @CurrentCaller() { scope }: Caller,
  ): Promise<Page<InstanceResponse>> {
    return await this.fleet.list(query, scope);
  }

  @Get('fleet')
  @Endpoint({
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
