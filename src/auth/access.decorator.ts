import { applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiExtension } from '@nestjs/swagger';
import { type BodySize, BODY_LIMITS } from '../http/body-limits.js';
import type { RouteAccess, ScopeRule, Who } from './access-rules.js';

/** Where the documentation finds it; `finishDocument` makes it the operation's `security`. */
export const ACCESS_EXTENSION = 'x-access';

/**
 * Who may call a route, and how large a body it reads. It is in the router's own configuration of the route, where it
 * is found before the body is read. Every route declares it, by `@Endpoint({ access })` or by this; one that does not
 * is for operators only, and fails test/e2e/access.spec.ts.
 * @param scope of tokens with a scope; default: the route is not for them
 * @param body default: a few fields, or none
 */
export function Access(who: Who, scope: ScopeRule = 'whole', body: BodySize = 'fields'): MethodDecorator {
  const access: RouteAccess = { who, scope };
  return applyDecorators(RouteConfig({ access, bodyLimit: BODY_LIMITS[body] }), ApiExtension(ACCESS_EXTENSION, who));
}
