import { Injectable, Logger } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { isChanging } from '../http/is-changing.js';
import { Problem } from '../http/problem.js';
import { LogThrottle } from '../process/log-throttle.js';
import { checkAccess, type RouteAccess } from './access-rules.js';
import { refusalOfAnonymous } from './anonymous-access.js';
import { bearerTokenOf, digestOf, isToken } from './bearer.js';
import { ADMIN, ANONYMOUS, type Caller, rememberCaller, type Role } from '../http/caller.js';
import { FailedAttempts } from './failed-attempts.js';
import { RateLimiter, rateLimitHeaders } from './rate-limiter.js';
import { Tokens } from './tokens.js';
import { WriteBudget } from './write-budget.js';

/** A route that requires a role. */
export type RoleAccess = RouteAccess & { readonly who: Role | 'metrics' };

/** Identifies the caller of every request to a route with a role, counts its requests, and checks its access. */
@Injectable()
export class AccessService {
  readonly #logger = new Logger('Access');
  readonly #failed = new FailedAttempts();
  readonly #guessing = new LogThrottle();
  readonly #adminDigest: Buffer | undefined;
  readonly #publicHost: string;

  constructor(
    private readonly tokens: Tokens,
    private readonly limiter: RateLimiter,
    private readonly writes: WriteBudget,
    @Setting('http') private readonly http: Config['http'],
  ) {
    this.#publicHost = new URL(http.publicUrl).hostname;
    this.#adminDigest = http.adminToken === undefined ? undefined : digestOf(http.adminToken);
  }

  /** Before its body is read. @throws Problem unauthorized, forbidden, too-many-requests, job-not-found */
  async admit(request: FastifyRequest, reply: FastifyReply, { who, scope }: RoleAccess): Promise<void> {
    if (who === 'metrics' && this.http.metrics === 'public') return;
    const caller = this.http.auth === 'none' ? this.#anonymous(request) : await this.#identify(request);
    rememberCaller(request, caller);
    await this.#countRequest(caller, reply);
    authorize(caller, { who: who === 'metrics' ? 'viewer' : who, scope }, request);
    // Admins may fill the database in many other ways.
    if (isChanging(request.method) && caller.role !== 'admin') this.#countWrites(caller, request, reply);
  }

  #anonymous({ raw: { headers }, hostname }: FastifyRequest): Caller {
    const refusal = refusalOfAnonymous({ headers, hostname }, this.#publicHost);
    if (refusal !== undefined) throw new Problem('forbidden', refusal);
    return ANONYMOUS;
  }

  async #identify({ ip, headers }: FastifyRequest): Promise<Caller> {
    const token = bearerTokenOf(headers.authorization);
    if (token === undefined) throw unauthorized('Send a token as a bearer token.', 'Bearer');
    const caller = this.#failed.isKnown(ip, token) ? undefined : await this.#find(token);
    if (caller !== undefined && caller !== 'ended') return caller;
    // A token that was valid once is no guess: all tokens behind a NAT may end on one day.
    if (caller === undefined) this.#noteGuess(ip, token);
    throw unauthorized('This token is not known, has expired, or is revoked.', 'Bearer error="invalid_token"');
  }

  /** Slows down only clients that guess, and no others of the same address: a valid token was found before. */
  #noteGuess(ip: string, token: string): void {
    const retryAfterSeconds = this.#failed.secondsToWait(ip);
    if (retryAfterSeconds > 0) {
      throw new Problem('too-many-requests', 'Too many wrong tokens came from this address.', { retryAfterSeconds });
    }
    if (!this.#failed.note(ip, token)) return;
    // One client may have many addresses.
    this.#guessing.log('guessing', (unlogged) =>
      this.#logger.warn('too many wrong tokens', { address: ip, ...(unlogged > 0 && { othersBefore: unlogged }) }),
    );
  }

  async #find(token: string): Promise<Caller | 'ended' | undefined> {
    if (this.#adminDigest && isToken(token, this.#adminDigest)) return ADMIN;
    return await this.tokens.identify(token);
  }

  /** The size of a change is known once it is answered, and may delay the next one. */
  #countWrites({ id }: Caller, { raw, headers }: FastifyRequest, reply: FastifyReply): void {
    const retryAfterSeconds = this.writes.secondsToWait(id);
    if (retryAfterSeconds > 0) {
      const detail = 'This token has stored 64 MiB, and may store 1 MiB a minute from then on.';
      throw new Problem('too-many-requests', detail, { retryAfterSeconds });
    }
    const readBefore = raw.socket.bytesRead;
    reply.raw.once('close', () => {
      if (reply.raw.statusCode >= 300) return;
      const sent = Math.max(bytesOf(headers['content-length']), raw.socket.bytesRead - readBefore);
      const answered = bytesOf(reply.getHeader('content-length'));
      const kept = headers['idempotency-key'] === undefined ? 0 : answered;
      this.writes.take(id, Math.max(sent, answered) + kept);
    });
  }

  async #countRequest(caller: Caller, reply: FastifyReply): Promise<void> {
    // A user who may do everything on this machine has no rate limit.
    if (caller === ANONYMOUS) return;
    const standing = await this.limiter.take(caller);
    void reply.headers(rateLimitHeaders(standing));
    if (standing.isAllowed) return;
    throw new Problem('too-many-requests', `This token may send ${standing.limit} requests a minute.`, {
      retryAfterSeconds: standing.retrySeconds,
    });
  }
}

function bytesOf(length: unknown): number {
  const bytes = Number(length ?? 0);
  return Number.isFinite(bytes) ? bytes : 0;
}

function authorize(caller: Caller, route: RouteAccess & { readonly who: Role }, request: FastifyRequest): void {
  const name = nameOf(request);
  switch (checkAccess(caller, route, name)) {
    case 'granted':
      return;
    case 'needs-role':
      throw forbidden(`This needs the role ${route.who}; this token’s is ${caller.role}.`, route.who);
    case 'needs-whole-scope':
      throw forbidden('This is not for a token with a scope: it concerns more than some jobs.', route.who);
    case 'outside-scope':
      // The same answer as for a missing job: the token must not reveal the jobs of others.
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
