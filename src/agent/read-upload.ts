import { Readable } from 'node:stream';
import { setImmediate as othersTurn } from 'node:timers/promises';
import { BODY_LIMITS } from '../http/body-limits.js';
import { Problem } from '../http/problem.js';
import type { Shutdown } from '../process/shutdown.js';

/** Agents end an upload after half a minute, and give it up after a minute. */
const MOST_MS = 120_000;
/** Parsed at once: an instance may send line ends and nothing else, and each is a line. */
const PIECE_BYTES = 8_192;

/**
 * An upload of an agent, as it comes in, in pieces that take little time; between them it is the turn of others.
 * @param mostMs of time for all of it
 * @throws Problem shutting-down, payload-too-large, malformed-request: it broke off, or took too long
 */
export async function* readUpload(shutdown: Shutdown, body: Readable, mostMs = MOST_MS): AsyncGenerator<Uint8Array> {
  const { promise: end, reject } = Promise.withResolvers<never>();
  const leave = shutdown.onBegin(() =>
    reject(new Problem('shutting-down', 'Send it again.', { retryAfterSeconds: 1 })),
  );
  const late = new Problem('malformed-request', `An upload may take ${mostMs / 1000} s.`);
  const timer = setTimeout(() => reject(late), mostMs);
  // Destroying the body would close the connection before the answer is sent.
  const iterator = body.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  let bytes = 0;
  try {
    for (;;) {
      const next = await Promise.race([end, iterator.next().catch(brokeOff)]);
      if (next.done === true) return;
      const read = next.value;
      for (let at = 0; at < read.length; at += PIECE_BYTES) {
        if (at > 0) await othersTurn();
        const piece = read.subarray(at, at + PIECE_BYTES);
        bytes += piece.length;
        if (bytes > BODY_LIMITS.log) throw new Problem('payload-too-large', 'An upload may have 8 MiB.');
        yield piece;
      }
    }
  } finally {
    leave();
    clearTimeout(timer);
    // The rest is read all the same: the next request follows it on this connection.
    void iterator.return?.().then(
      () => body.resume(),
      () => undefined,
    );
  }
}

/** The client has gone, and the log must not show this as a failure of the API. */
function brokeOff(cause: unknown): never {
  throw new Problem('malformed-request', 'The upload broke off.', { cause });
}

/** A body that nothing parsed; empty where there was none. @throws Problem unsupported-media-type */
export function streamOf(body: unknown, howToSend: string): Readable {
  if (body instanceof Readable) return body;
  if (body === undefined || body === null) return Readable.from([]);
  throw new Problem('unsupported-media-type', howToSend);
}
