import { Controller, Get, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Access } from '../auth/access.decorator.js';
import { Metrics } from './metrics.service.js';

/** METRICS says whether a collector needs a token; nginx lets private networks only through to it. */
@ApiExcludeController()
@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @Access('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const { registry } = this.metrics;
    const text = await registry.metrics();
    void reply.header('cache-control', 'no-store').type(registry.contentType).send(text);
  }
}
