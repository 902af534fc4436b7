import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AgentAccess } from './agent/agent-access.js';
import { CLOSED } from './auth/access-rules.js';
import type { AccessService } from './auth/access.service.js';
import { withinExchange } from './http/exchange.js';
import { Problem } from './http/problem.js';

export type Doorkeepers = {
  readonly access: Pick<AccessService, 'admit'>;
  readonly agents: Pick<AgentAccess, 'admit'>;
};

/**
 * Hook `onRequest`: checks access before the body is read, so that only bodies of callers who may call the route are
 * parsed. A route without @Access is for operators.
 */
export function admissionBy({ access, agents }: Doorkeepers) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    // No handler would use the body, so it is not read.
    if (request.is404) throw new Problem('not-found', `Cannot ${request.method} ${request.url}`);
    const { who, scope } = request.routeOptions.config.access ?? CLOSED;
    if (who === 'public' || who === 'registration') return;
    await withinExchange(request, () =>
      who === 'agent' ? agents.admit(request, reply) : access.admit(request, reply, { who, scope }),
    );
  };
}
