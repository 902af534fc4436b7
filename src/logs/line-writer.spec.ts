import { setImmediate as othersTurn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { frame, stampedAt } from '../../test/support/logs.js';
import type { Database } from '../database/database.js';
import { LineWriter, linesStored } from './line-writer.js';
import { LogUpload } from './log-upload.js';
import type { StoredState } from './upload-statements.js';

/** What an upload may have pending before it waits, all of them together, and one statement. */
const ROOM = 524_288;
const ROOM_OF_ALL = 64 * ROOM;
const STATEMENT = 16 * ROOM;

describe('the writer of lines', () => {
  it('stores each line once and in order, of uploads that get in each other’s way in this process and in another', async () => {
    const step = fc.record({
      of: fc.nat(4),
      lines: fc.nat(3),
      turns: fc.nat(3),
      action: fc.constantFrom('write', 'flush'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), async (steps) => {
        const rows = new Rows();
        const writers = [start(rows), start(rows)];
        const sent = ['a', 'a', 'b', 'b', 'c'].map((attempt, index) => ({
          attempt,
          upload: rows.open(attempt),
          writer: writers[index % 2]!.writer,
          lines: 0,
        }));
        const writes: Promise<void>[] = [];
        for (const { of, lines, turns, action } of steps) {
          const one = sent[of]!;
          for (let n = 0; n < lines; n += 1) one.upload.add(line((one.lines += 1)));
          writes.push(one.writer[action](one.upload));
          for (let turn = 0; turn < turns; turn += 1) await othersTurn();
        }
        await Promise.all(writes);
        await Promise.all(sent.map(({ writer, upload }) => writer.flush(upload)));
        for (const attempt of ['a', 'b', 'c']) {
          const most = Math.max(...sent.filter((one) => one.attempt === attempt).map(({ lines }) => lines));
          expect(rows.textOf(attempt)).toBe(Array.from({ length: most }, (_, n) => formatted(n + 1)).join(''));
        }
        expect(rows.mostAtOnce).toBeLessThanOrEqual(1);
        expect(sent.map(({ upload }) => upload.pendingBytes)).toEqual([0, 0, 0, 0, 0]);
      }),
      { numRuns: 30, seed: 1 },
    );
  });

  it.each([
    ['as much as it may have', ROOM, false],
    ['a byte more', ROOM + 1, true],
  ])('lets an upload that has %s pending wait for room: %s bytes: %s', async (_what, bytes, isWaiting) => {
    const rows = new Rows();
    const { writer } = start(rows);
    const upload = rows.openSized('a', bytes);
    const open = rows.hold();
    const written = settlingOf(writer.write(upload));
    expect(await written()).toBe(!isWaiting);
    open();
    await writer.flush(upload);
    expect(await written()).toBe(true);
  });

  it('lets each upload wait once all together have as much pending as they may', async () => {
    const rows = new Rows();
    const { writer } = start(rows);
    const full = Array.from({ length: ROOM_OF_ALL / ROOM }, (_, n) => rows.openSized(`full-${n}`, ROOM));
    const [open, further] = [rows.hold(), rows.open('further')];
    for (const upload of full) await writer.write(upload);
    further.add(line(1));
    const written = settlingOf(writer.write(further));
    expect(await written()).toBe(false);
    open();
    await Promise.all(full.map((upload) => writer.flush(upload)));
    await writer.flush(further);
    expect(await written()).toBe(true);
    // And from then on there is room.
    const held = rows.hold();
    further.add(line(2));
    await writer.write(further);
    held();
    await writer.flush(further);
    expect(rows.textOf('further')).toBe(formatted(1) + formatted(2));
  });

  it.each([
    ['as much as it may have', ROOM, false],
    ['a byte more', ROOM + 1, true],
  ])(
    'lets an upload wait until it has no more than that pending, whatever was stored: %s',
    async (_what, bytes, isWaiting) => {
      const rows = new Rows();
      const { writer } = start(rows);
      const upload = rows.openSized('a', ROOM + 1);
      const open = rows.hold();
      const written = settlingOf(writer.write(upload));
      await rows.asked();
      upload.pendingBytes += bytes;
      const openAgain = rows.hold();
      open();
      await rows.asked();
      expect([await written(), upload.pendingBytes]).toEqual([!isWaiting, bytes]);
      upload.pendingBytes += ROOM;
      const writtenAgain = settlingOf(writer.write(upload));
      expect(await writtenAgain()).toBe(false);
      openAgain();
      await writer.flush(upload);
      expect([await written(), await writtenAgain()]).toEqual([true, true]);
    },
  );

  it('stores with one statement at a time, and of two uploads of an attempt the first one first', async () => {
    const rows = new Rows();
    const { writer } = start(rows);
    const [first, second, other] = [rows.openSized('a', 100), rows.openSized('a', 200), rows.openSized('b', 100)];
    const open = rows.hold();
    const flushed = writer.flush(first);
    const others = Promise.all([writer.flush(second), writer.write(other)]);
    await rows.asked();
    other.pendingBytes += 100;
    await writer.write(other);
    await nextTimers();
    await nextTimers();
    expect(rows.statements).toBe(1);
    open();
    await flushed;
    expect([first.pendingBytes, second.pendingBytes]).toEqual([0, 200]);
    await others;
    await writer.flush(other);
  });

  it.each([
    ['all that fits', [STATEMENT / 2, STATEMENT / 2], [['a', 'b']]],
    ['not a byte more', [STATEMENT / 2, STATEMENT / 2 + 1], [['a'], ['b']]],
    ['a smaller one that fits beside one that waits', [STATEMENT / 2, STATEMENT / 2 + 1, 100], [['a', 'c'], ['b']]],
    ['one that alone is too much', [STATEMENT + 1, 100], [['a'], ['b']]],
  ])('stores %s with one statement: %j', async (_what, sizes, statements) => {
    const rows = new Rows();
    const { writer } = start(rows);
    const uploads = sizes.map((bytes, index) => {
      const upload = rows.openSized('abc'.charAt(index), bytes);
      return upload;
    });
    await Promise.all(uploads.map((upload) => writer.flush(upload)));
    expect(rows.stored).toEqual(statements);
  });

  it('stores what came meanwhile of one upload after what others have waited with', async () => {
    const rows = new Rows();
    const { writer } = start(rows);
    const [one, other] = [rows.openSized('one', STATEMENT), rows.openSized('other', STATEMENT)];
    const open = rows.hold();
    const both = Promise.all([writer.flush(one), writer.flush(other)]);
    await rows.asked();
    one.pendingBytes += STATEMENT;
    open();
    await both;
    expect(rows.stored).toEqual([['one'], ['other'], ['one']]);
  });

  it('wakes the readers of the jobs that have new lines, and tells how many these are, of those that were stored', async () => {
    const rows = new Rows();
    const { writer, woken } = start(rows);
    const [first, second, other] = [rows.open('a'), rows.open('a'), rows.open('b')];
    const counts: object[] = [];
    const leave = linesStored.subscribe((count) => counts.push(count));
    for (const upload of [first, second, other]) upload.add(Buffer.concat([line(1), line(2)]));
    await Promise.all([first, other, second].map((upload) => writer.flush(upload)));
    leave();
    // The second upload of an attempt has nothing that is new: nobody is woken for it, least of all everybody.
    expect(woken).toEqual([['job of a', 'job of b']]);
    const bytes = 2 * (formatted(1) + formatted(2)).length;
    expect(counts).toEqual([
      { lines: 4, bytes },
      { lines: 0, bytes: 0 },
    ]);
  });

  it('asks the database for nothing where nothing is new', async () => {
    const rows = new Rows();
    const { writer } = start(rows);
    const upload = rows.open('a');
    await writer.write(upload);
    await writer.flush(upload);
    upload.add(line(1));
    await writer.flush(upload);
    const asked = rows.statements;
    await writer.write(upload);
    await writer.flush(upload);
    for (let turn = 0; turn < 20; turn += 1) await nextTimers();
    expect([asked, rows.statements]).toEqual([1, 1]);
  });

  it('fails each upload under way with what the database says, and stores what comes after that', async () => {
    const rows = new Rows();
    const { writer } = start(rows);
    const [waiting, flushed, later] = [rows.openSized('a', ROOM + 1), rows.open('b'), rows.open('c')];
    flushed.add(line(1));
    rows.failure = new Error('connection terminated');
    const ends = await Promise.allSettled([writer.write(waiting), writer.flush(waiting), writer.flush(flushed)]);
    expect(ends).toEqual(Array(3).fill({ status: 'rejected', reason: rows.failure }));
    rows.failure = undefined;
    later.add(line(1));
    await writer.flush(later);
    expect([rows.textOf('a'), rows.textOf('b'), rows.textOf('c')]).toEqual(['', '', formatted(1)]);
    await writer.flush(flushed);
    expect(rows.textOf('b')).toBe(formatted(1));
  });

  it('fails the upload of an attempt that is gone, and no other', async () => {
    const rows = new Rows();
    const { writer, woken } = start(rows);
    const [gone, other] = [rows.openSized('a', ROOM + 1), rows.open('b')];
    rows.attempts.delete('a');
    other.add(line(1));
    const ends = await Promise.allSettled([writer.write(gone), writer.flush(gone), writer.flush(other)]);
    const refused = { status: 'rejected', reason: expect.objectContaining({ code: 'order-not-found' }) };
    expect(ends).toEqual([refused, refused, { status: 'fulfilled', value: undefined }]);
    const asked = rows.statements;
    for (let turn = 0; turn < 20; turn += 1) await nextTimers();
    expect(rows.statements).toBe(asked);
    expect(woken).toEqual([['job of b']]);
  });

  it('stores at once after a pause, else not before the time has come', async () => {
    const rows = new Rows();
    const clock = { now: 5_000_000 };
    const [everyMs, pausedMs] = [50, 3_000_000];
    const { writer } = start(rows, everyMs, () => clock.now);
    const upload = rows.open('a');
    const begunAtMs = performance.now();
    for (let n = 1; n <= 3; n += 1) {
      upload.add(line(n));
      await writer.flush(upload);
    }
    // Twice the time, less the millisecond that a timer of Node may be early.
    expect(performance.now() - begunAtMs).toBeGreaterThan(2 * everyMs - 3);
    const { writer: slow } = start(rows, pausedMs, () => clock.now);
    for (let n = 4; n <= 6; n += 1) {
      upload.add(line(n));
      await slow.flush(upload);
      clock.now += pausedMs - (n % 2);
    }
    expect(rows.textOf('a').match(/\n/g)).toHaveLength(6);
  });
});

function start(rows: Rows, storeEveryMs = 0, now?: () => number) {
  const woken: string[][] = [];
  const signals = { linesStored: (jobIds: Iterable<string> = []) => void woken.push([...jobIds]) };
  const writer = new LineWriter(rows.connect(), signals, storeEveryMs, now);
  return { writer, woken };
}

/** Postgres, as far as it is asked here: a row for each attempt, whose version is the fence. */
class Rows {
  readonly attempts = new Map<string, StoredState & { readonly text: string }>();
  /** Of each statement that stored something, the attempts. */
  readonly stored: string[][] = [];
  failure: Error | undefined;
  statements = 0;
  /** Statements of one process at once. */
  mostAtOnce = 0;
  #held: Promise<unknown> = Promise.resolve();
  #asked = Promise.withResolvers<undefined>();

  open(attemptId: string): LogUpload {
    if (!this.attempts.has(attemptId)) this.attempts.set(attemptId, { version: 0, stored: {}, text: '' });
    const { version, stored } = this.attempts.get(attemptId)!;
    const order = { deployment: 1, attempt: 1, hasEnded: false, isFollowing: true, isReplaced: false };
    return new LogUpload({ attemptId, jobId: `job of ${attemptId}`, ...order, version, stored }, '0');
  }

  openSized(attemptId: string, bytes: number): LogUpload & { pendingBytes: number } {
    const { target } = this.open(attemptId);
    return new SizedUpload(target, bytes) as unknown as LogUpload & { pendingBytes: number };
  }

  textOf(attemptId: string): string {
    return this.attempts.get(attemptId)!.text;
  }

  /** Statements from now on wait. @returns a function that lets them go on */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#held = promise;
    this.#asked = Promise.withResolvers();
    return () => resolve(undefined);
  }

  /** Resolves once a statement waits. */
  async asked(): Promise<void> {
    await this.#asked.promise;
  }

  connect(): Database {
    let atOnce = 0;
    const run = async ({ name }: { name: string }, values: readonly unknown[]): Promise<unknown[]> => {
      this.statements += 1;
      atOnce += 1;
      this.mostAtOnce = Math.max(this.mostAtOnce, atOnce);
      const held = this.#held;
      this.#asked.resolve(undefined);
      await othersTurn();
      await held;
      atOnce -= 1;
      if (this.failure) throw this.failure;
      return name === 'logs-store' ? this.#store(values as StoreValues) : this.#statesOf(values[0] as string[]);
    };
    return { run } as unknown as Database;
  }

  #store([ids, versions, positions, ofChunks, , , , , , contents]: StoreValues): unknown[] {
    expect(new Set(ids).size).toBe(ids.length);
    const held = ids.filter((id, index) => this.attempts.get(id)?.version === versions[index]);
    for (const attemptId of held) {
      const { version, text } = this.attempts.get(attemptId)!;
      const stored = JSON.parse(positions[ids.indexOf(attemptId)]!) as StoredState['stored'];
      const added = contents.filter((_content, index) => ofChunks[index] === attemptId).map(String);
      this.attempts.set(attemptId, { version: version + 1, stored, text: text + added.join('') });
    }
    if (held.length > 0) this.stored.push(held);
    return held.map((attemptId) => ({ attemptId, jobId: `job of ${attemptId}` }));
  }

  #statesOf(ids: readonly string[]): unknown[] {
    return ids.flatMap((attemptId) => {
      const state = this.attempts.get(attemptId);
      return state ? [{ attemptId, version: state.version, stored: state.stored }] : [];
    });
  }
}

