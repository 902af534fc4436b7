import type { Readable } from 'node:stream';
import { Problem } from '../http/problem.js';
import { MOST_ANSWER_BYTES } from '../docker/order-answer.js';

/**
 * The last bytes of a request's body; no more than these and one piece of it is in memory. The body is read to its end,
 * as the next request follows on the same connection.
 * @throws Problem payload-too-large, malformed-request: it broke off
 */
export async function readLastBytes(body: Readable, most: number): Promise<Uint8Array> {
  const end = new Uint8Array(most);
  let length = 0;
  let read = 0;
  try {
    for await (const piece of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      read += piece.length;
      if (read > MOST_ANSWER_BYTES) throw new Problem('payload-too-large', 'An answer may have 256 KiB.');
      const tail = piece.subarray(Math.max(0, piece.length - most));
      const left = Math.min(length, most - tail.length);
      end.copyWithin(0, length - left, length);
      end.set(tail, left);
      length = left + tail.length;
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw new Problem('malformed-request', 'The answer broke off.', { cause: error });
    body.resume();
    throw error;
  }
  return end.subarray(0, length);
}
