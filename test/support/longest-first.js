import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Sequencer from '@jest/test-sequencer';

/**
 * Files that take longest, most of it waiting: a file that ends alone keeps the other workers idle. Jest knows durations
 * from its last run only, which a fresh clone lacks, and takes size for duration, which these contradict.
 */
const LONGEST = [
  'test/e2e/outage.spec.ts',
  'test/e2e/healing.spec.ts',
  'test/e2e/phases.spec.ts',
  'test/e2e/replicas.spec.ts',
  'test/e2e/cli.spec.ts',
  'test/e2e/crash-points.spec.ts',
  'test/e2e/chaos.spec.ts',
  'test/e2e/ledger.spec.ts',
  'test/e2e/agent-logs.spec.ts',
  'test/e2e/launch-storm.spec.ts',
  'test/e2e/lifecycle.spec.ts',
].map((path) => join(import.meta.dirname, '../..', path));

/** As Jest orders them, by failures and durations of its last run; without those, the longest come first. */
export default class LongestFirst extends Sequencer {
  async sort(tests) {
    const missing = LONGEST.filter((path) => !existsSync(path));
    if (missing.length > 0)
      throw new Error(`test/support/longest-first.js names files that are gone: ${missing.join()}`);
    const sorted = await super.sort(tests);
    if (sorted.every(({ duration }) => duration !== undefined)) return sorted;
    return sorted.toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}

function rankOf({ path }) {
  const index = LONGEST.indexOf(path);
  return index === -1 ? LONGEST.length : index;
}
