import { setImmediate as othersTurn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import type { Database } from '../database/database.js';
import { chunkKey, unpackChunk } from './chunk-objects.js';
import { Sealer, sealings } from './sealer.js';

/** Of a job that failed: until it is tried again. */
const PAUSE_SECONDS = 15;

describe('a run of the sealer', () => {
  it('makes one object of the lines of each job, and one row that tells of all of them', async () => {
    const [rows, store] = [new Rows(), new Store()];
    rows.add('a', { lines: 3, at: [20, 30], storedAt: 100, counts: { '1.1': [3, 0] } });
    rows.add('a', { lines: 2, at: [10, 25], storedAt: 90, counts: { '1.1': [0, 1], '2.1': [1, 0] } });
    rows.add('b', { lines: 1 });
    const told: object[] = [];
    const leave = sealings.subscribe((facts) => told.push(facts));
    expect(await new Sealer(rows.connect(), store).run()).toEqual({ sealed: 2, failed: 0, pauseMs: 5_000 });
    expect(await new Sealer(rows.connect(), store).run()).toEqual({ sealed: 0, failed: 0, pauseMs: 5_000 });
    rows.add('c', { lines: 1 });
    await new Sealer(rows.connect(), store).run();
    leave();
    expect(rows.chunks.get('a')).toEqual([
      {
        firstLine: 1,
        lastLine: 5,
        bytes: 20,
        firstAt: new Date(10),
        lastAt: new Date(30),
        storedAt: new Date(90),
        counts: { '1.1': [3, 1], '2.1': [1, 0] },
        content: null,
      },
    ]);
    expect(await store.textOf('a', 1, 5)).toBe('a1\na2\na3\na4\na5\n');
    expect(await store.textOf('b', 1, 1)).toBe('b1\n');
    // Jobs are sealed beside each other: which is ready first is left open.
    expect(rows.pauses).toEqual(new Map(Object.entries({ a: 0, b: 0, c: 0 })));
    // What the rows of the jobs say of them was counted again.
    expect(rows.counted).toEqual(new Map(Object.entries({ a: 0, b: 0, c: 0 })));
    // Runs that had nothing to do are not worth telling.
    expect(told).toEqual([
      { sealed: 2, failed: 0 },
      { sealed: 1, failed: 0 },
    ]);
  });

  it('joins small rows in the database where it is not time for an object', async () => {
    const [rows, store] = [new Rows(), new Store()];
    rows.isDue = false;
    for (let n = 0; n < 16; n += 1) rows.add('a', { lines: 1 });
    expect(await new Sealer(rows.connect(), store).run()).toMatchObject({ sealed: 0, failed: 0 });
    expect([rows.contentsOf('a'), store.objects.size]).toEqual([
      [Array.from({ length: 16 }, (_, n) => `a${n + 1}\n`).join('')],
      0,
    ]);
  });

  it('seals four jobs at once, and goes on at once where there may be more than it took', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (let n = 0; n < 40; n += 1) rows.add(`job-${n}`, { lines: 1 });
    const sealer = new Sealer(rows.connect(), store);
    expect(await sealer.run()).toEqual({ sealed: 32, failed: 0, pauseMs: 0 });
    expect(await sealer.run()).toEqual({ sealed: 8, failed: 0, pauseMs: 5_000 });
    expect(store.mostAtOnce).toBe(4);
  });

  it('tries no more of them once the store refuses one, leaves the others to be tried, and says why', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (let n = 0; n < 10; n += 1) rows.add(`job-${n}`, { lines: 1 });
    store.refusal = new Error('AccessDenied');
    const { pauseMs, ...outcome } = await new Sealer(rows.connect(), store).run();
    expect(outcome).toEqual({ sealed: 0, failed: 4, error: store.refusal });
    expect(pauseMs).toBe(15_000);
    const pauses = [...rows.pauses.values()].toSorted((a, b) => a - b);
    expect(pauses).toEqual([...Array<number>(6).fill(0), ...Array<number>(4).fill(PAUSE_SECONDS)]);
    expect([...rows.chunks.keys()].flatMap((jobId) => rows.contentsOf(jobId))).toHaveLength(10);
  });

  it('tries one object, with growing pauses, until the store accepts one; then it goes on at once', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (let n = 0; n < 6; n += 1) rows.add(`job-${n}`, { lines: 1 });
    const sealer = new Sealer(rows.connect(), store);
    const run = async () => {
      const { sealed, failed, pauseMs } = await sealer.run();
      return [sealed, failed, pauseMs / 1000];
    };
    store.refusal = new Error('SlowDown');
    expect(await run()).toEqual([0, 4, 15]);
    expect(await run()).toEqual([0, 1, 30]);
    expect(await run()).toEqual([0, 1, 60]);
    // A run in which no job is due says nothing of the store.
    rows.areDue = false;
    expect(await run()).toEqual([0, 0, 5]);
    rows.areDue = true;
    expect(await run()).toEqual([0, 1, 120]);
    store.refusal = undefined;
    expect(await run()).toEqual([1, 0, 0]);
    expect(await run()).toEqual([5, 0, 5]);
  });

  it('begins with the pauses anew once the store has accepted one', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (let n = 0; n < 4; n += 1) rows.add(`job-${n}`, { lines: 1 });
    const sealer = new Sealer(rows.connect(), store);
    store.refusal = new Error('SlowDown');
    await sealer.run();
    expect(await sealer.run()).toMatchObject({ pauseMs: 30_000 });
    store.refusal = undefined;
    expect(await sealer.run()).toMatchObject({ sealed: 1, pauseMs: 0 });
    store.accepts = (key) => key.startsWith('job-1/');
    expect(await sealer.run()).toMatchObject({ sealed: 1, failed: 2, pauseMs: 15_000 });
    expect(await sealer.run()).toMatchObject({ sealed: 0, failed: 1, pauseMs: 30_000 });
  });

  it('goes on with other jobs where the database refuses one, and pauses only that one', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (const job of ['a', 'b', 'c', 'd', 'e', 'f']) rows.add(job, { lines: 1 });
    rows.fails = 'b';
    const sealer = new Sealer(rows.connect(), store);
    expect(await sealer.run()).toEqual({ sealed: 5, failed: 1, error: new Error('deadlock detected'), pauseMs: 5_000 });
    expect(Object.fromEntries(rows.pauses)).toEqual({ a: 0, b: PAUSE_SECONDS, c: 0, d: 0, e: 0, f: 0 });
    // The store refused nothing: the next run takes all there is.
    for (const job of ['a', 'c']) rows.add(job, { lines: 1 });
    rows.fails = undefined;
    expect(await sealer.run()).toEqual({ sealed: 3, failed: 0, pauseMs: 5_000 });
  });

  it('goes on at once after no failure, however many jobs it took', async () => {
    const [rows, store] = [new Rows(), new Store()];
    for (let n = 0; n < 32; n += 1) rows.add(`job-${n}`, { lines: 1 });
    rows.fails = 'job-5';
    expect(await new Sealer(rows.connect(), store).run()).toMatchObject({ sealed: 31, failed: 1, pauseMs: 5_000 });
  });

  it('leaves alone what was changed while it read it, and fails where that was later', async () => {
    for (const [statement, failed] of [
      ['logs-contents', 0],
      ['logs-take-out', 1],
    ] as const) {
      const [rows, store] = [new Rows(), new Store()];
      rows.add('a', { lines: 2 });
      rows.add('a', { lines: 2 });
      rows.before = (name) => name === statement && void rows.chunks.get('a')!.shift();
      expect(await new Sealer(rows.connect(), store).run()).toMatchObject({ failed });
      expect(rows.contentsOf('a')).toEqual(['a3\na4\n']);
      expect(store.objects.size).toBe(failed);
    }
  });
});

