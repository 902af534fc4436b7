import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HandClock, settled } from '../../test/support/hand-clock.js';
import { BODY_LIMITS } from './body-limits.js';
import { dropRefusedBody } from './refused-bodies.js';

const MIB = 1_048_576;

describe('an answer before the body has come in', () => {
  let clock: HandClock;
  // Later than what the module saw when it was loaded: a process of Jest may be minutes old by then.
  let beginMs = performance.now();
  beforeEach(async () => {
    clock = new HandClock();
    // What may be read of all of them, of the test before as well, is there again.
    beginMs += 600_000;
    await clock.pass(beginMs);
  });
  afterEach(() => clock.restore());

  /** A request whose body is sent by the test. */
  function request(length: number | null = 64 * MIB) {
    const body = Object.assign(new Readable({ read: () => undefined, highWaterMark: 0 }), {
      headers: length === null ? {} : { 'content-length': String(length) },
      complete: false,
    });
    const headers: Record<string, unknown> = {};
    const reply = { header: (name: string, value: unknown) => Object.assign(reply, void (headers[name] = value)) };
    return { body, headers, reply: reply as unknown as FastifyReply };
  }

  function answer({ body, reply }: ReturnType<typeof request>, payload: unknown): unknown {
    let sent: unknown = 'nothing';
    dropRefusedBody({ raw: body } as unknown as FastifyRequest, reply, payload, (_error, given) => (sent = given));
    return sent;
  }

  /** Its text so far, and whether it has ended. */
  function follow(sent: unknown) {
    const state = { hasEnded: false };
    const read = text(sent as Readable).then((all) => {
      state.hasEnded = true;
      return all;
    });
    return { state, read };
  }

  it('says that the connection ends, and ends with the body', async () => {
    const one = request();
    const { state, read } = follow(answer(one, 'näin'));
    expect(one.headers).toEqual({ connection: 'close', 'content-length': 5 });
    one.body.push(Buffer.alloc(1_000));
    await settled();
    expect(state.hasEnded).toBe(false);
    one.body.push(null);
    await settled();
    expect([state.hasEnded, clock.timers]).toEqual([true, 0]);
    expect(await read).toBe('näin');
  });

  it.each<[string, (body: Readable) => unknown]>([
    ['leaves', (body) => body.destroy()],
    ['is cut off', (body) => body.destroy(new Error('reset'))],
  ])('ends with a client that %s', async (_what, leave) => {
    const one = request(null);
    const { state } = follow(answer(one, Buffer.from('no')));
    leave(one.body);
    await settled();
    expect([state.hasEnded, clock.timers]).toEqual([true, 0]);
  });

  it('ends after two seconds whatever is still sent', async () => {
    const one = request();
    const { state } = follow(answer(one, 'no'));
    await clock.pass(1_999);
    one.body.push(Buffer.alloc(9));
    await settled();
    expect(state.hasEnded).toBe(false);
    await clock.pass(1);
    await settled();
    expect(state.hasEnded).toBe(true);
  });

  it('costs the process no more than 8 MiB at once and 2 MiB a second, of all that are refused', async () => {
    const read = async (count: number): Promise<boolean> => {
      const one = request();
      follow(answer(one, 'no'));
      for (let n = 0; n < count; n += 1) one.body.push(Buffer.alloc(MIB));
      await settled();
      await settled();
      const isPaused = one.body.isPaused();
      one.body.destroy();
      await settled();
      return isPaused;
    };
    expect(await read(7)).toBe(false);
    expect(await read(1)).toBe(true);
    await clock.pass(1_000);
    expect(await read(1)).toBe(false);
    expect(await read(1)).toBe(true);
  });

  it.each<[string, (one: ReturnType<typeof request>) => void, unknown]>([
    ['has come in', ({ body }) => (body.complete = true), 'no'],
    ['is cut off', ({ body }) => void body.destroy(), 'no'],
    ['is on its way already', ({ body }) => (body.headers['content-length'] = String(BODY_LIMITS.fields)), 'no'],
    ['is refused by a stream', () => undefined, Readable.from(['no'])],
  ])('is as it was where the body %s', (_what, change, payload) => {
    const one = request();
    change(one);
    expect(answer(one, payload)).toBe(payload);
    expect(one.headers).toEqual({});
  });

  it('is held back for a body of one byte more than a few fields', () => {
    const one = request(BODY_LIMITS.fields + 1);
    expect(answer(one, 'no')).toBeInstanceOf(Readable);
    one.body.destroy();
  });
});
