import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Shutdown } from '../process/shutdown.js';
import { Access } from '../auth/access.decorator.js';
import { mayCall } from '../jobs/networks.js';
import { CallerAddress, HoldQuery, HostName } from './ingress.schema.js';
import { type LOOKUP_KINDS, type LookupOutcome, type Route, RouteLookup, routeLookups } from './route-lookup.js';

/**
 * For nginx alone, which asks it where a job's host leads (`auth_request`) and lets nobody else through: it shows private
 * addresses. Older versions of nginx ask it, too: nothing here may change meaning.
 */
@ApiExcludeController()
@Controller('ingress/v1')
export class IngressController {
  /** An ingress goes by an answer for a second, and for so long more while none of us answers: see plan-late-callers.ts. */
  readonly #cacheControl: string;

  constructor(
    private readonly routes: RouteLookup,
    private readonly shutdown: Shutdown,
    @Setting('ingress') { staleSeconds }: Config['ingress'],
  ) {
    this.#cacheControl = `max-age=1, stale-if-error=${staleSeconds}`;
  }

  /**
   * 200 with the target in headers, or 401: `auth_request` takes anything else for a failure, and a cache 403 and 404. The
   * answer is kept for all callers of the host, so that of a job with a list of callers says only that: an nginx that does
   * not know the list leads nobody there.
   */
  @Get('routes/:host')
  @Access('public')
  async route(@Param('host', { schema: HostName }) host: string, @Res() reply: FastifyReply): Promise<void> {
    await counted('route', reply, async () => {
      const route = await this.routes.find(host);
      // Not before it is known: what is wrong with us is not kept.
      void reply.header('cache-control', this.#cacheControl);
      if (route === undefined || route.allow.length === 0) return answer(reply, route);
      void reply.headers({ 'route-known': 'yes', 'route-limited': 'yes' }).code(401).send();
      return 'limited';
    });
  }

  /** The same for one caller of a job that has a list of them. List and target are of one deployment. */
  @Get('callers/:host/:address')
  @Access('public')
  async caller(
    @Param('host', { schema: HostName }) host: string,
    @Param('address', { schema: CallerAddress }) address: string,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await counted('caller', reply, async () => {
      const route = await this.routes.find(host);
      void reply.header('cache-control', this.#cacheControl);
      return answerTo(address, reply, route);
    });
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
    await counted('hold', reply, async () => {
      const route = await this.routes.await(host, query, gone.signal);
      void reply.header('cache-control', 'no-store');
      if (route?.target || !this.shutdown.hasBegun) return answerTo(query.from, reply, route);
      // nginx asks another of us, where the wait goes on.
      void reply.code(503).send();
      return 'handed-on';
    });
  }
}

/** An ingress that no longer waits for its answer goes by an older one, or leads its caller nowhere. */
async function counted(
  kind: (typeof LOOKUP_KINDS)[number],
  { raw }: FastifyReply,
  look: () => Promise<LookupOutcome>,
): Promise<void> {
  let outcome: LookupOutcome = 'failed';
  try {
    outcome = await look();
    // Where a request waited it was its caller who left.
    if (raw.destroyed && kind !== 'hold') outcome = 'failed';
  } finally {
    routeLookups.publish({ kind, outcome });
  }
}

function answerTo(address: string, reply: FastifyReply, route: Route | undefined): LookupOutcome {
  if (route === undefined || mayCall(address, route.allow)) return answer(reply, route);
  void reply.headers({ 'route-known': 'yes', 'route-refused': 'yes' }).code(401).send();
  return 'refused';
}

function answer(reply: FastifyReply, route: Route | undefined): LookupOutcome {
  const isWorthAWait = route !== undefined && route.holdSeconds > 0;
  if (route) void reply.header('route-known', 'yes');
  if (isWorthAWait) void reply.header('route-holds', 'yes');
  if (!route?.target) {
    void reply.code(401).send();
    if (!route) return 'unknown';
    return isWorthAWait ? 'waiting' : 'nowhere';
  }
  const { address, job, deployment } = route.target;
  void reply.headers({ 'route-target': address, 'route-job': job, 'route-deployment': deployment }).code(200).send();
  return 'target';
}
