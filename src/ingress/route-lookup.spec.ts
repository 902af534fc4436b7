import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Database } from '../database/database.js';
import type { ChangeWaiter, WaitEnd } from '../jobs/change-waiter.js';
import { RouteLookup, routeHolds } from './route-lookup.js';

const WAITING = {
  ...{ jobId: 'a', job: 'web', isOnItsWay: true, holdSeconds: 10, allow: [] as string[] },
  ...{ privateIp: null, port: null, deployment: null },
};
const SERVED = { ...WAITING, privateIp: '10.0.0.9', port: 80, deployment: 1 };
const FROM = '192.0.2.1';

describe('a request that waits', () => {
  let outcomes: string[];
  let leave: () => void;
  beforeEach(() => {
    outcomes = [];
    leave = routeHolds.subscribe(({ outcome }) => outcomes.push(outcome));
  });
  afterEach(() => leave());

  it.each<readonly [string, typeof WAITING | typeof SERVED | undefined, WaitEnd, string]>([
    ['something serves', SERVED, 'seen', 'served'],
    ['nothing is on its way any more', { ...WAITING, isOnItsWay: false }, 'seen', 'given-up'],
    ['no job has the host any more', undefined, 'seen', 'given-up'],
    ['its caller may not call what serves', { ...SERVED, allow: ['10.0.0.0/8'] }, 'seen', 'given-up'],
    ['the time is over', WAITING, 'over', 'ran-out'],
    ['its caller has left', WAITING, 'left', 'left'],
    ['this process ends', WAITING, 'shutdown', 'handed-on'],
  ])('until %s is counted as such', async (_, found, end, outcome) => {
    const lookup = lookupOf([WAITING, found], end);
    await hold(lookup);
    expect([outcomes, lookup.heldCount]).toEqual([[outcome], 0]);
  });

  it('for a target that refused it is led there once more, or to another', async () => {
    await hold(lookupOf([SERVED, SERVED], 'over'), '10.0.0.9:80');
    await hold(lookupOf([SERVED, { ...SERVED, port: 81 }], 'seen'), '10.0.0.9:80');
    expect(outcomes).toEqual(['retried', 'served']);
  });

  it('is not counted where it need not wait', async () => {
    await hold(lookupOf([SERVED], 'seen'));
    await hold(lookupOf([{ ...WAITING, isOnItsWay: false }], 'seen'));
    expect(outcomes).toEqual([]);
  });

  it('is counted while it waits, and beyond a hundred of a job as one that found no place', async () => {
    const ending = Promise.withResolvers<WaitEnd>();
    const lookup = lookupOf([WAITING], ending.promise);
    const waiting = Array.from({ length: 100 }, () => hold(lookup));
    await hold(lookup);
    expect([outcomes, lookup.heldCount]).toEqual([['no-place'], 100]);
    ending.reject(new Error('Postgres is away'));
    expect((await Promise.allSettled(waiting)).every(({ status }) => status === 'rejected')).toBe(true);
    expect([new Set(outcomes), outcomes.length, lookup.heldCount]).toEqual([new Set(['no-place', 'failed']), 101, 0]);
  });

  const hold = (lookup: RouteLookup, not = '') =>
    lookup.await('web.jobs.test', { not, from: FROM }, new AbortController().signal);
});

/** @param rows what the database has at each look, the last one from then on @param end of each wait, after one look */
function lookupOf(rows: readonly (object | undefined)[], end: WaitEnd | Promise<WaitEnd>): RouteLookup {
  const left = [...rows];
  const run = () => Promise.resolve([left.length > 1 ? left.shift() : left[0]]);
  const wait: ChangeWaiter['wait'] = async (_job, _ms, _signal, look) => {
    await look();
    return await end;
  };
  return new RouteLookup({ run } as unknown as Database, { wait } as unknown as ChangeWaiter, undefined);
}
