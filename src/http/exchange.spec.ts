import { expect, it } from '@jest/globals';
import type { Exchange } from './exchange.js';
import { isHeldOpen } from './exchange.js';

it.each<[string, string, object, string | undefined, boolean]>([
  ['an agent’s poll', '/agent/v1/orders', {}, undefined, true],
  ['its upload of a log', '/agent/v1/orders/:number/logs', {}, undefined, true],
  ['its stream', '/agent/v1/orders/:number/stream', {}, undefined, true],
  ['its report', '/agent/v1/orders/:number/result', {}, undefined, false],
  ['a request that waits', '/v1/jobs/:name', { wait: '60' }, undefined, true],
  ['one that waits for nothing', '/v1/jobs/:name', { wait: '0' }, undefined, true],
  ['a log that is followed', '/v1/jobs/:name/logs', { follow: 'true' }, 'text/plain', true],
  ['one that is not', '/v1/jobs/:name/logs', { follow: 'false' }, 'text/plain', false],
  ['a stream of events', '/v1/events', {}, 'text/event-stream; charset=utf-8', true],
  ['a page of events', '/v1/events', {}, 'application/json', false],
  ['an answer without a type', '/v1/jobs', {}, undefined, false],
])('%s is meant to last, or not (%s)', (_what, route, query, type, isHeld) => {
  const exchange = { route, request: { query }, reply: { getHeader: () => type }, startedAtMs: 0 };
  expect(isHeldOpen(exchange as unknown as Exchange)).toBe(isHeld);
});
