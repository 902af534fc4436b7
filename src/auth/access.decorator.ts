import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiExtension } from '@nestjs/swagger';
import type { RouteAccess, ScopeRule, Who } from './access-rules.js';

export const ACCESS = 'auth:access';

/** Where the documentation finds it; `finishDocument` makes it the operation's `security`. */
export const ACCESS_EXTENSION = 'x-access';

/**
 * Who may call a route. Every route says it, by `@Endpoint({ access })` or by this; one that forgets is for operators
 * only, and fails test/e2e/access.spec.ts.
 * @param scope of tokens with a scope; default: the route is not for them
 */
export function Access(who: Who, scope: ScopeRule = 'whole'): MethodDecorator {
  return applyDecorators(
    SetMetadata(ACCESS, { who, scope } satisfies RouteAccess),
    ApiExtension(ACCESS_EXTENSION, who),
  );
}
