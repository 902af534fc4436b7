import { expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { requireHost } from './require-host.js';

it.each([
  ['1.1', 'example.com', true],
  ['1.1', '', true],
  ['1.1', undefined, false],
  ['1.0', undefined, true],
])('a request of HTTP/%s with the host %j is served: %s', (httpVersion, host, isServed) => {
  const outcomes: unknown[] = [];
  const request = { raw: { httpVersion, headers: { host } } } as unknown as FastifyRequest;
  requireHost(request, {} as FastifyReply, (error) => outcomes.push(error));
  expect(outcomes).toStrictEqual([isServed ? undefined : expect.objectContaining({ code: 'malformed-request' })]);
});
