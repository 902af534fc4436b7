import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { EventLog, WINDOW } from '../../test/support/event-log.js';
import { type EventFilter, fits, gapOf, readBackward, readForward, readLastPosition } from './read-events.js';
import type { EventResponse } from './event.schema.js';

const ALL: EventFilter = { job: null, deployment: null, types: null, scope: null };

describe('reading events', () => {
  const filters = fc.record({
    job: fc.constantFrom(null, null, 'team-a-web', 'team-b-web'),
    deployment: fc.constantFrom(null, null, 1),
    types: fc.constantFrom(null, ['job.created'], ['job.created', 'job.deleted']),
    scope: fc.constantFrom(null, ['team-a-'], ['team-b-', 'other']),
  });
  const entries = fc.array(
    fc.record({
      gap: fc.constantFrom(1, 1, 1, 2, WINDOW - 1, WINDOW, WINDOW + 1),
      job: fc.constantFrom(null, 'team-a-web', 'team-b-web'),
      deployment: fc.constantFrom(null, 1, 2),
      type: fc.constantFrom('job.created', 'job.deleted', 'job.changed'),
    }),
    { maxLength: 30 },
  );

  it('page by page finds each that fits, once and in order, in both directions, from anywhere, and then the end', async () => {
    await fc.assert(
      fc.asyncProperty(
        entries,
        filters,
        fc.integer({ min: 1, max: 5 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (all, filter, limit, deleted, from) => {
          const log = new EventLog();
          const written: EventResponse[] = [];
          for (const { gap, ...entry } of all) {
            log.appendAt(log.last + gap, entry);
            written.push({ position: log.last, ...entry } as EventResponse);
          }
          log.deleteThrough(Math.floor(deleted * log.last));
          const start = Math.floor(from * (log.last + 1));
          const wanted = written.filter((event) => event.position > log.deletedThrough && fits(event, filter));
          const positions = wanted.map(({ position }) => position);

          const ahead = (at: number | null, count: number) => readForward(log.database, filter, at ?? 0, count);
          expect(await readAll(limit, start, ahead)).toEqual(positions.filter((position) => position > start));
          const back = (at: number | null, count: number) => readBackward(log.database, filter, at, count);
          expect(await readAll(limit, null, back)).toEqual(positions.toReversed());
          const before = positions.filter((position) => position < start).toReversed();
          expect(await readAll(limit, start, back)).toEqual(before);
        },
      ),
      { numRuns: 150 },
    );
  });

  /** Each page goes on where the one before has ended, and no more are read than have to be. */
  async function readAll(
    limit: number,
    start: number | null,
    read: (from: number | null, limit: number) => ReturnType<typeof readForward>,
  ): Promise<number[]> {
    const found: number[] = [];
    let from = start;
    for (let pages = 0; ; pages += 1) {
      expect(pages).toBeLessThan(100);
      const { events, reached, isAtEnd } = await read(from, limit);
      found.push(...events.map(({ position }) => position));
      expect(events.length).toBeLessThanOrEqual(limit);
      if (isAtEnd) return found;
      expect(reached).not.toBe(from);
      from = reached;
    }
  }

  it('knows the end with the last page, full or not', async () => {
    const log = new EventLog();
    log.append(4);
    expect(await readForward(log.database, ALL, 0, 4)).toMatchObject({ reached: 4, isAtEnd: true });
    expect(await readForward(log.database, ALL, 0, 5)).toMatchObject({ reached: 4, isAtEnd: true });
    expect(await readForward(log.database, ALL, 0, 3)).toMatchObject({ reached: 3, isAtEnd: false });
    expect(await readBackward(log.database, ALL, null, 4)).toMatchObject({ reached: 1, isAtEnd: true });
    expect(await readBackward(log.database, ALL, null, 5)).toMatchObject({ reached: 1, isAtEnd: true });
    expect(await readBackward(log.database, ALL, null, 3)).toMatchObject({ reached: 2, isAtEnd: false });
    log.deleteThrough(1);
    expect(await readBackward(log.database, ALL, null, 3)).toMatchObject({ reached: 2, isAtEnd: true });
  });

  it('of one job goes through all positions at once, of all jobs through so many a statement', async () => {
    const log = new EventLog();
    log.appendAt(3 * WINDOW);
    const web = { ...ALL, job: 'web' };
    expect(await readForward(log.database, web, 5, 10)).toMatchObject({ reached: 3 * WINDOW, isAtEnd: true });
    expect(await readBackward(log.database, web, null, 10)).toMatchObject({ reached: 1, isAtEnd: true });
    const rare = { ...ALL, types: ['job.deleted'] };
    expect(await readForward(log.database, rare, 5, 10)).toMatchObject({ reached: WINDOW + 5, isAtEnd: false });
    const backward = await readBackward(log.database, rare, null, 10);
    expect(backward).toMatchObject({ reached: 2 * WINDOW + 1, isAtEnd: false });
    log.deleteThrough(100);
    expect(await readForward(log.database, rare, 5, 10)).toMatchObject({ reached: WINDOW + 100 });
  });

  it('tells of a gap going forward, and of none going backward', async () => {
    const log = new EventLog();
    log.append(9);
    log.deleteThrough(4);
    const gap = { reason: 'too-old', after: 3, resumesAfter: 4 };
    expect(await readForward(log.database, ALL, 3, 2)).toMatchObject({ gap, reached: 6 });
    expect(await readForward(log.database, ALL, 4, 2)).toMatchObject({ gap: null });
    expect(await readBackward(log.database, ALL, 3, 2)).toMatchObject({ events: [], gap: null, isAtEnd: true });
  });

  it('says that a migration is missing where the positions have no row', async () => {
    const empty = { run: () => Promise.resolve([]), query: () => Promise.resolve([]) };
    await expect(readForward(empty, ALL, 0, 1)).rejects.toThrow(/migration/);
    expect(await readLastPosition(empty)).toBe(0);
  });
});

describe('the gap of a client', () => {
  it.each([
    [0, 9, 0, null],
    [9, 9, 0, null],
    [10, 9, 0, { reason: 'beyond-the-end', after: 10, resumesAfter: 9 }],
    [4, 9, 4, null],
    [3, 9, 4, { reason: 'too-old', after: 3, resumesAfter: 4 }],
  ])('that has read to %i of %i, deleted through %i, is %j', (after, last, deletedThrough, gap) => {
    expect(gapOf(after, last, deletedThrough)).toEqual(gap);
  });
});

describe('an event', () => {
  const event = { job: 'team-a-web', deployment: 3, type: 'job.created' } as EventResponse;

  it.each<[Partial<EventFilter>, boolean]>([
    [{}, true],
    [{ job: 'team-a-web', deployment: 3, types: ['job.deleted', 'job.created'], scope: ['x', 'team-a-'] }, true],
    [{ job: 'team-a' }, false],
    [{ deployment: 4 }, false],
    [{ types: ['job.deleted'] }, false],
    [{ types: [] }, false],
    [{ scope: ['team-b-'] }, false],
    [{ scope: [] }, false],
  ])('fits %j: %j', (filter, expected) => {
    expect(fits(event, { ...ALL, ...filter })).toBe(expected);
  });

  it('of no job is for no scope', () => {
    const ofNone = { ...event, job: null };
    expect(fits(ofNone, { ...ALL, scope: [''] })).toBe(false);
    expect(fits(ofNone, ALL)).toBe(true);
  });
});
