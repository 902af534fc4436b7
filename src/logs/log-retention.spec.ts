import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Database } from '../database/database.js';
import { chunkKey } from './chunk-objects.js';
import { LogRetention } from './log-retention.js';

type Chunk = { readonly lastLine: number; readonly isRecent: boolean };
/** Of a job whose log is too long, the number of the latest line to drop; null = it is not any more. */
type Job = { isGone: boolean; through: number | null; chunks: Chunk[]; bytesOf: number; pauseSeconds?: number };

let jobs: Map<string, Job>;
let objects: Set<string>;
let isStoreAway: boolean;
/** How often the store was asked, and how many pages of names it gave. */
let asked: number;
let pages: number;
/** A job whose rows the database does not change. */
let fails: string | undefined;
let retention: LogRetention;
beforeEach(() => {
  [jobs, objects, isStoreAway, asked, pages, fails] = [new Map<string, Job>(), new Set(), false, 0, 0, undefined];
  const store = {
    list: async function* (prefix: string) {
      await Promise.resolve();
      asked += 1;
      if (isStoreAway) throw new Error('SlowDown');
      const keys = [...objects].filter((key) => key.startsWith(prefix)).toSorted();
      for (let at = 0; at < keys.length; at += 2) {
        pages += 1;
        yield keys.slice(at, at + 2);
      }
    },
    delete: async (keys: readonly string[]) => {
      await Promise.resolve();
      for (const key of keys) objects.delete(key);
    },
  };
  retention = new LogRetention(database(), store, { maxBytes: 1_000, retentionDays: 14 }, 30);
});

describe('what is too old or too much of a log', () => {
  it('goes, rows and objects with it, and nothing else; the job is looked at again in a minute', async () => {
    add('a', { through: 300 }, 400);
    add('b', { through: 100 }, 200);
    expect(await retention.run()).toStrictEqual({ jobs: 2, failed: 0, hasMore: false });
    expect([lastLines('a'), linesOfObjects('a')]).toEqual([[400], [400]]);
    // What its row says of the chunks was counted again.
    for (const job of ['a', 'b']) expect(jobs.get(job)).toMatchObject({ pauseSeconds: 60, bytesOf: 1 });
  });

  it('is looked for among the objects no further than it reaches', async () => {
    add('a', { through: 100 }, 600);
    await retention.run();
    expect([linesOfObjects('a'), pages]).toEqual([[200, 300, 400], 1]);
  });

  it('is nothing where nothing is too old any more', async () => {
    add('a', { through: null }, 200);
    jobs.get('a')!.chunks.unshift({ lastLine: 1, isRecent: false });
    expect(await retention.run()).toEqual({ jobs: 1, failed: 0, hasMore: false });
    expect([lastLines('a'), linesOfObjects('a')]).toEqual([
      [1, 100, 200],
      [100, 200],
    ]);
    expect(jobs.get('a')).toMatchObject({ pauseSeconds: 60, bytesOf: 0 });
  });

  it('is all of a job that was deleted long ago, with objects that no row names, and what is no chunk', async () => {
    add('a', { isGone: true }, 1_200);
    objects.add(chunkKey({ jobId: 'a', firstLine: 9_000, lastLine: 9_100 })).add('a/readme.txt');
    add('ab', { through: 0 }, 100);
    await retention.run();
    expect([[...jobs.keys()], [...objects]]).toEqual([['ab'], [keyOf('ab', 100)]]);
  });

  it('is all there is of it, however many rows that are', async () => {
    add('a', { through: 1_000_000 });
    jobs.get('a')!.chunks = Array.from({ length: 2_000 }, (_, n) => ({ lastLine: n + 1, isRecent: n >= 1_000 }));
    await retention.run();
    expect(lastLines('a')).toEqual([]);
  });

  it('goes from the database while the store is away, not what names an object; the store is asked once a run', async () => {
    for (const job of ['a', 'b', 'c']) add(job, { through: 300 }, 300);
    for (const { chunks } of jobs.values()) chunks[2] = { lastLine: 300, isRecent: true };
    isStoreAway = true;
    expect(await retention.run()).toEqual({ jobs: 0, failed: 3, error: new Error('SlowDown'), hasMore: false });
    expect([lastLines('a'), lastLines('b'), lastLines('c'), asked]).toEqual([[100, 200], [100, 200], [100, 200], 1]);
    expect([...jobs.values()].map(({ pauseSeconds }) => pauseSeconds)).toEqual([undefined, undefined, undefined]);
    isStoreAway = false;
    expect(await retention.run()).toEqual({ jobs: 3, failed: 0, hasMore: false });
    expect([lastLines('a'), lastLines('b'), lastLines('c')]).toEqual([[], [], []]);
  });

  it('goes of other jobs where the database refuses one, and the store is none the worse for it', async () => {
    for (const job of ['a', 'b', 'c']) add(job, { through: 300 }, 300);
    fails = 'b';
    expect(await retention.run()).toEqual({
      jobs: 2,
      failed: 1,
      error: new Error('deadlock detected'),
      hasMore: false,
    });
    expect([lastLines('a'), lastLines('b'), lastLines('c')]).toEqual([[], [100, 200, 300], []]);
  });

  it.each([
    [99, undefined, false],
    [100, undefined, true],
    [100, 'job-7', false],
  ])('goes on at once where there may be more: %s jobs, %s fails: %s', async (count, failing, hasMore) => {
    for (let n = 0; n < count; n += 1) add(`job-${n}`, { through: 100 }, 200);
    fails = failing;
    expect(await retention.run()).toMatchObject({ hasMore });
  });
});

