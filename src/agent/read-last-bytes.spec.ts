import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readLastBytes } from './read-last-bytes.js';

const ANSWER_BYTES = 262_144;

describe('the last bytes of an answer', () => {
  it('are its end, however it is cut, and no more than was asked for', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.nat(60), async (parts, most) => {
        const all = Buffer.concat(parts);
        const body = Readable.from(parts.map((part) => Buffer.from(part)));
        const expected = all.subarray(Math.max(0, all.length - most));
        expect(Buffer.from(await readLastBytes(body, most))).toEqual(Buffer.from(expected));
      }),
    );
  });

  it('are those of 256 KiB at most', async () => {
    const half = Buffer.alloc(ANSWER_BYTES / 2, 'x');
    expect(await readLastBytes(Readable.from([half, half]), 3)).toEqual(new Uint8Array(Buffer.from('xxx')));
    const tooMuch = Readable.from([half, half, Buffer.from('x')]);
    await expect(readLastBytes(tooMuch, 3)).rejects.toMatchObject({ code: 'payload-too-large' });
  });

  it('are read on to the end of one that is too large: the next request follows it', async () => {
    const body = new PassThrough();
    const isRead = once(body, 'end');
    const refused = readLastBytes(body, 3);
    body.write(Buffer.alloc(ANSWER_BYTES + 1));
    await expect(refused).rejects.toMatchObject({ code: 'payload-too-large' });
    body.end(Buffer.alloc(ANSWER_BYTES));
    await isRead;
    expect([body.readableEnded, body.errored]).toEqual([true, null]);
  });

  it('of an answer that breaks off are none', async () => {
    const body = Readable.from(
      (async function* () {
        yield await Promise.resolve(Buffer.from('abc'));
        throw new Error('aborted');
      })(),
    );
    await expect(readLastBytes(body, 3)).rejects.toMatchObject({ code: 'malformed-request' });
  });
});
