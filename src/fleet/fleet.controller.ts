import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
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
    summary: 'List instances by id',
    description: 'Terminated ones as well, as long as they are kept.',
    answer: 'A page of instances',
    ok: InstancePage,
    example: { items: [INSTANCE_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(@Query({ schema: ListInstances }) query: ListInstances): Promise<Page<InstanceResponse>> {
    return await this.fleet.list(query);
  }

  @Get('fleet')
  @Endpoint({
    summary: 'Get the state of the fleet',
    answer: 'Counts of instances and launches, call budgets, and the owner',
    ok: FleetResponse,
    example: FLEET_EXAMPLE,
  })
  async overview(): Promise<FleetResponse> {
    return await this.fleet.overview();
  }
}
