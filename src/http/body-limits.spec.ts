import { expect, it } from '@jest/globals';
import type { RouteOptions } from 'fastify';
import { BODY_LIMITS, limitBody } from './body-limits.js';

it.each([
  ['that declares a limit', { config: { bodyLimit: BODY_LIMITS.log } }, BODY_LIMITS.log],
  ['that declares none', { config: {} }, BODY_LIMITS.fields],
  ['that declares nothing', {}, BODY_LIMITS.fields],
])('a route %s reads no more than that, or than a few fields', (_what, declared, limit) => {
  const route = { ...declared } as RouteOptions;
  limitBody(route);
  expect(route.bodyLimit).toBe(limit);
});
