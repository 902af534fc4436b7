import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { settled } from '../../test/support/hand-clock.js';
import type { Queryable } from '../database/database.js';
import { RateLimiter, rateLimitHeaders } from './rate-limiter.js';

type Bucket = { available: number; updatedAtMs: number };

/** Buckets as Postgres keeps them, for any number of processes, and the time. */
class World {
  nowMs = 0;
  /** What a statement takes: in no time at all the last hair of a request would never flow in. */
  tickMs = 0;
  isAway = false;
  /** What each statement was given, and what it granted. */
  readonly taken: { readonly id: string; readonly slice: number; readonly returned: number }[] = [];
  readonly #buckets = new Map<string, Bucket>();

  process(requestsPerMinute = 600): RateLimiter {
    return new RateLimiter(this as unknown as Queryable, { requestsPerMinute }, () => this.nowMs);
  }

  async run(_statement: unknown, values: readonly [string, number, number, number, number]): Promise<unknown[]> {
    const [id, limit, slice, windowSeconds, returned] = values;
    this.taken.push({ id, slice, returned });
    this.nowMs += this.tickMs;
    const { nowMs } = this;
    await settled();
    if (this.isAway) throw new Error('away');
    const { available, updatedAtMs } = this.#buckets.get(id) ?? { available: limit, updatedAtMs: nowMs };
    const flowedIn = ((nowMs - updatedAtMs) * limit) / windowSeconds / 1000;
    const filled = Math.min(limit, available + returned + flowedIn);
    const granted = Math.min(slice, Math.floor(filled));
    this.#buckets.set(id, { available: filled - granted, updatedAtMs: nowMs });
    return [{ granted, available: filled - granted }];
  }
}

const CALLER = { id: 'a', requestsPerMinute: null };

