const SHORTEST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 500;

/**
 * Waits for what no event announces. Looks often at first, and after a long wait seldom: dozens that wait at once would
 * else keep the machine busy with looking, and what they wait for would come later.
 * @throws Error with the complaint, when it is not true after `limitMs`
 */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  limitMs = 60_000,
  complaint: () => string = () => `not true after ${limitMs / 1000} s: ${isTrue.toString()}`,
): Promise<void> {
  const startedAt = performance.now();
  while (!(await isTrue())) {
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > limitMs) throw new Error(complaint());
    await new Promise((done) =>
      setTimeout(done, Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, waitedMs / 5))),
    );
  }
}
