import { type CanActivate, type ExecutionContext, Inject, Injectable, Logger } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CONFIG, type Config, isLoopback } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { ACCESS } from './access.decorator.js';
import { ADMIN, ANONYMOUS, type Caller, CLOSED, judge, type Role, type RouteAccess } from './access-rules.js';
import { bearerTokenOf, digestOf, isToken } from './bearer.js';
import { rememberCaller } from './caller.js';
import { FailedAttempts } from './failed-attempts.js';
import { RateLimiter, rateLimitHeaders } from './rate-limiter.js';
import { Tokens } from './tokens.js';

/** Asks every request of a route with a role who sends it, how many that one has sent, and whether it may. */
@Injectable()
export class AccessGuard implements CanActivate {
  readonly #logger = new Logger('Access');
  readonly #failed = new FailedAttempts();
  readonly #adminDigest: Buffer | undefined;
  readonly #http: Config['http'];
  readonly #publicHost: string;

  constructor(
    private readonly reflector: Reflector,
    private readonly tokens: Tokens,
    private readonly limiter: RateLimiter,
    @Inject(CONFIG) { http }: Config,
  ) {
    this.#http = http;
    this.#publicHost = new URL(http.publicUrl).hostname;
    this.#adminDigest = http.adminToken === undefined ? undefined : digestOf(http.adminToken);
  }

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { who, scope } = this.#accessOf(context);
    // Agents have a guard of their own, which looks at their own tokens.
    if (who === 'public' || who === 'agent' || (who === 'metrics' && this.#http.metrics === 'public')) return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const caller = this.#http.auth === 'none' ? this.#anonymous(request) : await this.#identify(request);
    rememberCaller(request, caller);
    await this.#countRequest(caller, context.switchToHttp().getResponse<FastifyReply>());
    authorize(caller, { who: who === 'metrics' ? 'viewer' : who, scope }, request);
    return true;
  }

  #accessOf(context: ExecutionContext): RouteAccess {
    return this.reflector.get<RouteAccess | undefined>(ACCESS, context.getHandler()) ?? CLOSED;
  }

  /** For this machine only, and not for a web page in its browser whose name was pointed at it (DNS rebinding). */
  #anonymous({ hostname }: FastifyRequest): Caller {
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const isOurs = isLoopback(host) || hostname === this.#publicHost;
    if (isOurs) return ANONYMOUS;
    throw new Problem('forbidden', 'Without tokens this API answers to the names of the loopback address only.');
  }

  async #identify({ ip, headers }: FastifyRequest): Promise<Caller> {
    const token = bearerTokenOf(headers.authorization);
    if (token === undefined) throw unauthorized('Send a token as a bearer token.', 'Bearer');
    const retryAfterSeconds = this.#failed.secondsToWait(ip);
    if (retryAfterSeconds > 0) {
      throw new Problem('too-many-requests', 'Too many wrong tokens came from this address.', { retryAfterSeconds });
    }
    const caller = this.#failed.isKnown(ip, token) ? undefined : await this.#find(token);
    if (caller !== undefined && caller !== 'ended') return caller;
    // One that was right once is no guess: all tokens behind a NAT may end on one day.
    if (caller === undefined && this.#failed.note(ip, token))
      this.#logger.warn('too many wrong tokens', { address: ip });
    throw unauthorized('This token is not known, has expired, or is revoked.', 'Bearer error="invalid_token"');
  }

  async #find(token: string): Promise<Caller | 'ended' | undefined> {
    if (this.#adminDigest && isToken(token, this.#adminDigest)) return ADMIN;
    return await this.tokens.identify(token);
  }

  async #countRequest(caller: Caller, reply: FastifyReply): Promise<void> {
    // Whoever may do everything on this machine is not held up by its own API.
    if (caller === ANONYMOUS) return;
    const standing = await this.limiter.take(caller);
    void reply.headers(rateLimitHeaders(standing));
    if (standing.isAllowed) return;
    throw new Problem('too-many-requests', `This token may send ${standing.limit} requests a minute.`, {
      retryAfterSeconds: standing.retrySeconds,
    });
  }
}

function authorize(caller: Caller, route: RouteAccess & { readonly who: Role }, request: FastifyRequest): void {
  const name = nameOf(request);
  switch (judge(caller, route, name)) {
    case 'granted':
      return;
    case 'needs-role':
      throw forbidden(`This needs the role ${route.who}; this token’s is ${caller.role}.`, route.who);
    case 'needs-whole-scope':
      throw forbidden('This is not for a token with a scope: it concerns more than some jobs.', route.who);
    case 'outside-scope':
      // As of a job that is not there: what others run is none of this token's business.
      throw new Problem('job-not-found', 'There is no job of this name in the scope of this token.');
  }
}

function nameOf({ params }: FastifyRequest): string | undefined {
  return (params as { name?: string } | null)?.name;
}

function unauthorized(detail: string, challenge: string): Problem {
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}

function forbidden(detail: string, role: Role): Problem {
  return new Problem('forbidden', detail, {
    headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${role}"` },
  });
}