type Chunk = {
  firstLine: number;
  lastLine: number;
  bytes: number;
  firstAt: Date;
  lastAt: Date;
  storedAt: Date;
  counts: object;
  content: Buffer | null;
};
type PutIn = [string, number, number, number, Date, Date, string, Buffer | null, Date];

/** The rows of chunks, by job; each job that has some is claimed. A line has four bytes to every job. */
class Rows {
  readonly chunks = new Map<string, Chunk[]>();
  /** For how many seconds nobody is to try a job. */
  readonly pauses = new Map<string, number>();
  /** Recent chunks of each job, as they were counted last. */
  readonly counted = new Map<string, number>();
  isDue = true;
  areDue = true;
  /** A job whose rows the database does not change. */
  fails: string | undefined;
  before: (statement: string) => unknown = () => undefined;

  add(
    jobId: string,
    {
      lines,
      at = [0, 0],
      storedAt = 0,
      counts = {},
    }: { lines: number; at?: number[]; storedAt?: number; counts?: object },
  ): void {
    const own = this.chunks.get(jobId) ?? [];
    const before = own.at(-1)?.lastLine ?? 0;
    const texts = Array.from({ length: lines }, (_, n) => `${jobId}${before + n + 1}\n`);
    this.chunks.set(jobId, [
      ...own,
      {
        firstLine: before + 1,
        lastLine: before + lines,
        bytes: 4 * lines,
        firstAt: new Date(at[0]!),
        lastAt: new Date(at[1]!),
        storedAt: new Date(storedAt),
        counts,
        content: Buffer.from(texts.join('')),
      },
    ]);
  }

