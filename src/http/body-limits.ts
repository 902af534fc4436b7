import type { RouteOptions } from 'fastify';

/** What a route's body may hold: a few fields (or nothing), a whole definition, an answer of Docker, a log. */
export type BodySize = 'fields' | 'definition' | 'answer' | 'log';

/**
 * Bytes a body may have. `fields`: the form of a registration at its largest is 24 KiB. `definition`: also a key file
 * of 64 KiB. `answer`, `log`: streamed to the handler, which counts them; agents end a log at 8 MiB.
 */
export const BODY_LIMITS: Readonly<Record<BodySize, number>> = {
  fields: 32 * 1024,
  definition: 1024 * 1024,
  answer: 256 * 1024,
  log: 8 * 1024 * 1024 + 131_072,
};

/** Hook `onRoute`: the limit that a route declares, or the smallest. */
export function limitBody(route: RouteOptions): void {
  route.bodyLimit = route.config?.bodyLimit ?? BODY_LIMITS.fields;
}
