import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { CONFIG, type Config, isLoopback } from '../config/config.js';
import { Problem } from '../http/problem.js';
import { bearerTokenOf, digestOf, isToken } from './bearer.js';
import { IS_PUBLIC } from './public.decorator.js';

/**
 * Asks every route for ADMIN_TOKEN that is not `@Public()`. Without one (loopback only, see config) all are open to this
 * machine, but not to a web page in its browser whose name was pointed at 127.0.0.1 (DNS rebinding).
 */
@Injectable()
export class AdminGuard implements CanActivate {
  readonly #expected: Buffer | undefined;
  readonly #publicHost: string;

  constructor(
    private readonly reflector: Reflector,
    @Inject(CONFIG) { http: { adminToken, publicUrl } }: Config,
  ) {
    this.#expected = adminToken === undefined ? undefined : digestOf(adminToken);
    this.#publicHost = new URL(publicUrl).hostname;
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.#isPublic(context)) return true;
    const { hostname, headers } = context.switchToHttp().getRequest<FastifyRequest>();
    if (this.#expected === undefined) return this.#checkHost(hostname);
    const token = bearerTokenOf(headers.authorization);
    if (token === undefined) throw unauthorized('Send the operator’s token as a bearer token.', 'Bearer');
    if (!isToken(token, this.#expected))
      throw unauthorized('This is not the operator’s token.', 'Bearer error="invalid_token"');
    return true;
  }

  #checkHost(hostname: string): true {
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    if (isLoopback(host) || hostname === this.#publicHost) return true;
    throw new Problem('forbidden', 'Without ADMIN_TOKEN this API answers to the names of the loopback address only.');
  }

  #isPublic(context: ExecutionContext): boolean {
    return (
      this.reflector.getAllAndOverride<boolean | undefined>(IS_PUBLIC, [context.getHandler(), context.getClass()]) ===
      true
    );
  }
}

function unauthorized(detail: string, challenge: string): Problem {
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}
