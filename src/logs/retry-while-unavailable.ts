import { setTimeout as sleep } from 'node:timers/promises';
import { problemOfError } from '../http/error-problem.js';

const RETRY_MS = 2_000;

/**
 * Reads for a client that follows a stream: while the database does not answer, the client waits as it does for news.
 * Else its connection would break, and not every client reconnects by itself.
 * @returns undefined when `signal` aborted
 */
export async function retryWhileUnavailable<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  while (!signal.aborted) {
    try {
      return await read();
    } catch (error) {
      if (problemOfError(error)?.code !== 'unavailable') throw error;
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}
