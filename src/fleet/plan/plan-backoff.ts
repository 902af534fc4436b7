const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/**
 * Milliseconds until the next try: exponential, full jitter, so that launches that failed together are not retried
 * together. Never less than a quarter of a second: each try costs a token.
 * @param tries that failed before
 * @param dice 0 … 1
 */
export function backoffMs(tries: number, dice: number): number {
  return Math.ceil(FIRST_MS / 2 + dice * Math.min(LONGEST_MS, FIRST_MS * 2 ** tries));
}
