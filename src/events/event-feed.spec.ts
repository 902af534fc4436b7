import { getEventListeners } from 'node:events';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { EventLog } from '../../test/support/event-log.js';
import { HandClock, settled } from '../../test/support/hand-clock.js';
import type { Signals } from '../database/signals.js';
import { EventFeed } from './event-feed.js';
import type { EventFilter } from './read-events.js';

const ALL: EventFilter = { job: null, deployment: null, types: null, scope: null };
const WEB: EventFilter = { ...ALL, job: 'web' };

/** Takes whatever comes, as fast as it can, unless it is told to pause. */
class Follower {
  readonly positions: number[] = [];
  readonly gaps: unknown[] = [];
  readonly controller = new AbortController();
  batches = 0;
  /** How it ended. */
  end: 'left' | 'failed' | undefined;
  #mayTake: PromiseWithResolvers<undefined> | undefined;

  constructor(
    readonly filter: EventFilter,
    readonly after: number | null,
  ) {}

  async follow(feed: EventFeed): Promise<void> {
    try {
      for await (const { events, gap } of feed.follow(this.filter, this.after, this.controller.signal)) {
        this.batches += 1;
        this.positions.push(...events.map(({ position }) => position));
        if (gap) this.gaps.push(gap);
        await this.#mayTake?.promise;
      }
      this.end = 'left';
    } catch {
      this.end = 'failed';
    }
  }

  pause(): void {
    this.#mayTake ??= Promise.withResolvers();
  }

  resume(): void {
    this.#mayTake?.resolve(undefined);
    this.#mayTake = undefined;
  }

  leave(): void {
    this.controller.abort();
    this.resume();
  }
}

