import { describe, expect, it } from '@jest/globals';
import { goneLines } from './gone-lines.js';

const EVERYTHING = { fromDeployment: 1, toDeployment: null, attempt: null, stream: null, since: null };
const CHUNK = {
  jobId: 'j',
  firstLine: 101,
  lastLine: 200,
  firstAtMs: Date.parse('2026-05-04T09:00:00Z'),
  lastAtMs: Date.parse('2026-05-04T10:00:00Z'),
  counts: { '1.1': [10, 5], '1.2': [60, 20], '2.1': [4, 1] } as const,
};

describe('lines that are gone', () => {
  it.each([
    ['all of them', {}, 100, { deployment: 2, attempt: 1, stream: 'stderr' }],
    ['of a deployment', { toDeployment: 1 }, 95, { deployment: 1, attempt: 2, stream: 'stderr' }],
    ['of an attempt', { attempt: 2 }, 80, { deployment: 1, attempt: 2, stream: 'stderr' }],
    ['of a stream', { stream: 'stdout' as const }, 74, { deployment: 2, attempt: 1, stream: 'stdout' }],
  ])('are told in one line that whoever asks for %s wants', (_, filter, gone, place) => {
    const batch = goneLines(CHUNK, 0, { ...EVERYTHING, ...filter });
    expect(batch).toMatchObject({ through: 200, gone });
    expect(batch.lines).toEqual([
      {
        line: 200,
        ...place,
        at: '2026-05-04T10:00:00.000000000Z',
        text: `[scheduler: ${gone} lines are missing here, somebody deleted the object of LOGS_URI that held them]`,
      },
    ]);
  });

  it('are of the latest attempt that has one, if it is a single one', () => {
    const counts = { '1.1': [98, 0], '2.1': [1, 0], '3.1': [0, 1] } as const;
    const [line] = goneLines({ ...CHUNK, counts }, 0, { ...EVERYTHING, stream: 'stdout' }).lines;
    expect(line).toMatchObject({ deployment: 2, attempt: 1, stream: 'stdout' });
  });

  it('are no more than those behind where it is read on from', () => {
    expect(goneLines(CHUNK, 199, EVERYTHING).lines[0]?.text).toMatch(/: a line is missing here,.* held it\]$/);
    expect(goneLines(CHUNK, 150, EVERYTHING).gone).toBe(50);
  });

  it('count as the line that tells of them where a time cuts the chunk in two', () => {
    expect(goneLines(CHUNK, 0, { ...EVERYTHING, since: '2026-05-04T09:30:00.000000000Z' }).gone).toBe(1);
    // Of the lines of its first millisecond some may have been printed before.
    expect(goneLines(CHUNK, 0, { ...EVERYTHING, since: '2026-05-04T09:00:00.000000001Z' }).gone).toBe(1);
    expect(goneLines(CHUNK, 0, { ...EVERYTHING, since: '2026-05-04T08:59:59.999999999Z' }).gone).toBe(100);
  });
});
