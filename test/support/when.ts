import { describe } from '@jest/globals';

/** `describe`, or with the reason in its name `describe.skip`: SkipReporter lists these at the end of a run. */
export function describeWhen(isPossible: boolean, reason: string, name: string, tests: () => void): void {
  if (isPossible) describe(name, tests);
  else describe.skip(`${name} (skipped: ${reason})`, tests);
}
