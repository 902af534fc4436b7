import { expect, it } from '@jest/globals';
import type { FastifyRequest } from 'fastify';
import { ADMIN, callerOf, findCaller, rememberCaller } from './caller.js';

it('a request has the caller that was found for it, and another none', () => {
  const [one, other] = [{}, {}] as [FastifyRequest, FastifyRequest];
  rememberCaller(one, ADMIN);
  expect([findCaller(one), callerOf(one)]).toEqual([ADMIN, ADMIN]);
  expect(findCaller(other)).toBeUndefined();
  // A route that forgot to ask for one must not go on.
  expect(() => callerOf(other)).toThrow('no caller');
});
