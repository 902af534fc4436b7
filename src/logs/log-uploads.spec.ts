import { PassThrough, Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { settled } from '../../test/support/hand-clock.js';
import { frame, stampedAt } from '../../test/support/logs.js';
import type { Database } from '../database/database.js';
import { Shutdown } from '../process/shutdown.js';
import type { LineWriter } from './line-writer.js';
import type { LogUpload } from './log-upload.js';
import { LogUploads } from './log-uploads.js';

const CUT_BYTES = 8 * 1_048_576;
/** Docker sends a longer line in pieces of this length. */
const PIECE = 16_384;

let order: { hasEnded: boolean; isReplaced: boolean; isFollowing: boolean } | undefined;
let text: string;
let clock: { now: number };
let uploads: LogUploads;
/** Takes its time for each piece. */
let writeMs: number;
beforeEach(() => {
  [order, text] = [{ hasEnded: false, isReplaced: false, isFollowing: true }, ''];
  [clock, writeMs] = [{ now: 5_000 }, 0];
  const target = { attemptId: 'a', jobId: 'j', deployment: 1, attempt: 1, version: 0, stored: {} };
  const run = () => Promise.resolve(order ? [{ ...target, ...order }] : []);
  const store = (upload: LogUpload) => {
    clock.now += writeMs;
    text += (upload.offer()?.chunks ?? []).map(({ content }) => content.toString()).join('');
    upload.stored();
    return Promise.resolve();
  };
  const writer = { write: store, flush: store } as unknown as LineWriter;
  uploads = new LogUploads({ run } as unknown as Database, writer, new Shutdown(), () => clock.now);
});

describe('an upload of a log', () => {
  it.each([
    ['at once', 0, '1767607208.000000000'],
    ['before a silence of two seconds is over', 1_999, '1767607208.000000000'],
    ['after one', 2_000, '1767607210.000000001'],
  ])('that ends %s is gone on with from there: %s ms', async (_when, silentMs, since) => {
    const body = new PassThrough();
    const stored = uploads.store('i-1', 1, '0', body);
    clock.now += 60_000;
    body.write(line(10));
    await settled(10);
    expect(text).toBe(`${stampedAt(10)} 1.1 stdout line\n`);
    clock.now += silentMs;
    body.end();
    expect(await stored).toBe(since);
  });

  it('is not silent while it waits for room', async () => {
    writeMs = 10_000;
    expect(await uploads.store('i-1', 1, '0', Readable.from([line(10)]))).toBe('1767607208.000000000');
  });

  it.each([
    ['of a container that has stopped is a line', false, 0, true],
    ['of one that runs is left to the next upload', true, 0, false],
    ['of an upload just below where agents cut is a line', false, CUT_BYTES - 1, true],
    ['of one that an agent may have cut is left to the next', false, CUT_BYTES, false],
  ])('has an end that %s', async (_what, isFollowing, bytes, isStored) => {
    order = { ...order!, isFollowing };
    const open = frame(1, Buffer.from(`${stampedAt(10)} ${'x'.repeat(PIECE)}`));
    // An error of Docker's own is none of the log.
    const other = bytes === 0 ? Buffer.alloc(0) : frame(3, Buffer.alloc(bytes - open.length - 8));
    await uploads.store('i-1', 1, '0', Readable.from([Buffer.concat([other, open])]));
    expect(text).toBe(isStored ? `${stampedAt(10)} 1.1 stdout ${'x'.repeat(PIECE)}\n` : '');
  });

  it.each([
    ['breaks off', (body: PassThrough) => body.destroy(new Error('aborted'))],
    ['is broken', (body: PassThrough) => body.write('HTTP/1.1 500 Oh no\r\n')],
  ])('that %s is stored up to there', async (_what, end) => {
    const body = new PassThrough();
    const stored = uploads.store('i-1', 1, '0', body);
    body.write(line(10));
    await settled(10);
    end(body);
    await expect(stored).rejects.toMatchObject({ code: 'malformed-request' });
    expect(text).toBe(`${stampedAt(10)} 1.1 stdout line\n`);
  });

  it.each([
    ['order-not-found', undefined],
    ['instance-retired', { hasEnded: true, isReplaced: true, isFollowing: true }],
    ['conflict', { hasEnded: false, isReplaced: true, isFollowing: true }],
  ])('is refused: %s', async (code, state) => {
    order = state;
    await expect(uploads.store('i-1', 1, '0', Readable.from([line(10)]))).rejects.toMatchObject({ code });
    expect(text).toBe('');
  });
});

function line(second: number): Buffer {
  return frame(1, `${stampedAt(second)} line\n`);
}
