import { setTimeout as sleep } from 'node:timers/promises';

/** One step after the other until `stop`, which waits for the one under way. */
export function repeat(step: () => Promise<void>, pauseMs: number): { stop(): Promise<void> } {
  const over = new AbortController();
  const repeating = (async () => {
    while (!over.signal.aborted) {
      await step();
      await sleep(pauseMs);
    }
  })();
  return {
    stop: async () => {
      over.abort();
      await repeating;
    },
  };
}
