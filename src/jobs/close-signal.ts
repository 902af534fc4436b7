import type { FastifyReply } from 'fastify';

/** Aborts when the client goes away before it was answered: nobody reads what a parked request still finds out. */
export function closeSignalOf(reply: Pick<FastifyReply, 'raw'>): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}
