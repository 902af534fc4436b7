import { Controller, Get, Res, ServiceUnavailableException } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { HealthCheckService, type HealthCheckResult } from '@nestjs/terminus';
import type { FastifyReply } from 'fastify';
import { Access } from '../auth/access.decorator.js';
import { HealthService } from './health.service.js';

const BODY = {
  type: 'object',
  required: ['status', 'info', 'error', 'details'],
  properties: {
    status: { type: 'string', enum: ['ok', 'degraded', 'error', 'shutting_down'] },
    info: { type: 'object' },
    error: { type: 'object' },
    details: { type: 'object' },
  },
};

@ApiTags('health')
@Controller('health')
export class HealthController {
  constructor(
    private readonly terminus: HealthCheckService,
    private readonly health: HealthService,
  ) {}

  @Get('live')
  @Access('public')
  @ApiOperation({
    summary: 'Is this process alive?',
    description: 'Asks nothing else: restart the process if it fails.',
  })
  @ApiResponse({ status: 200, description: 'It is.', schema: BODY })
  async live(): Promise<HealthCheckResult> {
    return await this.terminus.check([]);
  }

  @Get('ready')
  @Access('public')
  @ApiOperation({
    summary: 'Can this process serve?',
    description:
      'Postgres answers, migrations are applied, loops run, no shutdown has begun. AWS trouble is `degraded`.',
  })
  @ApiResponse({ status: 200, description: 'Ready, perhaps `degraded`.', schema: BODY })
  @ApiResponse({ status: 503, description: 'Not ready.', schema: BODY })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<unknown> {
    try {
      return await this.terminus.check(this.health.checks());
    } catch (error) {
      // Balancers and dashboards know Terminus's body; a problem would hide which part is down.
      if (!(error instanceof ServiceUnavailableException)) throw error;
      void reply.code(error.getStatus());
      return error.getResponse();
    }
  }
}
