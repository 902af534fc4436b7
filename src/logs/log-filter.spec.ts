import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { LogLine } from './line-format.js';
import { countWanted, isWanted, type LogFilter } from './log-filter.js';

const EVERYTHING: LogFilter = { fromDeployment: 1, toDeployment: null, attempt: null, stream: null, since: null };
const AT = '2026-05-04T10:00:00.000000500Z';
const LINES = [1, 2, 3, 4].flatMap((deployment) =>
  [1, 2].flatMap((attempt) =>
    (['stdout', 'stderr'] as const).map((stream): LogLine => ({ deployment, attempt, stream, at: AT, text: '' })),
  ),
);

describe('the lines of a log that are wanted', () => {
  it.each<[string, Partial<LogFilter>, (line: LogLine) => boolean]>([
    ['everything', {}, () => true],
    ['deployments from one on', { fromDeployment: 2 }, ({ deployment }) => [2, 3, 4].includes(deployment)],
    ['some deployments', { fromDeployment: 2, toDeployment: 3 }, ({ deployment }) => [2, 3].includes(deployment)],
    ['one', { fromDeployment: 3, toDeployment: 3 }, ({ deployment }) => deployment === 3],
    ['an attempt of each', { attempt: 2 }, ({ attempt }) => attempt === 2],
    ['the output', { stream: 'stdout' }, ({ stream }) => stream === 'stdout'],
    ['the errors', { stream: 'stderr' }, ({ stream }) => stream === 'stderr'],
    ['what was printed since then', { since: AT }, () => true],
    ['what was printed a nanosecond later', { since: AT.replace('500Z', '501Z') }, () => false],
  ])('are those of %s', (_what, filter, isExpected) => {
    expect(LINES.filter((line) => isWanted(line, { ...EVERYTHING, ...filter }))).toEqual(LINES.filter(isExpected));
  });

  it('are counted as they are found, whenever they were printed', () => {
    const some = fc.array(fc.constantFrom(...LINES), { maxLength: 60 });
    const filters = fc.record({
      fromDeployment: fc.integer({ min: 1, max: 5 }),
      toDeployment: fc.option(fc.integer({ min: 1, max: 5 })),
      attempt: fc.option(fc.integer({ min: 1, max: 3 })),
      stream: fc.option(fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr')),
    });
    fc.assert(
      fc.property(some, filters, (lines, filter) => {
        const counts: Record<string, [number, number]> = {};
        for (const { deployment, attempt, stream } of lines) {
          const count = (counts[`${deployment}.${attempt}`] ??= [0, 0]);
          count[stream === 'stdout' ? 0 : 1] += 1;
        }
        const wanted = lines.filter((line) => isWanted(line, { ...filter, since: null })).length;
        expect(countWanted(counts, { ...filter, since: null })).toBe(wanted);
        expect(countWanted(counts, { ...filter, since: '2027-01-01T00:00:00.000000000Z' })).toBe(wanted);
      }),
      { seed: 1 },
    );
  });
});
