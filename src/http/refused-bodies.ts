import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Bucket } from '../process/bucket.js';
import { BODY_LIMITS } from './body-limits.js';

/** For a client to read its answer before the connection ends; a shutdown waits for it. */
const LONGEST_MS = 2_000;
/** Of all refused bodies of this process together: reading them costs other requests time, too. */
const BYTES_PER_MINUTE = 120 * 1_048_576;
const BYTES_AT_ONCE = 8 * 1_048_576;
const READ_FOR_NOTHING = new Bucket(BYTES_PER_MINUTE, BYTES_AT_ONCE, performance.now());

/**
 * Hook `onSend`: an answer may be given before the body came in. It says at once that the connection ends with it, and
 * its end is held back for a moment, while the rest of the body is read and dropped: a client that is cut off while it
 * sends may never read its answer. At most two seconds, and 2 MiB a second of all of them, are read.
 */
export function dropRefusedBody(
  { raw }: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
  done: (error: null, payload: unknown) => void,
): void {
  const isWhole = typeof payload === 'string' || Buffer.isBuffer(payload);
  // A small one is on its way already: Node throws it away, and the connection goes on.
  if (raw.complete || raw.destroyed || !isWhole || Number(raw.headers['content-length']) <= BODY_LIMITS.fields) {
    done(null, payload);
    return;
  }
  const bytes = Buffer.from(payload as string);
  reply.header('connection', 'close').header('content-length', bytes.length);
  const answer = new Readable({ read: () => undefined });
  answer.push(bytes);
  void drop(raw).then(() => answer.push(null));
  done(null, answer);
}

/** Resolves at the end of the body, or when enough was read for nothing. */
async function drop(request: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const end = (): void => resolve(undefined);
  const timer = setTimeout(end, LONGEST_MS).unref();
  // A client that leaves meanwhile is no failure.
  request.on('error', end).once('end', end).once('close', end);
  request.on('data', ({ length }: Buffer) => {
    const now = performance.now();
    READ_FOR_NOTHING.take(length, now);
    if (READ_FOR_NOTHING.waitMs(now) > 0) request.pause();
  });
  await promise;
  clearTimeout(timer);
}
