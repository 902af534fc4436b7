import { describe, expect, it } from '@jest/globals';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import type { Ec2Instance } from '../aws/ec2-types.js';
import { describeByZone, type Located, mayBeOneZone } from './describe-by-zone.js';

const failed = (kind: AwsErrorKind, reason = 'ec2-unavailable') =>
  new AwsError({ action: 'DescribeInstances', code: 'X', kind, reason, message: 'no' });
const OUTAGE = failed('unknown-outcome');

/** As EC2 answers a describe by id: a zone that is out, and ids it does not know, fail the call. */
function ec2(known: readonly Located[], zonesOut: readonly string[]) {
  const asked: (readonly string[])[] = [];
  const ask = async (ids: readonly string[]) => {
    asked.push(ids);
    const found = ids.map((id) => known.find((one) => one.id === id));
    if (found.includes(undefined)) throw failed('not-found', 'instance-not-found');
    if (found.some((one) => zonesOut.includes(one?.availabilityZone ?? ''))) throw OUTAGE;
    return Promise.resolve(ids.map((id) => ({ id }) as Ec2Instance));
  };
  return { ask, asked };
}

function located(zone: string | null, count: number, from = 0): Located[] {
  return Array.from({ length: count }, (_, n) => ({ id: `i-${zone}-${from + n}`, availabilityZone: zone }));
}

const idsOf = (instances: readonly { readonly id: string }[]) => instances.map(({ id }) => id).toSorted();

describe('a describe zone by zone', () => {
  it('tells of all zones but the one that is out, in calls of 200 ids at most', async () => {
    const [a, b] = [located('a', 800), located('b', 3)];
    const { ask, asked } = ec2([...a, ...b], ['b']);
    const { observed, unanswered } = await describeByZone([...a, ...b], ask, OUTAGE);
    expect(idsOf(observed)).toEqual(idsOf(a));
    expect(unanswered).toEqual(['b']);
    expect(Math.max(...asked.map(({ length }) => length))).toBeLessThanOrEqual(200);
    expect(asked).toHaveLength(5);
  });

  it('finds the ids that EC2 does not know in few calls, and tells of the others', async () => {
    const a = located('a', 200);
    const { ask, asked } = ec2(a.toSpliced(77, 1), []);
    const { observed, unanswered } = await describeByZone(a, ask, OUTAGE);
    expect(idsOf(observed)).toEqual(idsOf(a.toSpliced(77, 1)));
    expect(unanswered).toEqual([]);
    expect(asked.length).toBeLessThan(20);
  });

  it('asks a large zone that is out once', async () => {
    const [a, b] = [located('a', 1), located('b', 900)];
    const { ask, asked } = ec2([...a, ...b], ['b']);
    expect((await describeByZone([...a, ...b], ask, OUTAGE)).unanswered).toEqual(['b']);
    expect(asked).toHaveLength(2);
  });

  it('finds out one by one where it is not known in which zone they are', async () => {
    const where = [...located('a', 5), ...located('b', 1)];
    const { ask } = ec2(where, ['b']);
    const unknown = where.map(({ id }) => ({ id, availabilityZone: null }));
    const { observed, unanswered } = await describeByZone(unknown, ask, OUTAGE);
    expect(idsOf(observed)).toEqual(idsOf(located('a', 5)));
    expect(unanswered).toEqual(['an unknown zone']);
  });

  it.each([
    ['no zone is answered for', located('a', 2)],
    ['there is nothing to ask for', []],
  ])('fails as the describe before it did where %s', async (_, instances) => {
    const { ask } = ec2(instances, ['a']);
    await expect(describeByZone(instances, ask, OUTAGE)).rejects.toBe(OUTAGE);
  });

  it('is no help where EC2 refuses, throttles or cannot be reached', async () => {
    expect(mayBeOneZone(OUTAGE)).toBe(true);
    expect(mayBeOneZone(failed('unknown-outcome', 'ec2-timed-out'))).toBe(true);
    for (const error of [failed('permission'), failed('throttled'), failed('unknown-outcome', 'ec2-unreachable')]) {
      expect(mayBeOneZone(error)).toBe(false);
      const ask = () => Promise.reject(error);
      if (error.kind !== 'unknown-outcome')
        await expect(describeByZone(located('a', 1), ask, OUTAGE)).rejects.toBe(error);
    }
  });
});