/** A row and an object for each hundred lines. */
function add(jobId: string, job: Partial<Job>, lines = 0): void {
  const ends = Array.from({ length: lines / 100 }, (_, n) => (n + 1) * 100);
  const chunks = ends.map((lastLine) => ({ lastLine, isRecent: false }));
  jobs.set(jobId, { isGone: false, through: null, bytesOf: 0, chunks, ...job });
  for (const end of ends) objects.add(keyOf(jobId, end));
}

function keyOf(jobId: string, lastLine: number): string {
  return chunkKey({ jobId, firstLine: lastLine - 99, lastLine });
}

function lastLines(jobId: string): number[] {
  return jobs.get(jobId)!.chunks.map(({ lastLine }) => lastLine);
}

function linesOfObjects(jobId: string): number[] {
  return [100, 200, 300, 400].filter((end) => objects.has(keyOf(jobId, end)));
}

/** Postgres, as far as it is asked here. */
function database(): Database {
  const held = new Set<string>();
  const run = async ({ name }: { name: string }, values: readonly unknown[]): Promise<unknown[]> => {
    await Promise.resolve();
    if (name === 'logs-overdue') {
      expect(values.slice(0, 3)).toEqual([1_000, 14, 30]);
      const found = [...jobs].filter(([, { pauseSeconds }]) => pauseSeconds === undefined);
      return found.slice(0, values[3] as number).map(([jobId, { isGone }]) => ({ jobId, isGone }));
    }
    const [jobId, through, isRecent, most] = values as [string, number, boolean, number];
    const job = jobs.get(jobId)!;
    if (name === 'logs-horizon') return [{ through: job.through === null ? null : `${job.through}` }];
    if (name === 'logs-hold') held.add(jobId);
    if (name === 'logs-hold' && jobId === fails) throw new Error('deadlock detected');
    if (name === 'logs-recount') job.bytesOf = job.chunks.length;
    if (name === 'logs-done') job.pauseSeconds = values[1] as number;
    if (name === 'logs-forget') jobs.delete(jobId);
    if (name !== 'logs-drop') return [];
    // Of a job whose row nobody holds no row is to go.
    expect(held.has(jobId)).toBe(true);
    const due = job.chunks.filter((chunk) => chunk.lastLine <= through && chunk.isRecent === isRecent).slice(0, most);
    job.chunks = job.chunks.filter((chunk) => !due.includes(chunk));
    return due;
  };
  const transaction = async (work: (transaction: object) => Promise<unknown>) => {
    const result = await work({ run });
    held.clear();
    return result;
  };
  return { run, transaction } as unknown as Database;
}
