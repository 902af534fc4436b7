import { EventEmitter, getEventListeners } from 'node:events';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyReply } from 'fastify';
import { HandClock, settled } from '../../test/support/hand-clock.js';
import type { Listener, Signals } from '../database/signals.js';
import type { Problem } from '../http/problem.js';
import { Shutdown } from '../process/shutdown.js';
import { OpenAnswers } from './open-answers.js';
import type { Tokens } from './tokens.js';

const ONE = { id: '00000001', role: 'viewer' } as const;
const OTHER = { id: '00000002', role: 'deployer' } as const;
const ADMIN = { id: 'admin', role: 'admin' } as const;
type Holder = typeof ONE | typeof OTHER | typeof ADMIN;
const MINUTE_MS = 60_000;

describe('an answer that stays open', () => {
  let clock: HandClock;
  let shutdown: Shutdown;
  let open: OpenAnswers;
  let revoke: Listener;
  /** Tokens that have ended in the database. */
  let ended: string[];
  let asked: string[][];
  let isAway: boolean;
  beforeEach(() => {
    Logger.overrideLogger(false);
    clock = new HandClock();
    shutdown = new Shutdown();
    [ended, asked, isAway] = [[], [], false];
    const signals = { on: (_channel: string, listener: Listener) => void (revoke = listener) };
    const tokens = {
      findEnded: (ids: string[]) => {
        asked.push(ids);
        return isAway ? Promise.reject(new Error('away')) : Promise.resolve(ids.filter((id) => ended.includes(id)));
      },
    };
    open = new OpenAnswers(signals as unknown as Signals, shutdown, tokens as unknown as Tokens);
  });
  afterEach(() => {
    clock.restore();
    Logger.overrideLogger(true);
  });

  function connection(): { reply: FastifyReply; leave: () => void } {
    const raw = new EventEmitter();
    return { reply: { raw } as unknown as FastifyReply, leave: () => void raw.emit('close') };
  }

  function stream(holder: Holder = ONE): { signal: AbortSignal; leave: () => void } {
    const { reply, leave } = connection();
    return { signal: open.signalFor(reply, holder), leave };
  }

  /** A request that waits until its signal aborts or it is answered. `outcome`: of its answer, once there is one. */
  function wait(holder: Holder = ONE) {
    const { reply, leave } = connection();
    const { promise, resolve } = Promise.withResolvers<string>();
    const request = { outcome: undefined as unknown, leave, answer: () => resolve('news') };
    open
      .whileAllowed(reply, holder, (signal) => {
        signal.addEventListener('abort', () => resolve('aborted'));
        return promise;
      })
      .then(
        (answer) => (request.outcome = answer),
        (problem: unknown) => (request.outcome = problem),
      )
      .finally(leave);
    return request;
  }

  it('ends with its client, and then nothing of it is left', () => {
    const [first, second] = [stream(), stream()];
    expect(clock.timers).toBe(3);
    first.leave();
    expect([first.signal.aborted, second.signal.aborted]).toEqual([true, false]);
    second.leave();
    expect(clock.timers).toBe(0);
    // And begins anew with the next client.
    const third = stream();
    expect(clock.timers).toBe(2);
    third.leave();
    expect([third.signal.aborted, clock.timers]).toEqual([true, 0]);
  });

  it('ends with the signal that its token was revoked: a stream, and a request that waits; others stay', async () => {
    const [own, others] = [stream(), stream(OTHER)];
    const [waiting, othersWait] = [wait(), wait(OTHER)];
    revoke([ONE.id]);
    await settled();
    expect([own.signal.aborted, others.signal.aborted]).toEqual([true, false]);
    expect(waiting.outcome).toMatchObject({
      code: 'unauthorized',
      headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
    });
    expect(othersWait.outcome).toBeUndefined();
    expect(asked).toEqual([]);
    othersWait.answer();
    await settled();
    expect(othersWait.outcome).toBe('news');
  });

  it('ends at once where a signal names no token and its own has ended', async () => {
    const [own, others] = [stream(), stream(OTHER)];
    ended = [ONE.id];
    revoke([]);
    await settled();
    expect([own.signal.aborted, others.signal.aborted]).toEqual([true, false]);
  });

  it('ends within three seconds without a signal, by one query for all that are open', async () => {
    const [own, others, admins] = [stream(), stream(OTHER), stream(ADMIN)];
    const waiting = wait();
    await clock.pass(2_999);
    expect(asked).toEqual([]);
    ended = [ONE.id];
    await clock.pass(1);
    expect(asked).toEqual([[ONE.id, OTHER.id, 'admin']]);
    expect([own, others, admins].map(({ signal }) => signal.aborted)).toEqual([true, false, false]);
    expect(waiting.outcome).toMatchObject({ code: 'unauthorized' });
    own.leave();
    await clock.pass(3_000);
    expect(asked[1]).toEqual([OTHER.id, 'admin']);
  });

  it('ends a little later where the database is away meanwhile', async () => {
    const { signal } = stream();
    ended = [ONE.id];
    isAway = true;
    await clock.pass(3_000);
    expect(signal.aborted).toBe(false);
    isAway = false;
    await clock.pass(3_000);
    expect(signal.aborted).toBe(true);
  });

  it('ends after a quarter of an hour where it streams, so that the client connects again', async () => {
    const { signal } = stream();
    const waiting = wait();
    await clock.pass(15 * MINUTE_MS - 1);
    expect(signal.aborted).toBe(false);
    await clock.pass(1);
    expect(signal.aborted).toBe(true);
    expect(waiting.outcome).toBeUndefined();
  });

  it('ends as the process does where it streams; what waits is answered by what it waits in', async () => {
    const [own, others] = [stream(), stream(OTHER)];
    const waiting = wait();
    shutdown.begin();
    expect([own.signal.aborted, others.signal.aborted]).toEqual([true, true]);
    expect(stream().signal.aborted).toBe(true);
    await settled();
    expect(waiting.outcome).toBeUndefined();
    waiting.answer();
    await settled();
    expect(waiting.outcome).toBe('news');
  });

  it('is what it would have been for a client that left while it waited', async () => {
    const waiting = wait();
    waiting.leave();
    await settled();
    expect(waiting.outcome).toBe('aborted');
  });

  describe('of one token', () => {
    const problemOf = (start: () => unknown): Problem => {
      try {
        start();
      } catch (error) {
        return error as Problem;
      }
      throw new Error('it was not refused');
    };

    it('is one of 64 streams at most, which others and requests that wait do not count to', async () => {
      const streams = Array.from({ length: 64 }, () => stream());
      expect(problemOf(() => stream())).toMatchObject({
        code: 'too-many-requests',
        detail: '64 requests of this token follow already, the most allowed at once.',
        headers: { 'retry-after': '5' },
      });
      expect(stream(OTHER).signal.aborted).toBe(false);
      const waiting = wait();
      await settled();
      expect(waiting.outcome).toBeUndefined();
      // One that was refused holds no place, one that has left neither.
      streams[0]!.leave();
      stream();
      expect(problemOf(() => stream())).toMatchObject({ code: 'too-many-requests' });
    });

    it('is one of 256 requests that wait at most', async () => {
      const waiting = Array.from({ length: 257 }, () => wait());
      await settled();
      expect(waiting.slice(0, 256).every(({ outcome }) => outcome === undefined)).toBe(true);
      expect(waiting.at(-1)!.outcome).toMatchObject({
        code: 'too-many-requests',
        detail: '256 requests of this token wait already, the most allowed at once.',
      });
      stream();
    });

    it('is one of as many as it likes for an administrator', () => {
      for (let n = 0; n < 300; n += 1) expect(stream(ADMIN).signal.aborted).toBe(false);
    });

    it('holds nothing where it was refused for the first', () => {
      const streams = Array.from({ length: 64 }, () => stream());
      problemOf(() => stream());
      for (const { leave, signal } of streams) {
        leave();
        expect(getEventListeners(signal, 'abort')).toEqual([]);
      }
      expect(clock.timers).toBe(0);
    });
  });
});
