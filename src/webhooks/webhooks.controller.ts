import { Body, Controller, Delete, Get, Headers, Param, Patch, Post, Query, Res } from '@nestjs/common';
import { ApiConsumes, ApiHeader, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { etagOf, versionsOf } from '../http/etag.js';
import { BODY_PROBLEMS, LOCATION } from '../api/endpoint-docs.js';
import { ETAG, ID, IF_MATCH } from './webhook-docs.js';
import {
  CreateWebhook,
  ListWebhooks,
  NewSecretResponse,
  PatchWebhook,
  RotateSecret,
  WEBHOOK_EXAMPLE,
  WebhookPage,
  WebhookResponse,
} from './webhook.schema.js';
import { type Versioned, WebhooksService } from './webhooks.service.js';

const SECRET_EXAMPLE = { secret: `whsec_${'0123456789ab'.repeat(3)}01234567`, ...WEBHOOK_EXAMPLE };

@ApiTags('webhooks')
@Controller('/v1/webhooks')
export class WebhooksController {
  constructor(private readonly webhooks: WebhooksService) {}

  @Post()
  @Endpoint({
    operationId: 'Webhooks_create',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Make a webhook',
    description: 'The answer holds the secret that verifies signatures, this once.',
    status: 201,
    answer: 'The webhook and its secret',
    ok: NewSecretResponse,
    example: SECRET_EXAMPLE,
    headers: { ...LOCATION, ...ETAG },
    problems: [...BODY_PROBLEMS, 'forbidden', 'webhook-limit-reached'],
  })
  async create(
    @Body({ schema: CreateWebhook }) body: CreateWebhook,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<NewSecretResponse> {
    const created = await this.webhooks.create(body, caller);
    void reply.headers({ location: `/v1/webhooks/${created.webhook.id}`, 'cache-control': 'no-store' });
    return answer(reply, created);
  }

  @Get()
  @Endpoint({
    operationId: 'Webhooks_list',
    access: 'deployer',
    scope: 'filtered',
    summary: 'List webhooks, newest first',
    answer: 'A page of webhooks',
    ok: WebhookPage,
    example: { items: [WEBHOOK_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(
    @Query({ schema: ListWebhooks }) query: ListWebhooks,
    @CurrentCaller() caller: Caller,
  ): Promise<Page<WebhookResponse>> {
    return await this.webhooks.list(query, caller);
  }

  @Get(':id')
  @ApiParam(ID)
  @Endpoint({
    operationId: 'Webhooks_get',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Get a webhook',
    answer: 'The webhook',
    ok: WebhookResponse,
    example: WEBHOOK_EXAMPLE,
    headers: ETAG,
    problems: ['webhook-not-found'],
  })
  async get(
    @Param('id') id: string,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<WebhookResponse> {
    return answer(reply, await this.webhooks.get(id, caller));
  }

  @Patch(':id')
  @ApiParam(ID)
  @ApiHeader(IF_MATCH)
  @ApiConsumes('application/merge-patch+json', 'application/json')
  @Endpoint({
    operationId: 'Webhooks_patch',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Change, disable or enable a webhook',
    answer: 'The webhook',
    ok: WebhookResponse,
    example: WEBHOOK_EXAMPLE,
    headers: ETAG,
    problems: [...BODY_PROBLEMS, 'forbidden', 'webhook-not-found', 'precondition-failed'],
  })
  async patch(
    @Param('id') id: string,
    @Body({ schema: PatchWebhook }) body: PatchWebhook,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<WebhookResponse> {
    return answer(reply, await this.webhooks.patch(id, body, versionsOf(ifMatch), caller));
  }

  @Delete(':id')
  @ApiParam(ID)
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Webhooks_delete',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Delete a webhook and its deliveries',
    answer: 'The webhook as it was',
    ok: WebhookResponse,
    example: WEBHOOK_EXAMPLE,
    problems: ['webhook-not-found', 'precondition-failed'],
  })
  async delete(
    @Param('id') id: string,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
  ): Promise<WebhookResponse> {
    return await this.webhooks.delete(id, versionsOf(ifMatch), caller);
  }

  @Post(':id/rotate-secret')
  @ApiParam(ID)
  @Endpoint({
    operationId: 'Webhooks_rotateSecret',
    access: 'deployer',
    scope: 'filtered',
    summary: 'Replace the secret of a webhook',
    description: 'For a grace time both sign, so that no delivery is refused while the receiver learns the new one.',
    answer: 'The webhook and its new secret',
    ok: NewSecretResponse,
    example: SECRET_EXAMPLE,
    headers: ETAG,
    problems: [...BODY_PROBLEMS, 'webhook-not-found'],
  })
  async rotateSecret(
    @Param('id') id: string,
    @Body({ schema: RotateSecret }) body: RotateSecret,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<NewSecretResponse> {
    void reply.header('cache-control', 'no-store');
    return answer(reply, await this.webhooks.rotateSecret(id, body, caller));
  }
}

function answer<T>(reply: FastifyReply, { webhook, version }: Versioned<T>): T {
  void reply.header('etag', etagOf(version));
  return webhook;
}
