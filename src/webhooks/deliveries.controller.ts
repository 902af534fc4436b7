import { Controller, Get, Param, Post, Query, Res } from '@nestjs/common';
import { ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { LOCATION } from '../api/endpoint-docs.js';
import { DeliveriesService } from './deliveries.service.js';
import { DELIVERY_EXAMPLE, DeliveryPage, DeliveryResponse, ListDeliveries } from './delivery.schema.js';
import { DELIVERY_ID, ID } from './webhook-docs.js';

const NEW_DELIVERY_EXAMPLE: DeliveryResponse = {
  ...DELIVERY_EXAMPLE,
  attempts: 0,
  fault: null,
  answerStatus: null,
  latencyMs: null,
  attemptedAt: null,
  nextAttemptAt: null,
};

@ApiTags('webhooks')
@Controller('/v1/webhooks/:id')
@ApiParam(ID)
export class DeliveriesController {
  constructor(private readonly deliveries: DeliveriesService) {}

  @Post('ping')
  @Endpoint({
    operationId: 'Deliveries_ping',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Send a test delivery',
    description: 'Of the type `webhook.ping`, signed and tried again like any other.',
    status: 202,
    answer: 'The delivery, pending',
    ok: DeliveryResponse,
    example: { ...NEW_DELIVERY_EXAMPLE, position: null, type: 'webhook.ping', job: null },
    headers: LOCATION,
    problems: ['webhook-not-found', 'webhook-disabled'],
  })
  async ping(
    @Param('id') id: string,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeliveryResponse> {
    const delivery = await this.deliveries.ping(id, caller);
    void reply.header('location', `/v1/webhooks/${id}/deliveries/${delivery.id}`);
    return delivery;
  }

  @Get('deliveries')
  @Endpoint({
    operationId: 'Deliveries_list',
    access: 'deployer',
    scope: 'filtered',
    summary: 'List deliveries of a webhook, newest first',
    description: 'Kept for a week. What a receiver answers besides its status is not kept.',
    answer: 'A page of deliveries',
    ok: DeliveryPage,
    example: { items: [DELIVERY_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter', 'webhook-not-found'],
  })
  async list(
    @Param('id') id: string,
    @Query({ schema: ListDeliveries }) query: ListDeliveries,
    @CurrentCaller() caller: Caller,
  ): Promise<Page<DeliveryResponse>> {
    return await this.deliveries.list(id, query, caller);
  }

  @Get('deliveries/:deliveryId')
  @ApiParam(DELIVERY_ID)
  @Endpoint({
    operationId: 'Deliveries_get',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Get a delivery',
    answer: 'The delivery',
    ok: DeliveryResponse,
    example: DELIVERY_EXAMPLE,
    problems: ['webhook-not-found', 'delivery-not-found'],
  })
  async get(
    @Param('id') id: string,
    @Param('deliveryId') deliveryId: string,
    @CurrentCaller() caller: Caller,
  ): Promise<DeliveryResponse> {
    return await this.deliveries.get(id, deliveryId, caller);
  }

  @Post('deliveries/:deliveryId/redeliver')
  @ApiParam(DELIVERY_ID)
  @Endpoint({
    operationId: 'Deliveries_redeliver',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Deliver once more',
    description: 'The same id and body, whatever became of it before. One that is pending stays as it is.',
    status: 202,
    answer: 'The delivery, pending',
    ok: DeliveryResponse,
    example: NEW_DELIVERY_EXAMPLE,
    problems: ['webhook-not-found', 'delivery-not-found', 'webhook-disabled'],
  })
  async redeliver(
    @Param('id') id: string,
    @Param('deliveryId') deliveryId: string,
    @CurrentCaller() caller: Caller,
  ): Promise<DeliveryResponse> {
    return await this.deliveries.redeliver(id, deliveryId, caller);
  }
}
