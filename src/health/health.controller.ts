import { Controller, Get, Res, ServiceUnavailableException } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { HealthCheckService, type HealthCheckResult } from '@nestjs/terminus';
import type { FastifyReply } from 'fastify';
import { Access } from '../auth/access.decorator.js';
import { TROUBLES } from '../process/heartbeats.js';
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

const TROUBLE_LIST = Object.entries(TROUBLES)
  .map(([name, meaning]) => `\`${name}\` (${meaning})`)
  .join(', ');

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
    operationId: 'Health_live',
    summary: 'Is this process alive?',
    description: 'Checks nothing but the process: restart it if this fails.',
  })
  @ApiResponse({ status: 200, description: 'It is.', schema: BODY })
  async live(): Promise<HealthCheckResult> {
    return await this.terminus.check([]);
  }

  @Get('ready')
  @Access('public')
  @ApiOperation({
    operationId: 'Health_ready',
    summary: 'Can this process serve?',
    description:
      '`details` holds `process` (no shutdown has begun), `database` (Postgres answers, migrations are applied) and ' +
      '`loops` (each completed a round in time): it is ready while these are up. The others only degrade it: ' +
      `${TROUBLE_LIST}.`,
  })
  @ApiResponse({ status: 200, description: 'Ready, perhaps `degraded`.', schema: BODY })
  @ApiResponse({ status: 503, description: 'Not ready.', schema: BODY })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<unknown> {
    try {
      return await this.terminus.check(this.health.checks());
    } catch (error) {
      // Balancers and dashboards expect Terminus's body; a problem would hide which part is down.
      if (!(error instanceof ServiceUnavailableException)) throw error;
      void reply.code(error.getStatus());
      return error.getResponse();
    }
  }
}
