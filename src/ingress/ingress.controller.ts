import { Controller, Get, Param, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Shutdown } from '../process/shutdown.js';
import { Access } from '../auth/access.decorator.js';
import { HostName } from './ingress.schema.js';
import { type Route, RouteLookup } from './route-lookup.js';

/** nginx goes by an answer for a second, and for half a minute more while none of us answers: STALE_SECONDS of the job pass. */
const CACHE_CONTROL = 'max-age=1, stale-if-error=30';

/**
 * For nginx alone, which asks it where a job's host leads (`auth_request`) and lets nobody else through: it shows private
 * addresses. Older versions of nginx ask it, too: nothing here may change meaning.
 */
@ApiExcludeController()
@Controller('ingress/v1')
export class IngressController {
  constructor(
    private readonly routes: RouteLookup,
    private readonly shutdown: Shutdown,
  ) {}

  /** 200 with the target in headers, or 403: `auth_request` takes anything else for a failure. */
  @Get('routes/:host')
  @Access('public')
  async route(@Param('host', { schema: HostName }) host: string, @Res() reply: FastifyReply): Promise<void> {
    void reply.header('cache-control', CACHE_CONTROL);
    const route = await this.routes.find(host);
    // Whether it is worth while to ask for the other one.
    if (route && route.holdSeconds > 0) void reply.header('route-holds', 'yes');
    answer(reply, route);
  }

  /** The same for one request that nothing serves: the answer comes when something does, or the wait is over. */
  @Get('holds/:host')
  @Access('public')
  async hold(@Param('host', { schema: HostName }) host: string, @Res() reply: FastifyReply): Promise<void> {
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    void reply.header('cache-control', 'no-store');
    const route = await this.routes.await(host, gone.signal);
    // nginx asks another of us, where the wait goes on.
    if (!route?.target && this.shutdown.hasBegun) return void reply.code(503).send();
    answer(reply, route);
  }

  /** What a caller gets whose host leads nowhere. */
  @Get('problems/:host')
  @Access('public')
  async problem(@Param('host', { schema: HostName }) host: string): Promise<never> {
    throw await this.routes.explain(host);
  }
}

function answer(reply: FastifyReply, route: Route | undefined): void {
  if (!route?.target) return void reply.code(403).send();
  const { address, job, deployment } = route.target;
  void reply.headers({ 'route-target': address, 'route-job': job, 'route-deployment': deployment }).code(200).send();
}
