import { SetMetadata } from '@nestjs/common';

export const IS_PUBLIC = 'auth:public';

/**
 * The operator's token is not asked for: health checks, and routes with a guard of their own (agents:
 * `@Public() @UseGuards(AgentGuard)`). Everything else is closed, so forgetting this is safe.
 */
export function Public(): ClassDecorator & MethodDecorator {
  return SetMetadata(IS_PUBLIC, true);
}
