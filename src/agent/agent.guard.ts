import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { bearerTokenOf } from '../auth/bearer.js';
import { Problem } from '../http/problem.js';
import { isAgentToken } from './agent.schema.js';
import { Agents } from './agents.js';

const INSTANCES = new WeakMap<FastifyRequest, string>();

/** Lets agents of living instances in, by their own tokens. When the database cannot be asked: 503, never 401. */
@Injectable()
export class AgentGuard implements CanActivate {
  constructor(private readonly agents: Agents) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const token = bearerTokenOf(request.headers.authorization);
    if (token === undefined || !isAgentToken(token)) throw unauthorized();
    const sender = await this.agents.identify(token);
    switch (sender.kind) {
      case 'unknown':
        throw unauthorized();
      case 'retired':
        throw new Problem('instance-retired', 'This instance is to end.');
      case 'agent':
        INSTANCES.set(request, sender.instanceId);
        return true;
    }
  }
}

/** Id of the instance whose agent sent this request. For routes behind AgentGuard. */
export function instanceIdOf(request: FastifyRequest): string {
  const instanceId = INSTANCES.get(request);
  if (instanceId === undefined) throw new Error('this route is not behind AgentGuard');
  return instanceId;
}

function unauthorized(): Problem {
  return new Problem('unauthorized', 'This is not the token of an agent.', {
    headers: { 'www-authenticate': 'Bearer' },
  });
}