describe('the events that clients follow', () => {
  let clock: HandClock;
  let log: EventLog;
  let feed: EventFeed;
  let followers: Follower[];
  let signal: () => void;
  let reconnect: () => void;

  beforeEach(() => {
    Logger.overrideLogger(false);
    clock = new HandClock();
    begin();
  });
  afterEach(async () => {
    for (const follower of followers) follower.leave();
    await settled();
    clock.restore();
    Logger.overrideLogger(true);
  });

  function begin(): void {
    log = new EventLog();
    followers = [];
    const signals = {
      on: (_channel: string, listener: () => void) => void (signal = listener),
      onReconnect: (listener: () => void) => void (reconnect = listener),
    };
    feed = new EventFeed(log.database, signals as unknown as Signals);
  }

  const follow = async (filter: EventFilter, after: number | null): Promise<Follower> => {
    const follower = new Follower(filter, after);
    followers.push(follower);
    void follower.follow(feed);
    await settled();
    return follower;
  };

  const write = async (count: number, job = 'web'): Promise<void> => {
    log.append(count, { job });
    signal();
    await settled();
  };

  const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at);

  /** Statements since the last time. */
  const asked = (): string[] => log.asked.splice(0).map(({ name }) => name);

  it('are read once for all of them', async () => {
    log.append(5, { job: 'web' });
    const all = [await follow(ALL, 5), await follow(WEB, 5), await follow({ ...ALL, job: 'other' }, 5)];
    asked();
    await write(1);
    expect(asked()).toEqual(['events-forward']);
    await write(1, 'other');
    expect(asked()).toEqual(['events-forward']);
    expect(all.map(({ positions }) => positions)).toEqual([[6, 7], [6], [7]]);
    // Nothing is told of what does not fit.
    expect(all.map(({ batches }) => batches)).toEqual([2, 1, 1]);
  });

  it('begin with what happens from now on where no position is named', async () => {
    log.append(5);
    const follower = await follow(ALL, null);
    await write(2);
    expect(follower.positions).toEqual([6, 7]);
    expect(feed.size).toBe(1);
  });

  it('are not read from their beginning for the first client', async () => {
    log.append(5);
    await follow(ALL, 5);
    expect(asked().filter((name) => name === 'events-forward')).toHaveLength(1);
  });

  it('are the thousand latest for a client that is behind, without the table', async () => {
    const [fast, slow, slower] = [await follow(ALL, 0), await follow(ALL, 0), await follow(ALL, 0)];
    slow.pause();
    await write(1);
    slower.pause();
    await write(1);
    expect([fast.positions, slow.positions, slower.positions]).toEqual([[1, 2], [1], [1, 2]]);
    for (let n = 0; n < 5; n += 1) await write(200);
    expect(fast.positions).toEqual(range(1, 1_002));
    asked();
    slower.resume();
    await settled();
    expect(slower.positions).toEqual(range(1, 1_002));
    expect([asked(), slower.batches]).toEqual([[], 3]);
    // One that is further behind reads from the table, some at a time.
    slow.resume();
    await settled();
    expect(slow.positions).toEqual(range(1, 1_002));
    expect(asked()).toEqual(['events-forward']);
    expect(slow.batches).toBe(3);
  });

  it('are all read where more came at once than a statement reads', async () => {
    const follower = await follow(ALL, 0);
    await write(450);
    expect(follower.positions).toEqual(range(1, 450));
    await write(1);
    expect(follower.positions).toHaveLength(451);
  });

  it('are read again where a signal came in the middle of a reading', async () => {
    const follower = await follow(ALL, 0);
    asked();
    const release = log.hold();
    signal();
    await settled();
    log.append(1);
    signal();
    signal();
    release();
    await settled();
    expect(follower.positions).toEqual([1]);
    // One at a time, and one for both.
    expect(asked()).toEqual(['events-forward', 'events-forward']);
  });

  it('are not missed that were written while the first client began to follow', async () => {
    const release = log.hold();
    const follower = await follow(ALL, 0);
    log.append(1);
    release();
    await settled();
    await settled();
    expect(follower.positions).toEqual([1]);
  });

  it('are read no more without clients, and from the table anew for the next one', async () => {
    signal();
    reconnect();
    await settled();
    expect(asked()).toEqual([]);
    const first = await follow(ALL, 0);
    await write(1);
    first.leave();
    await settled();
    expect([first.end, feed.size]).toEqual(['left', 0]);
    asked();
    await write(1);
    expect(asked()).toEqual([]);
    const second = await follow(ALL, 1);
    expect(second.positions).toEqual([2]);
    expect(asked()).toContain('events-forward');
  });

  it('are not taken for known that were read as the last client left', async () => {
    for (const times of [1, 2]) {
      begin();
      const first = await follow(ALL, 0);
      const release = log.hold();
      for (let n = 0; n < times; n += 1) signal();
      await settled();
      signal();
      first.leave();
      release();
      await settled();
      await settled();
      await write(1);
      expect((await follow(ALL, 0)).positions).toEqual([1]);
    }
  });

  it('are those that are asked for, though others were kept for clients of before', async () => {
    const first = await follow(ALL, 0);
    for (let n = 0; n < 5; n += 1) await write(200);
    first.leave();
    await settled();
    await write(500);
    await follow(ALL, 1_500);
    await write(1);
    expect((await follow(ALL, 1_200)).positions).toEqual(range(1_201, 1_501));
  });

  it('end for a client that leaves, and nothing of it is left behind', async () => {
    const staying = await follow(ALL, 0);
    const leaving = await follow(ALL, 0);
    for (let n = 1; n <= 3; n += 1) {
      await write(1);
      expect(getEventListeners(staying.controller.signal, 'abort')).toHaveLength(1);
    }
    leaving.leave();
    await settled();
    expect([leaving.end, feed.size]).toEqual(['left', 1]);
    expect(getEventListeners(leaving.controller.signal, 'abort')).toEqual([]);
    asked();
    await write(1);
    expect([leaving.positions.length, staying.positions.length]).toEqual([3, 4]);
    expect(asked()).toEqual(['events-forward']);
    // And for one that has left before.
    const late = new Follower(ALL, 0);
    late.leave();
    await late.follow(feed);
    expect([late.end, late.positions, feed.size]).toEqual(['left', [], 1]);
  });

  it('end for a client that left while its events were read', async () => {
    log.append(3);
    const staying = await follow(ALL, 3);
    const release = log.hold();
    const follower = await follow({ ...ALL, job: 'other' }, 0);
    follower.leave();
    release();
    await settled();
    await settled();
    expect([follower.end, staying.end, feed.size]).toEqual(['left', undefined, 1]);
  });

  it('are read again a second after they could not be', async () => {
    const follower = await follow(ALL, 0);
    log.isAway = true;
    await write(1);
    log.isAway = false;
    await clock.pass(999);
    expect(follower.positions).toEqual([]);
    await clock.pass(1);
    expect(follower.positions).toEqual([1]);
    await clock.pass(60_000);
    expect(clock.timers).toBe(0);
  });

  it('are read again at the next signal after they could not be', async () => {
    const follower = await follow(ALL, 0);
    log.isAway = true;
    await write(1);
    log.isAway = false;
    await write(1);
    expect(follower.positions).toEqual([1, 2]);
  });

  it('go on after a restore from where there is one, and the client learns of it', async () => {
    const follower = await follow(ALL, null);
    await write(10);
    log.cutAfter(4);
    reconnect();
    await settled();
    expect(follower.gaps).toEqual([{ reason: 'beyond-the-end', after: 10, resumesAfter: 4 }]);
    await write(2);
    expect(follower.positions).toEqual([...range(1, 10), 5, 6]);
    // What was there before the restore is not handed to others either.
    expect((await follow(ALL, 2)).positions).toEqual([3, 4, 5, 6]);
  });

  it('are not taken from what was read before a restore', async () => {
    const follower = await follow(ALL, 0);
    await write(10);
    const release = log.hold();
    signal();
    await settled();
    log.cutAfter(4);
    reconnect();
    release();
    await settled();
    await write(1);
    await settled();
    expect(follower.gaps).toEqual([{ reason: 'beyond-the-end', after: 10, resumesAfter: expect.any(Number) }]);
    expect(follower.positions.slice(0, 10)).toEqual(range(1, 10));
    await write(1);
    expect(follower.positions.at(-1)).toBe(6);
  });

  it('are gone for a client that comes too late, which learns of it though nothing follows', async () => {
    log.append(9);
    log.deleteThrough(9);
    const follower = await follow(ALL, 3);
    expect(follower.gaps).toEqual([{ reason: 'too-old', after: 3, resumesAfter: 9 }]);
    await write(1);
    expect(follower.positions).toEqual([10]);
  });

  it('come to each once and in order, from where it begins, whoever is slow, leaves or comes, and whatever fails', async () => {
    const act = (what: string, weight: number, n: fc.Arbitrary<number>) => ({
      weight,
      arbitrary: fc.record({ what: fc.constant(what), n }),
    });
    const acts = fc.oneof(
      act('write', 4, fc.constantFrom(1, 2, 199, 200, 450)),
      act('write unheard', 2, fc.constantFrom(1, 300)),
      act('follow', 3, fc.nat(1_000)),
      act('wait', 2, fc.constantFrom(1, 999, 1_000)),
      ...['pause', 'resume', 'leave', 'reconnect', 'hold', 'release', 'fail'].map((what) => act(what, 1, fc.nat(9))),
    );
    const play = async (played: readonly { what: string; n: number }[]): Promise<void> => {
      begin();
      const held: (() => void)[] = [];
      const release = (): void => held.splice(0).forEach((letGo) => letGo());
      for (const { what, n } of played) {
        const one = followers[n % Math.max(1, followers.length)];
        if (what === 'write') await write(n);
        if (what === 'write unheard') log.append(n, { job: 'other' });
        if (what === 'follow') await follow(n % 3 === 0 ? WEB : ALL, n % 7 === 0 ? null : Math.min(n, log.last));
        if (what === 'wait') await clock.pass(n);
        if (what === 'pause') one?.pause();
        if (what === 'resume') one?.resume();
        if (what === 'leave') one?.leave();
        if (what === 'reconnect') reconnect();
        if (what === 'hold') held.push(log.hold());
        if (what === 'release') release();
        if (what === 'fail') {
          log.isAway = true;
          signal();
          await settled();
          log.isAway = false;
        }
        await settled();
      }
      release();
      for (const follower of followers) follower.resume();
      await write(1);
      await clock.pass(1_000);
      for (let turns = 0; turns < 10; turns += 1) await settled();
      for (const { filter, after, positions, end } of followers) {
        const from = after ?? (positions[0] ?? Infinity) - 1;
        const fitting = log.events.filter(({ position, job }) => position > from && job === (filter.job ?? job));
        const wanted = fitting.map(({ position }) => position);
        expect(positions).toEqual(end === undefined && after !== null ? wanted : wanted.slice(0, positions.length));
        if (end === undefined) expect(positions.at(-1)).toBe(log.last);
      }
      for (const follower of followers) follower.leave();
      await settled();
      expect([feed.size, followers.filter(({ end }) => end === undefined)]).toEqual([0, []]);
    };
    await fc.assert(fc.asyncProperty(fc.array(acts, { maxLength: 25 }), play), { numRuns: 60 });
  });
});
