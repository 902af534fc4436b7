import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Shutdown } from '../process/shutdown.js';
import { Access } from '../auth/access.decorator.js';
import { HoldQuery, HostName } from './ingress.schema.js';
import { type Route, RouteLookup } from './route-lookup.js';

/** An ingress goes by an answer for a second, and for so long more while none of us answers: STALE_SECONDS of the job pass. */
const CACHE_CONTROL = 'max-age=1, stale-if-error=22';

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

  /** 200 with the target in headers, or 401: `auth_request` takes anything else for a failure, and a cache 403 and 404. */
  @Get('routes/:host')
  @Access('public')
  async route(@Param('host', { schema: HostName }) host: string, @Res() reply: FastifyReply): Promise<void> {
    const route = await this.routes.find(host);
    // Not before it is known: what is wrong with us is not kept.
    void reply.header('cache-control', CACHE_CONTROL);
    answer(reply, route);
  }

  /** The same for one request that nothing serves: the answer comes when something does, or the wait is over. */
  @Get('holds/:host')
  @Access('public')
  async hold(
    @Param('host', { schema: HostName }) host: string,
    @Query({ schema: HoldQuery }) { not }: HoldQuery,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const route = await this.routes.await(host, not, gone.signal);
    void reply.header('cache-control', 'no-store');
    // nginx asks another of us, where the wait goes on.
    if (!route?.target && this.shutdown.hasBegun) return void reply.code(503).send();
    answer(reply, route);
  }
}

function answer(reply: FastifyReply, route: Route | undefined): void {
  if (route) void reply.header('route-known', 'yes');
  if (route && route.holdSeconds > 0) void reply.header('route-holds', 'yes');
  if (!route?.target) return void reply.code(401).send();
  const { address, job, deployment } = route.target;
  void reply.headers({ 'route-target': address, 'route-job': job, 'route-deployment': deployment }).code(200).send();
}
