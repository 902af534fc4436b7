import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Shutdown } from '../process/shutdown.js';
import { Access } from '../auth/access.decorator.js';
import { mayCall } from '../jobs/networks.js';
import { CallerAddress, HoldQuery, HostName } from './ingress.schema.js';
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

  /**
   * 200 with the target in headers, or 401: `auth_request` takes anything else for a failure, and a cache 403 and 404. The
   * answer is kept for all callers of the host, so that of a job with a list of callers says only that: an nginx that does
   * not know the list leads nobody there.
   */
  @Get('routes/:host')
  @Access('public')
  async route(@Param('host', { schema: HostName }) host: string, @Res() reply: FastifyReply): Promise<void> {
    const route = await this.routes.find(host);
    // Not before it is known: what is wrong with us is not kept.
    void reply.header('cache-control', CACHE_CONTROL);
    if (route === undefined || route.allow.length === 0) answer(reply, route);
    else void reply.headers({ 'route-known': 'yes', 'route-limited': 'yes' }).code(401).send();
  }

  /** The same for one caller of a job that has a list of them. List and target are of one deployment. */
  @Get('callers/:host/:address')
  @Access('public')
  async caller(
    @Param('host', { schema: HostName }) host: string,
    @Param('address', { schema: CallerAddress }) address: string,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const route = await this.routes.find(host);
    void reply.header('cache-control', CACHE_CONTROL);
    answerTo(address, reply, route);
  }

  /** The same for one request that nothing serves: the answer comes when something does, or the wait is over. */
  @Get('holds/:host')
  @Access('public')
  async hold(
    @Param('host', { schema: HostName }) host: string,
    @Query({ schema: HoldQuery }) query: HoldQuery,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const route = await this.routes.await(host, query, gone.signal);
    void reply.header('cache-control', 'no-store');
    // nginx asks another of us, where the wait goes on.
    if (!route?.target && this.shutdown.hasBegun) return void reply.code(503).send();
    answerTo(query.from, reply, route);
  }
}

function answerTo(address: string, reply: FastifyReply, route: Route | undefined): void {
  if (route === undefined || mayCall(address, route.allow)) answer(reply, route);
  else void reply.headers({ 'route-known': 'yes', 'route-refused': 'yes' }).code(401).send();
}

function answer(reply: FastifyReply, route: Route | undefined): void {
  if (route) void reply.header('route-known', 'yes');
  if (route && route.holdSeconds > 0) void reply.header('route-holds', 'yes');
  if (!route?.target) return void reply.code(401).send();
  const { address, job, deployment } = route.target;
  void reply.headers({ 'route-target': address, 'route-job': job, 'route-deployment': deployment }).code(200).send();
}
