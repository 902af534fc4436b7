import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { stampedAt } from '../../test/support/logs.js';
import type { Database } from '../database/database.js';
import { chunkKey, packChunk } from './chunk-objects.js';
import { goneText } from './gone-lines.js';
import { formatLine, type LogLine, mergeCounts } from './line-format.js';
import { isWanted, type LogFilter } from './log-filter.js';
import { LogReader } from './log-reader.js';
import { timeOf } from './stored-position.js';

const JOB = '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11';
const EVERYTHING: LogFilter = { fromDeployment: 1, toDeployment: null, attempt: null, stream: null, since: null };

beforeEach(() => {
  Logger.overrideLogger(false);
});
afterEach(() => {
  Logger.overrideLogger(true);
});

describe('the log of a job', () => {
  /** A few milliseconds, of which each has some nanoseconds: chunks begin and end within one. */
  const at = fc.record({ ms: fc.nat(4), ns: fc.constantFrom(0, 500) }).map(({ ms, ns }) => stampedAt(1, ms * 1e6 + ns));
  const line = fc.record({
    deployment: fc.integer({ min: 1, max: 3 }),
    attempt: fc.integer({ min: 1, max: 2 }),
    stream: fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'),
    at,
    text: fc.string({ maxLength: 5 }).map((text) => text.replaceAll('\n', ' ')),
  });
  const chunk = fc.record({
    lines: fc.array(line, { minLength: 1, maxLength: 6 }),
    place: fc.constantFrom<Place>('here', 'sealed'),
  });
  const filter = fc.record({
    fromDeployment: fc.integer({ min: 1, max: 3 }),
    toDeployment: fc.option(fc.integer({ min: 1, max: 3 })),
    attempt: fc.option(fc.integer({ min: 1, max: 2 })),
    stream: fc.option(fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr')),
    since: fc.option(at),
  });

  it('is read in the order of its lines, from any of them, wherever they are; what is gone is told of in its place', async () => {
    const some = fc.array(fc.record({ chunk, isGone: fc.boolean() }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(some, fc.nat(30), filter, fc.nat(60), async (chunks, before, wanted, cut) => {
        const log = new Log(before);
        const count = chunks.reduce((sum, { chunk: { lines } }) => sum + lines.length, 0);
        const from = Math.max(0, before - 1 + (cut % (count + 2)));
        const expected: [line: number, text: string][] = [];
        for (const { chunk: one, isGone } of chunks) {
          const first = log.lastLine + 1;
          await log.add(one.lines, isGone ? 'gone' : one.place);
          const found = one.lines.flatMap((each, index): [number, string][] =>
            first + index > from && isWanted(each, wanted) ? [[first + index, each.text]] : [],
          );
          if (!isGone) expected.push(...found);
          // Without its content only these two are known.
          else if (log.lastLine > from && mayHoldWanted(one.lines, wanted)) expected.push([log.lastLine, 'gone']);
        }
        const found = (await log.read(from, wanted)).map((each): [number, string] => [
          each.line,
          each.text.startsWith('[scheduler: ') ? 'gone' : each.text,
        ]);
        expect(found).toEqual(expected);
      }),
      { seed: 1 },
    );
  });

  it('is read from where the last of the lines that are wanted begin, as many as are asked for', async () => {
    const counts = fc.option(fc.nat(20));
    await fc.assert(
      fc.asyncProperty(fc.array(chunk, { maxLength: 12 }), filter, counts, async (chunks, wanted, count) => {
        const log = new Log();
        for (const { lines, place } of chunks) await log.add(lines, place);
        const { after, skip } = await log.reader.findStart(JOB, log.lastLine, wanted, count);
        const all = await log.read(0, wanted);
        const found = (await log.read(after, wanted)).slice(skip);
        expect(found).toEqual(count === null ? all : all.slice(Math.max(0, all.length - count)));
      }),
      { seed: 1 },
    );
  });

  it('is begun where it was when the reader came, not at what is printed meanwhile', async () => {
    const log = new Log();
    await log.add(linesOf(5), 'here');
    await log.add(linesOf(3), 'here');
    expect(await log.reader.findStart(JOB, 5, EVERYTHING, 2)).toEqual({ after: 0, skip: 3 });
    expect(await log.reader.findStart(JOB, 5, EVERYTHING, 0)).toEqual({ after: 5, skip: 0 });
  });

  it('is begun where it should be, although its chunks are sealed, or dropped, while that is looked for', async () => {
    const since = stampedAt(2);
    const wanted = { ...EVERYTHING, since };
    const log = new Log();
    for (let n = 0; n < 3; n += 1) await log.add(linesOf(4), 'here');
    log.afterIndex = () => log.join();
    const { after, skip } = await log.reader.findStart(JOB, log.lastLine, wanted, 5);
    expect((await log.read(after, wanted)).slice(skip).map(({ line: number }) => number)).toEqual([4, 7, 8, 11, 12]);
    log.afterIndex = () => Promise.resolve(void log.chunks.splice(0));
    await log.add(linesOf(4), 'here');
    expect(await log.reader.findStart(JOB, log.lastLine, wanted, 5)).toEqual({ after: log.lastLine, skip: 0 });
  });

  it('is looked through to its beginning, however many chunks it has', async () => {
    const log = new Log();
    for (let n = 0; n < 1_200; n += 1) await log.add(linesOf(1), 'here');
    expect(await log.reader.findStart(JOB, 1_200, EVERYTHING, 1_100)).toEqual({ after: 100, skip: 0 });
    expect(await log.reader.findStart(JOB, 1_200, EVERYTHING, null)).toEqual({ after: 0, skip: 0 });
  });

  it('comes five hundred lines at a time, each time with how far that is', async () => {
    const log = new Log();
    await log.add(linesOf(1_001), 'here');
    await log.add(linesOf(500), 'here');
    const { batches } = await log.reader.next(JOB, 0, EVERYTHING, null);
    const sizes: [lines: number, through: number][] = [];
    for await (const { lines, through } of batches) if (lines.length > 0) sizes.push([lines.length, through]);
    expect(sizes).toEqual([
      [500, 500],
      [500, 1_000],
      [1, 1_001],
      [500, 1_501],
    ]);
  });

  it('is over when what is followed has ended, or the job is gone; it is empty where nothing follows', async () => {
    const log = new Log();
    await log.add(linesOf(2), 'here');
    const next = async (after: number) => {
      const { isEmpty, isOver } = await log.reader.next(JOB, after, EVERYTHING, { deployment: 2, attempt: 1 });
      return { isEmpty, isOver };
    };
    expect([await next(0), await next(2)]).toEqual([
      { isEmpty: false, isOver: false },
      { isEmpty: true, isOver: false },
    ]);
    log.ended = [2, 1];
    expect(await next(2)).toEqual({ isEmpty: true, isOver: true });
    log.ended = [2, null];
    expect(await next(2)).toEqual({ isEmpty: true, isOver: false });
    log.isThere = false;
    expect(await next(2)).toEqual({ isEmpty: true, isOver: true });
  });

  it('says that its store is away, where it is needed, and not that lines are gone', async () => {
    const log = new Log();
    await log.add(linesOf(2), 'sealed');
    await log.add(linesOf(2), 'here');
    log.isStoreAway = true;
    await expect(log.read(0, EVERYTHING)).rejects.toMatchObject({
      code: 'unavailable',
      headers: { 'retry-after': '5' },
    });
    expect(await log.read(2, EVERYTHING)).toHaveLength(2);
    // Nor for what nobody wants of it.
    expect(await log.read(0, { ...EVERYTHING, fromDeployment: 2 })).toEqual([]);
    expect(await log.read(0, { ...EVERYTHING, since: stampedAt(9) })).toEqual([]);
  });

  it('is begun without a look into chunks that are older than what is wanted, or all of it, whatever the clock was between', async () => {
    const log = new Log();
    const [line] = linesOf(1);
    await log.add([{ ...line!, at: stampedAt(9) }], 'here');
    await log.add([{ ...line!, at: stampedAt(1) }], 'sealed');
    await log.add([{ ...line!, at: stampedAt(9) }], 'sealed');
    log.isStoreAway = true;
    const wanted = { ...EVERYTHING, since: stampedAt(5) };
    expect(await log.reader.findStart(JOB, 3, wanted, 2)).toEqual({ after: 0, skip: 0 });
    expect(await log.reader.findStart(JOB, 3, wanted, 1)).toEqual({ after: 2, skip: 0 });
  });

  it('tells how many lines are gone with an object that somebody deleted', async () => {
    const log = new Log();
    await log.add(linesOf(3), 'gone');
    expect((await log.read(1, EVERYTHING)).map(({ text }) => text)).toEqual([goneText(2)]);
  });
});

type Place = 'here' | 'sealed' | 'gone';
type Chunk = {
  firstLine: number;
  lastLine: number;
  firstAt: Date;
  lastAt: Date;
  counts: ReturnType<typeof mergeCounts>;
  bytes: number;
  content: Buffer | null;
};

/** The log of one job: the rows of its chunks, and the objects. */
class Log {
  readonly chunks: Chunk[] = [];
  readonly reader: LogReader;
  lastLine: number;
  isThere = true;
  isStoreAway = false;
  /** Deployment and attempt. */
  ended: [number, number | null] | undefined;
  afterIndex: () => Promise<unknown> = () => Promise.resolve();
  readonly #objects = new Map<string, Uint8Array>();

  /** @param before lines that were dropped */
  constructor(before = 0) {
    this.lastLine = before;
    const run = async ({ name }: { name: string }, values: readonly unknown[]) => {
      await Promise.resolve();
      if (name === 'logs-next') return this.#next(values as NextValues);
      const [, through, limit] = values as [string, number, number];
      const rows = this.chunks.filter(({ lastLine }) => lastLine <= through).toReversed();
      const found = rows.slice(0, limit).map((row) => this.#rowOf(row));
      await this.afterIndex();
      return found;
    };
    const get = (key: string) =>
      this.isStoreAway ? Promise.reject(new Error('SlowDown')) : Promise.resolve(this.#objects.get(key));
    const rest = { put: () => Promise.resolve(), delete: () => Promise.resolve(), list: async function* () {} };
    this.reader = new LogReader({ run } as unknown as Database, { ...rest, get });
  }

  async add(lines: readonly LogLine[], place: Place): Promise<void> {
    const content = Buffer.from(lines.map(formatLine).join(''));
    const times = lines.map(({ at }) => timeOf(at));
    const counts = lines.map(({ deployment, attempt, stream }) => ({
      [`${deployment}.${attempt}`]: stream === 'stdout' ? ([1, 0] as const) : ([0, 1] as const),
    }));
    const range = { firstLine: this.lastLine + 1, lastLine: this.lastLine + lines.length };
    const [firstAt, lastAt] = [new Date(Math.min(...times)), new Date(Math.max(...times))];
    const row = { ...range, firstAt, lastAt, counts: mergeCounts(counts), bytes: content.length };
    this.chunks.push({ ...row, content: place === 'here' ? content : null });
    if (place === 'sealed') this.#objects.set(chunkKey({ jobId: JOB, ...range }), await packChunk(content));
    this.lastLine = range.lastLine;
  }

  /** All chunks, which are still here, become one object. */
  async join(): Promise<void> {
    const all = this.chunks.splice(0);
    const lines = Buffer.concat(all.map(({ content }) => content!));
    const [first, last] = [all[0]!, all.at(-1)!];
    const range = { firstLine: first.firstLine, lastLine: last.lastLine };
    this.chunks.push({
      ...last,
      ...range,
      firstAt: first.firstAt,
      counts: mergeCounts(all.map((one) => one.counts)),
      content: null,
    });
    this.#objects.set(chunkKey({ jobId: JOB, ...range }), await packChunk(lines));
    this.afterIndex = () => Promise.resolve();
  }

  async read(from: number, filter: LogFilter) {
    const found: { line: number; text: string }[] = [];
    let after = from;
    for (;;) {
      const { batches, isEmpty } = await this.reader.next(JOB, after, filter, null);
      if (isEmpty) return found;
      for await (const { lines, through } of batches) {
        expect(through).toBeGreaterThanOrEqual(after);
        found.push(...lines.map(({ line, text }) => ({ line, text })));
        after = through;
      }
    }
  }

  #next([, after, limit, deployment, attempt, bytes]: NextValues): unknown[] {
    if (!this.isThere) return [];
    const isOver = this.ended !== undefined && this.ended[0] === deployment && this.ended[1] === attempt;
    const rows = this.chunks.filter(({ lastLine }) => lastLine > after).slice(0, limit);
    let before = 0;
    const found = rows.filter((row) => (before += row.bytes) - row.bytes < bytes);
    if (found.length === 0) return [{ jobId: null, isOver }];
    return found.map((row) => ({ ...this.#rowOf(row), isOver }));
  }

  #rowOf({ firstLine, lastLine, ...row }: Chunk): object {
    // A bigint of Postgres comes as text.
    return { ...row, jobId: JOB, firstLine: String(firstLine), lastLine: String(lastLine) };
  }
}

type NextValues = [string, number, number, number | null, number | null, number];

/** Of one attempt, a second each, over and over: 1, 2, 3, 1, 2, … */
function linesOf(count: number): LogLine[] {
  return Array.from({ length: count }, (_, n) => ({
    deployment: 1,
    attempt: 1,
    stream: 'stdout',
    at: stampedAt(n % 4),
    text: `line ${n}`,
  }));
}

function mayHoldWanted(lines: readonly LogLine[], { since, ...filter }: LogFilter): boolean {
  const latest = Math.max(...lines.map(({ at }) => timeOf(at)));
  return (
    lines.some((line) => isWanted(line, { ...filter, since: null })) && (since === null || latest >= timeOf(since))
  );
}