  contentsOf(jobId: string): string[] {
    return this.chunks.get(jobId)!.flatMap(({ content }) => content?.toString() ?? []);
  }

  connect(): Database {
    const run = async ({ name }: { name: string }, values: readonly unknown[]) => {
      await othersTurn();
      this.before(name);
      return this.#run(name, values);
    };
    // What fails changes nothing.
    const transaction = async (work: (transaction: object) => Promise<unknown>) => {
      const before = new Map(this.chunks);
      try {
        return await work({ run });
      } catch (error) {
        for (const [jobId, chunks] of before) this.chunks.set(jobId, chunks);
        throw error;
      }
    };
    return { run, transaction } as unknown as Database;
  }

  #run(name: string, values: readonly unknown[]): unknown[] {
    const [jobId, some] = values as [string, readonly number[]];
    if (name === 'logs-claim') {
      const due = [...(this.areDue ? this.chunks : [])].filter(([, chunks]) => chunks.some(({ content }) => content));
      return due.slice(0, values[4] as number).map(([job]) => ({ jobId: job, isDue: this.isDue }));
    }
    const own = this.chunks.get(jobId) ?? [];
    const recent = own.filter(({ content }) => content);
    const named = recent.filter(({ lastLine }) => (some as unknown) instanceof Array && some.includes(lastLine));
    if (name === 'logs-release') this.pauses.set(jobId, values[1] as number);
    if (name === 'logs-recent')
      return recent.map((row) => ({ ...row, firstLine: `${row.firstLine}`, lastLine: `${row.lastLine}` }));
    if (name === 'logs-contents') return named;
    if (name === 'logs-recount') this.counted.set(jobId, recent.length);
    if (name === 'logs-hold' && jobId === this.fails) throw new Error('deadlock detected');
    if (name === 'logs-put-in') this.#putIn(values as PutIn);
    if (name !== 'logs-take-out') return [];
    this.chunks.set(
      jobId,
      own.filter((row) => !named.includes(row)),
    );
    return named;
  }

  #putIn([jobId, firstLine, lastLine, bytes, firstAt, lastAt, counts, content, storedAt]: PutIn): void {
    const row = {
      firstLine,
      lastLine,
      bytes,
      firstAt,
      lastAt,
      storedAt,
      counts: JSON.parse(counts) as object,
      content,
    };
    this.chunks.set(
      jobId,
      [...this.chunks.get(jobId)!, row].toSorted((a, b) => a.lastLine - b.lastLine),
    );
  }
}

class Store {
  readonly objects = new Map<string, Uint8Array>();
  refusal: Error | undefined;
  accepts: (key: string) => boolean = () => true;
  mostAtOnce = 0;
  #atOnce = 0;

  async put(key: string, bytes: Uint8Array): Promise<void> {
    this.#atOnce += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce);
    for (let turn = 0; turn < 5; turn += 1) await othersTurn();
    this.#atOnce -= 1;
    if (this.refusal || !this.accepts(key)) throw this.refusal ?? new Error('SlowDown');
    this.objects.set(key, bytes);
  }

  async textOf(jobId: string, firstLine: number, lastLine: number): Promise<string> {
    return String(await unpackChunk(this.objects.get(chunkKey({ jobId, firstLine, lastLine }))!));
  }
}