describe('the requests of a caller', () => {
  /** One after the other until one is refused. @returns how many were not */
  async function exhaust(limiter: RateLimiter, caller: Parameters<RateLimiter['take']>[0] = CALLER): Promise<number> {
    for (let count = 0; count < 20_000; count += 1) if (!(await limiter.take(caller)).isAllowed) return count;
    throw new Error('no end');
  }

  it('are never more than the limit and what flows in, over any time and all processes together', async () => {
    const steps = fc.array(
      fc.record({ process: fc.nat(2), count: fc.nat(40), pauseMs: fc.constantFrom(0, 100, 1_000, 5_000, 30_000) }),
      { maxLength: 15 },
    );
    const play = async (limit: number, played: readonly { process: number; count: number; pauseMs: number }[]) => {
      const world = new World();
      world.tickMs = 0.01;
      const processes = [0, 1, 2].map(() => world.process(limit));
      const allowedAt: number[] = [];
      for (const { process, count, pauseMs } of played) {
        world.nowMs += pauseMs;
        const standings = await Promise.all(Array.from({ length: count }, () => processes[process]!.take(CALLER)));
        for (const { isAllowed, remaining, retrySeconds } of standings) {
          if (isAllowed) allowedAt.push(world.nowMs);
          expect(retrySeconds > 0).toBe(!isAllowed);
          expect(remaining).toBeGreaterThanOrEqual(0);
        }
      }
      const since = ((allowedAt.at(-1) ?? 0) - (allowedAt[0] ?? 0)) / 60_000;
      expect(allowedAt.length).toBeLessThanOrEqual(limit + since * limit);
      allowedAt.forEach((begin, index) => {
        // A process may hold what it took of the bucket for five seconds.
        const most = limit + ((allowedAt.at(-1)! - begin + 5_000) * limit) / 60_000;
        expect(allowedAt.length - index).toBeLessThanOrEqual(most);
      });
    };
    await fc.assert(fc.asyncProperty(fc.constantFrom(1, 10, 60, 100), steps, play), { numRuns: 25 });
  });

  it.each([
    [1, 1, 1],
    [49, 1, 49],
    [100, 2, 50],
    [600, 12, 50],
    [4_999, 99, 51],
    [5_000, 100, 50],
    [6_000, 100, 60],
  ])(
    'are %i in a minute for a process alone, by slices of %i, which are %i statements',
    async (limit, slice, count) => {
      const world = new World();
      expect(await exhaust(world.process(limit))).toBe(limit);
      expect(world.taken.every((one) => one.slice === slice)).toBe(true);
      // And one that finds nothing left.
      expect(world.taken).toHaveLength(count + 1);
    },
  );

  it('are as many as its token says, or else the settings', async () => {
    const world = new World();
    const limiter = world.process(100);
    expect(await exhaust(limiter, { id: 'a', requestsPerMinute: 7 })).toBe(7);
    expect(await exhaust(limiter, { id: 'b', requestsPerMinute: null })).toBe(100);
  });

  it('are refused without a query until there is one again, and its caller is told when', async () => {
    const world = new World();
    const limiter = world.process(30);
    await exhaust(limiter);
    const before = world.taken.length;
    expect(await limiter.take(CALLER)).toEqual({
      isAllowed: false,
      limit: 30,
      remaining: 0,
      resetSeconds: 60,
      retrySeconds: 2,
    });
    world.nowMs += 1_001;
    expect(await limiter.take(CALLER)).toMatchObject({ isAllowed: false, retrySeconds: 1 });
    world.nowMs += 998;
    expect(await limiter.take(CALLER)).toMatchObject({ isAllowed: false, retrySeconds: 1 });
    expect(world.taken).toHaveLength(before);
    world.nowMs += 1;
    expect(await limiter.take(CALLER)).toMatchObject({ isAllowed: true, remaining: 0, retrySeconds: 0 });
  });

  it('show what is left of them, and when all are there again', async () => {
    const world = new World();
    const limiter = world.process(600);
    expect(await limiter.take(CALLER)).toMatchObject({ limit: 600, remaining: 599, resetSeconds: 1, isAllowed: true });
    for (let n = 0; n < 10; n += 1) await limiter.take(CALLER);
    expect(await limiter.take(CALLER)).toMatchObject({ remaining: 588, resetSeconds: 2 });
    expect(await limiter.take(CALLER)).toMatchObject({ remaining: 587 });
    // A limit that was lowered meanwhile is no promise of more.
    expect(await limiter.take({ id: 'a', requestsPerMinute: 100 })).toMatchObject({ limit: 100, remaining: 100 });
  });

  it('are given back after five seconds where they were not used, so that other processes have them', async () => {
    const world = new World();
    const [one, two] = [world.process(600), world.process(600)];
    await one.take(CALLER);
    world.nowMs += 4_999;
    await one.take(CALLER);
    expect(world.taken).toHaveLength(1);
    world.nowMs += 1;
    await one.take(CALLER);
    expect(world.taken.slice(1)).toEqual([{ id: 'a', slice: 12, returned: 10 }]);
    expect(await exhaust(two)).toBe(600 - 12);
  });

  it('wait for the same slice where they come at once', async () => {
    const world = new World();
    const limiter = world.process(600);
    const standings = await Promise.all(Array.from({ length: 30 }, () => limiter.take(CALLER)));
    expect(standings.every(({ isAllowed }) => isAllowed)).toBe(true);
    expect(world.taken.map(({ returned }) => returned)).toEqual([0, 0, 0]);
    // Of others too, each by its own.
    await Promise.all(['b', 'c', 'b'].map((id) => limiter.take({ id, requestsPerMinute: null })));
    expect(world.taken.slice(3).map(({ id }) => id)).toEqual(['b', 'c']);
  });

  it('are not refused for good where the database was away', async () => {
    const world = new World();
    const limiter = world.process();
    world.isAway = true;
    await expect(limiter.take(CALLER)).rejects.toThrow('away');
    world.isAway = false;
    expect(await limiter.take(CALLER)).toMatchObject({ isAllowed: true });
  });

  it('take a bounded memory, whoever sends them', async () => {
    const world = new World();
    const limiter = world.process();
    const take = (n: number) => limiter.take({ id: String(n), requestsPerMinute: null });
    await Promise.all(Array.from({ length: 10_000 }, (_, n) => take(n)));
    await take(0);
    expect(world.taken).toHaveLength(10_000);
    await take(10_000);
    await take(0);
    expect(world.taken).toHaveLength(10_002);
  });

  it('are told of in the headers of the draft', () => {
    const standing = { isAllowed: true, limit: 600, remaining: 588, resetSeconds: 2, retrySeconds: 0 };
    expect(rateLimitHeaders(standing)).toEqual({
      'ratelimit-policy': '"default";q=600;w=60',
      ratelimit: '"default";r=588;t=2',
    });
  });
});
