import type { Server } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';

/**
 * A client that says `Expect: 100-continue` waits until it may send its body. Node would permit it at once; the API
 * does after the access check: see `sayContinue`. Another expectation may be ignored (RFC 9110 section 10.1.1), where
 * Node would refuse it with an empty 417.
 */
export function keepClientsWaiting(server: Server): void {
  for (const event of ['checkContinue', 'checkExpectation']) {
    server.on(event, (request, response) => server.emit('request', request, response));
  }
}

/** Hook `onRequest`, after those that may reject. */
export function sayContinue({ headers }: FastifyRequest, reply: FastifyReply, done: () => void): void {
  if (/(^|\W)100-continue(\W|$)/i.test(headers.expect ?? '')) reply.raw.writeContinue();
  done();
}
