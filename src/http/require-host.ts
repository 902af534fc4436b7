import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from './problem.js';

/** A request of HTTP/1.1 names a host (RFC 9112 section 3.2); an older one may not. */
export function requireHost({ raw }: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const isMissing = raw.httpVersion === '1.1' && raw.headers.host === undefined;
  done(isMissing ? new Problem('malformed-request', 'A request needs a Host header.') : undefined);
}
