import { Controller, Get, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Access } from '../auth/access.decorator.js';
import { Problem } from '../http/problem.js';
import { Metrics } from './metrics.js';

/** METRICS says whether a collector needs a token; nginx lets only private networks through to it. */
@ApiExcludeController()
@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @Access('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const text = await this.metrics.text().catch((cause: unknown) => {
      throw new Problem('unavailable', 'Not all processes reported their metrics.', { retryAfterSeconds: 5, cause });
    });
    void reply.header('cache-control', 'no-store').type(this.metrics.contentType).send(text);
  }
}
