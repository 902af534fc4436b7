import { describe, expect, it } from '@jest/globals';
import type { Ec2Health } from '../../aws/ec2-types.js';
import { planSilence, instancesToCheck } from './plan-silence.js';

const NOW = new Date('2026-03-01T12:00:00.000Z');
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const silent = (count: number, seconds: number) =>
  Array.from({ length: count }, (_, n) => ({ id: `i-${n}`, lastSeenAt: ago(seconds) }));
const health = (state: Ec2Health, count = 1) =>
  new Map(Array.from({ length: count }, (_, n): [string, Ec2Health] => [`i-${n}`, state]));

const facts = { silent: silent(1, 100), total: 10, listeningSince: ago(86_400), now: NOW, health: health('ok') };

describe('planSilence', () => {
  it.each<[string, Partial<typeof facts>, string[]]>([
    ['heals nobody whom EC2 calls well', {}, []],
    ['heals whom EC2 calls impaired', { health: health('impaired') }, ['checks-impaired']],
    ['does not take a failed describe for a reason', { silent: silent(1, 9_999), health: new Map() }, []],
    ['does not take a boot for a reason', { health: health('initializing') }, []],
    ['does not heal yet', { silent: silent(1, 89), health: health('impaired') }, []],
    ['heals from a minute and a half on', { silent: silent(1, 90), health: health('impaired') }, ['checks-impaired']],
    ['does not heal within half an hour', { silent: silent(1, 1799) }, []],
    ['heals after half an hour whatever EC2 says', { silent: silent(1, 1800) }, ['silent-too-long']],
    ['heals nobody for that when nobody at all is heard', { silent: silent(1, 9_999), total: 1 }, []],
    ['heals the only one when EC2 calls it impaired', { total: 1, health: health('impaired') }, ['checks-impaired']],
    [
      'counts silence from when we began to listen',
      { silent: silent(1, 9_999), listeningSince: ago(89), health: health('impaired') },
      [],
    ],
  ])('%s', (_, overrides, reasons) => {
    const plan = planSilence({ ...facts, ...overrides });
    expect(plan.unreachable.map(({ reason }) => reason)).toEqual(reasons);
    expect(plan.isCutOff).toBe(false);
  });

  it.each<[silent: number, total: number, isCutOff: boolean]>([
    [3, 3, false],
    [4, 4, true],
    [4, 19, true],
    [4, 20, false],
    [20, 100, false],
    [21, 100, true],
    [200, 200, true],
  ])('%d of %d silent: are we cut off? %s', (count, total, isCutOff) => {
    const plan = planSilence({ ...facts, silent: silent(count, 9_999), total, health: health('impaired', count) });
    expect(plan.isCutOff).toBe(isCutOff);
    expect(plan.unreachable).toHaveLength(isCutOff ? 0 : count);
  });

  it('asks EC2 about those silent long enough only, and about nobody while we are cut off', () => {
    expect(instancesToCheck({ ...facts, silent: [...silent(1, 100), { id: 'i-9', lastSeenAt: ago(10) }] })).toEqual([
      'i-0',
    ]);
    expect(instancesToCheck({ ...facts, silent: silent(4, 100), total: 4 })).toEqual([]);
  });
});
