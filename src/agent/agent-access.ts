import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bearerTokenOf } from '../auth/bearer.js';
import { BODY_LIMITS } from '../http/body-limits.js';
import { Problem } from '../http/problem.js';
import { AgentLimits } from './agent-limits.js';
import { isAgentToken } from './agent.schema.js';
import { Agents } from './agents.js';

const INSTANCES = new WeakMap<FastifyRequest, string>();

/**
 * Admits agents by their own tokens, unless their instance is retired, and bounds what each may send at once and in a
 * minute. When the database does not answer: 503, never 401.
 */
@Injectable()
export class AgentAccess {
  constructor(
    private readonly agents: Agents,
    private readonly limits: AgentLimits,
  ) {}

  /** Before the body is read. @throws Problem unauthorized, instance-retired, too-many-requests */
  async admit(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const token = bearerTokenOf(request.headers.authorization);
    if (token === undefined || !isAgentToken(token)) throw unauthorized();
    const sender = await this.agents.identify(token);
    switch (sender.kind) {
      case 'unknown':
        throw unauthorized();
      case 'retired':
        throw new Problem('instance-retired', 'This instance is being retired.');
      case 'agent':
        this.#count(sender.instanceId, request, reply);
        INSTANCES.set(request, sender.instanceId);
    }
  }

  #count(instanceId: string, { routeOptions, raw: { socket } }: FastifyRequest, reply: FastifyReply): void {
    const entry = this.limits.enter(instanceId, routeOptions.bodyLimit === BODY_LIMITS.log);
    if (!entry.isAllowed) {
      throw new Problem('too-many-requests', entry.detail, { retryAfterSeconds: entry.retryAfterSeconds });
    }
    const readBefore = socket.bytesRead;
    reply.raw.once('close', () => entry.leave(socket.bytesRead - readBefore));
  }
}

/** Id of the instance whose agent sent this request. For routes with `@Access('agent')`. */
export function instanceIdOf(request: FastifyRequest): string {
  const instanceId = INSTANCES.get(request);
  if (instanceId === undefined) throw new Error('this route is not for agents');
  return instanceId;
}

function unauthorized(): Problem {
  return new Problem('unauthorized', 'This is not the token of an agent.', {
    headers: { 'www-authenticate': 'Bearer' },
  });
}
