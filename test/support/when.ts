import { describe, it } from '@jest/globals';

/** `describe`, or with the reason in its name `describe.skip`: SkipReporter lists these at the end of a run. */
export function describeWhen(isPossible: boolean, reason: string, name: string, tests: () => void): void {
  if (isPossible) describe(name, tests);
  else describe.skip(`${name} (skipped: ${reason})`, tests);
}

/** `it`, in the same way. */
export function itWhen(
  isPossible: boolean,
  reason: string,
  name: string,
  test: () => Promise<void>,
  ms?: number,
): void {
  if (isPossible) it(name, test, ms);
  else it.skip(`${name} (skipped: ${reason})`, test, ms);
}
