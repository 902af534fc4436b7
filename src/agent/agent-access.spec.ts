import { EventEmitter } from 'node:events';
import { beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { BODY_LIMITS } from '../http/body-limits.js';
import { AgentAccess, instanceIdOf } from './agent-access.js';
import { AgentLimits } from './agent-limits.js';
import type { Agents, Sender } from './agents.js';

const [TOKEN, OF_RETIRED, GUESSED] = ['a'.repeat(64), 'b'.repeat(64), 'c'.repeat(64)];
const UNAUTHORIZED = { code: 'unauthorized', headers: { 'www-authenticate': 'Bearer' } };

let limits: AgentLimits;
let access: AgentAccess;
beforeEach(() => {
  limits = new AgentLimits(() => 0);
  const senders = new Map<string, Sender>([
    [TOKEN, { kind: 'agent', instanceId: 'i-1' }],
    [OF_RETIRED, { kind: 'retired', instanceId: 'i-2' }],
  ]);
  const identify = (token: string) => {
    // Of a user’s token nothing is looked up.
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    return Promise.resolve(senders.get(token) ?? { kind: 'unknown' });
  };
  access = new AgentAccess({ identify } as unknown as Agents, limits);
});

describe('a request of an agent', () => {
  it('is that of its instance', async () => {
    const { request } = await admit(`Bearer ${TOKEN}`);
    expect(instanceIdOf(request)).toBe('i-1');
  });

  it.each([
    ['without a token', undefined, UNAUTHORIZED],
    ['with one that is no agent’s', 'Bearer some-user', UNAUTHORIZED],
    ['with one of another scheme', `Basic ${TOKEN}`, UNAUTHORIZED],
    ['with one that nobody has', `Bearer ${GUESSED}`, UNAUTHORIZED],
    ['of an instance that is retired', `Bearer ${OF_RETIRED}`, { code: 'instance-retired' }],
  ])('%s is refused', async (_what, authorization, problem) => {
    const [request, reply] = [requestOf(authorization), replyOf()];
    await expect(access.admit(request, reply)).rejects.toMatchObject(problem);
    expect(() => instanceIdOf(request)).toThrow('this route is not for agents');
  });

  it('is not taken for that of somebody unknown when the database does not answer', async () => {
    const failing = { identify: () => Promise.reject(new Error('connection terminated')) } as unknown as Agents;
    const admitted = new AgentAccess(failing, limits).admit(requestOf(`Bearer ${TOKEN}`), replyOf());
    await expect(admitted).rejects.toThrow('connection terminated');
  });

  it('counts as a log by its route, until its connection is done with it', async () => {
    const logs = await Promise.all(Array.from({ length: 4 }, () => admit(`Bearer ${TOKEN}`, BODY_LIMITS.log)));
    await expect(admit(`Bearer ${TOKEN}`, BODY_LIMITS.log)).rejects.toMatchObject({
      code: 'too-many-requests',
      headers: { 'retry-after': '1' },
    });
    await admit(`Bearer ${TOKEN}`, BODY_LIMITS.answer);
    logs[0]!.close(0);
    await admit(`Bearer ${TOKEN}`, BODY_LIMITS.log);
  });

  it('counts with the bytes that it brought, whatever came before it on its connection', async () => {
    const { close } = await admit(`Bearer ${TOKEN}`, BODY_LIMITS.log, 10_000 * 1_048_576);
    close(600 * 1_048_576);
    const { close: closeNext } = await admit(`Bearer ${TOKEN}`);
    closeNext(60 * 1_048_576);
    await expect(admit(`Bearer ${TOKEN}`)).rejects.toMatchObject({
      code: 'too-many-requests',
      // 20 MiB too much, of 640 a minute.
      headers: { 'retry-after': '2' },
    });
  });
});

async function admit(authorization: string, bodyLimit = BODY_LIMITS.fields, readBefore = 0) {
  const [request, reply] = [requestOf(authorization, bodyLimit, readBefore), replyOf()];
  await access.admit(request, reply);
  const close = (bytes: number): void => {
    Object.assign(request.raw.socket, { bytesRead: readBefore + bytes });
    reply.raw.emit('close');
  };
  return { request, close };
}

function requestOf(authorization: string | undefined, bodyLimit = BODY_LIMITS.fields, bytesRead = 0): FastifyRequest {
  const request = { headers: { authorization }, routeOptions: { bodyLimit }, raw: { socket: { bytesRead } } };
  return request as unknown as FastifyRequest;
}

function replyOf(): FastifyReply {
  return { raw: new EventEmitter() } as unknown as FastifyReply;
}
