import { PassThrough, Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { BODY_LIMITS } from '../http/body-limits.js';
import { Shutdown } from '../process/shutdown.js';
import { readUpload, streamOf } from './read-upload.js';

const PIECE = 8_192;

async function piecesOf(upload: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of upload) pieces.push(piece);
  return pieces;
}

describe('an upload', () => {
  it.each([[[0]], [[1]], [[PIECE]], [[PIECE + 1]], [[3, PIECE * 3 + 5, 1]]])(
    'that comes in parts of %j bytes is read whole, in pieces of 8 KiB at most',
    async (lengths) => {
      const parts = lengths.map((length, at) => Buffer.alloc(length, at + 1));
      const pieces = await piecesOf(readUpload(new Shutdown(), Readable.from(parts)));
      expect(Buffer.concat(pieces)).toEqual(Buffer.concat(parts));
      expect(Math.max(0, ...pieces.map(({ length }) => length))).toBeLessThanOrEqual(PIECE);
    },
  );

  it('leaves others their turn between its pieces', async () => {
    let turns = 0;
    const count = setImmediate(function again() {
      turns += 1;
      if (turns < 100) setImmediate(again);
    });
    await piecesOf(readUpload(new Shutdown(), Readable.from([Buffer.alloc(PIECE * 20)])));
    clearImmediate(count);
    expect(turns).toBeGreaterThan(15);
  });

  it('may be as large as agents make one, and no larger', async () => {
    const most = Buffer.alloc(BODY_LIMITS.log);
    expect(await piecesOf(readUpload(new Shutdown(), Readable.from([most])))).toHaveLength(BODY_LIMITS.log / PIECE);
    const more = readUpload(new Shutdown(), Readable.from([most, Buffer.alloc(1)]));
    await expect(piecesOf(more)).rejects.toMatchObject({ code: 'payload-too-large' });
  });

  it('ends with the process, and when it takes too long; what comes after is read all the same', async () => {
    const shutdown = new Shutdown();
    const open = new PassThrough();
    const reading = piecesOf(readUpload(shutdown, open));
    open.write('a');
    shutdown.begin();
    await expect(reading).rejects.toMatchObject({ code: 'shutting-down', headers: { 'retry-after': '1' } });
    await expect(piecesOf(readUpload(new Shutdown(), new PassThrough(), 20))).rejects.toMatchObject({
      code: 'malformed-request',
      message: expect.stringContaining('0.02 s'),
    });
    const ended = new Promise((done) => open.once('end', done));
    open.end('b');
    await ended;
  });

  it('is ended by the shutdown at its next piece, where that begins while a piece is dealt with', async () => {
    const shutdown = new Shutdown();
    const reading = readUpload(shutdown, Readable.from([Buffer.alloc(PIECE * 3)]));
    await reading.next();
    shutdown.begin();
    await new Promise(setImmediate);
    // What was read already is whole.
    expect((await reading.next()).value).toHaveLength(PIECE);
    expect((await reading.next()).value).toHaveLength(PIECE);
    await expect(reading.next()).rejects.toMatchObject({ code: 'shutting-down' });
  });

  it('leaves nothing behind, neither a listener nor a timer', async () => {
    const listeners = new Set<() => void>();
    const onBegin = (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const reading = readUpload({ onBegin } as unknown as Shutdown, Readable.from([Buffer.alloc(1)]));
    await reading.next();
    expect([listeners.size, timers()]).toEqual([1, before + 1]);
    await reading.next();
    expect([listeners.size, timers()]).toEqual([0, before]);
  });

  it('that breaks off is no failure of the API', async () => {
    const body = new PassThrough();
    const reading = piecesOf(readUpload(new Shutdown(), body));
    body.destroy(new Error('aborted'));
    await expect(reading).rejects.toMatchObject({ code: 'malformed-request', message: 'The upload broke off.' });
  });

  it('is a stream, or nothing; what a parser made of it is refused', async () => {
    const stream = Readable.from([]);
    expect(streamOf(stream, '')).toBe(stream);
    for (const nothing of [undefined, null]) expect(await piecesOf(streamOf(nothing, ''))).toEqual([]);
    expect(() => streamOf({}, 'Send bytes.')).toThrow('Send bytes.');
  });
});