/** An upload of which only the size counts. */
class SizedUpload {
  pendingBytes: number;
  #offered = 0;
  #version = 0;

  constructor(
    readonly target: { readonly attemptId: string },
    bytes: number,
  ) {
    this.pendingBytes = bytes;
  }

  offer(): object {
    this.#offered = this.pendingBytes;
    return { attemptId: this.target.attemptId, version: this.#version, stored: {}, chunks: [] };
  }

  stored(): void {
    this.#version += 1;
    this.pendingBytes -= this.#offered;
  }

  rebase({ version }: StoredState): void {
    this.#version = version;
  }
}

type StoreValues = [string[], number[], string[], string[], unknown, unknown, unknown, unknown, unknown, Buffer[]];

function line(n: number): Buffer {
  return frame(1, `${stampedAt(n)} line ${n}\n`);
}

function formatted(n: number): string {
  return `${stampedAt(n)} 1.1 stdout line ${n}\n`;
}

/** @returns whether it is settled, once everything had its turn that does not wait for the database */
function settlingOf(promise: Promise<unknown>): () => Promise<boolean> {
  let isSettled = false;
  const settle = () => void (isSettled = true);
  promise.then(settle, settle);
  return async () => {
    for (let turn = 0; turn < 5; turn += 1) await nextTimers();
    return isSettled;
  };
}

function nextTimers(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}
