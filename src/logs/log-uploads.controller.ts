import { Body, Controller, HttpCode, Param, Post, Query, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { instanceIdOf } from '../agent/agent-access.js';
import { OrderNumber } from '../agent/agent.schema.js';
import { streamOf } from '../agent/read-upload.js';
import { Access } from '../auth/access.decorator.js';
import { UploadQuery } from './log.schema.js';
import { LogUploads } from './log-uploads.js';

/** Receives from agents what containers print: part of the API for agents, see docs/agent-protocol.md. */
@ApiExcludeController()
@Controller('agent/v1')
export class LogUploadsController {
  constructor(private readonly uploads: LogUploads) {}

  /** Answers once all that was sent is stored; `Logs-Since` is where the next upload begins. */
  @Post('orders/:number/logs')
  @Access('agent', 'whole', 'log')
  @HttpCode(200)
  async upload(
    @Param('number', { schema: OrderNumber }) number: number,
    @Query({ schema: UploadQuery }) { since }: UploadQuery,
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const stream = streamOf(body, 'Send logs as application/vnd.docker.multiplexed-stream.');
    const next = await this.uploads.store(instanceIdOf(request), number, since, stream);
    void reply.header('logs-since', next);
  }
}
