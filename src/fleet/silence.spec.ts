import { describe, expect, it } from '@jest/globals';
import { AwsError } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import type { Ec2Health } from '../aws/ec2-types.js';
import { Silence, type SilenceOptions } from './silence.js';

// Since when silence counts, and what is asked of EC2; what its statements do is in test/integration.

const START = Date.parse('2026-03-01T12:00:00.000Z');

/** Agents by how long they have been silent, seen every fifteen seconds as the fleet does. */
function world(silent: Record<string, string | null>, total = 20) {
  const state = {
    now: new Date(START),
    /** Of the clock of the quota. */
    aheadMs: 0,
    isHeld: true,
    lastSeenAt: new Date(START - 100_000),
    silent,
    total,
    returned: [] as string[],
    health: 'impaired' as Ec2Health,
    /** Zones whose checks EC2 does not return. */
    failing: new Map<string, Error>(),
    asked: [] as (readonly string[])[],
    marked: [] as unknown[],
    woken: [] as unknown[],
    signals: 0,
    log: [] as object[],
  };
  const run = ({ name }: { name: string }, values: unknown[]) => {
    const { now, returned } = state;
    const found = Object.entries(state.silent).map(([id, availabilityZone]) => ({
      ...{ id, availabilityZone, lastSeenAt: state.lastSeenAt.toISOString() },
    }));
    if (name === 'fleet-silence') return Promise.resolve([{ now, total: state.total, silent: found, returned }]);
    if (name === 'fleet-silence-jobs') state.woken.push(...(values[0] as string[]));
    if (name === 'fleet-silence-mark') state.marked.push(values.slice(0, 2));
    return Promise.resolve([]);
  };
  const log = (text: string, fields: object) => void state.log.push({ text, ...fields });
  const budget = new CallBudget({ share: 1, now: () => state.now.getTime() + state.aheadMs, start: { kind: 'full' } });
  const options = {
    database: { run },
    signals: { jobsDue: () => void (state.signals += 1) },
    ec2: {
      describeStatuses: (ids: readonly string[]) => {
        state.asked.push(ids);
        const failure = ids.map((id) => state.failing.get(state.silent[id] ?? '')).find(Boolean);
        return failure ? Promise.reject(failure) : Promise.resolve(new Map(ids.map((id) => [id, state.health])));
      },
    },
    lease: {
      get isHeld() {
        return state.isHeld;
      },
      transaction: (work: (transaction: object) => Promise<unknown>) => work({ run }),
    },
    budget,
    log: { info: log, warn: log, error: log },
    since: new Date(START - 86_400_000),
  };
  const silence = new Silence(options as unknown as SilenceOptions);
  const look = async (seconds = 15) => {
    state.now = new Date(state.now.getTime() + seconds * 1000);
    expect(await silence.run()).toBe(15_000);
    return state.marked.splice(0);
  };
  return { state, budget, look };
}

describe('silence', () => {
  it('marks the lost and wakes their jobs, and those of agents that are heard again', async () => {
    const { state, look } = world({ 'i-1': 'a' });
    expect(await look()).toEqual([[['i-1'], []]]);
    expect([state.woken, state.signals]).toEqual([['i-1'], 1]);
    expect(state.log).toEqual([{ text: 'instance unreachable', instanceId: 'i-1', reason: 'checks-impaired' }]);
    Object.assign(state, { silent: {}, returned: ['i-1'], woken: [], log: [] });
    expect(await look()).toEqual([[[], ['i-1']]]);
    expect([state.woken, state.log]).toEqual([['i-1'], []]);
    state.returned = [];
    expect(await look()).toEqual([]);
    expect(state.signals).toBe(2);
  });

  it('asks zone by zone: the checks of a zone that is out do not hold up those of others', async () => {
    const { state, look } = world({ 'i-1': 'a', 'i-2': 'b', 'i-3': 'a' });
    const message = 'no';
    const facts = { action: 'DescribeInstanceStatus', code: 'X', message } as const;
    state.failing.set('a', new AwsError({ ...facts, kind: 'unknown-outcome', reason: 'ec2-unavailable' }));
    expect(await look()).toEqual([[['i-2'], []]]);
    expect(state.asked).toEqual([['i-1', 'i-3'], ['i-2']]);
    expect(state.log[0]).toEqual({
      ...{ text: 'EC2 did not return its checks of silent instances', reason: 'ec2-unavailable', message },
    });
    state.failing.set('a', new TypeError('a fault of ours'));
    await expect(look()).rejects.toThrow('a fault of ours');
  });

  it('asks for the checks of instances whose zone is not known together', async () => {
    const { state, look } = world({ 'i-1': null, 'i-2': null });
    await look();
    expect(state.asked).toEqual([['i-1', 'i-2']]);
  });

  it('asks nothing while our share of EC2’s quota is spent, and less often once EC2 has throttled it', async () => {
    const { state, budget, look } = world({ 'i-1': 'a' });
    while (budget.take('DescribeInstanceStatus') === 0);
    // Twenty calls a second: the next is due in a millisecond.
    state.aheadMs = 49.5;
    expect(await look(0)).toEqual([]);
    expect(state.asked).toEqual([]);
    const facts = { action: 'DescribeInstanceStatus', code: 'X', message: 'no' } as const;
    state.failing.set('a', new AwsError({ ...facts, kind: 'throttled', reason: 'ec2-throttled' }));
    await look(15);
    expect(state.asked).toHaveLength(1);
    expect(budget.take('DescribeInstanceStatus')).toBeGreaterThan(0);
  });

  it.each([
    [60, true],
    [60.001, false],
  ])('counts silence anew where it was not looked for %d seconds: is anybody lost? %s', async (seconds, isLost) => {
    const { state, look } = world({});
    await look();
    state.silent = { 'i-1': 'a' };
    expect((await look(seconds)).length > 0).toBe(isLost);
    // Ninety seconds from then on.
    for (let passed = 0; passed < 75; passed += 15) expect((await look()).length > 0).toBe(isLost);
    expect(await look()).toHaveLength(1);
  });

  it('heals nobody, raises one alarm and counts silence anew when so many are silent that it must be us', async () => {
    const { state, look } = world({ 'i-1': 'a', 'i-2': 'a', 'i-3': 'a', 'i-4': 'a' }, 10);
    const alarm = {
      text: 'so many agents are silent that it must be us: no job is healed',
      ...{ alarm: true, silent: 4, total: 10 },
    };
    for (let looks = 0; looks < 3; looks += 1) {
      expect(await look()).toEqual([]);
      expect(state.log).toEqual([alarm]);
    }
    state.log = [];
    state.silent = { 'i-1': 'a' };
    for (let passed = 0; passed < 75; passed += 15) expect(await look()).toEqual([]);
    expect(state.log).toEqual([{ text: 'agents are heard again', silent: 1, total: 10 }]);
    expect(state.asked).toEqual([]);
    expect(await look()).toEqual([[['i-1'], []]]);
  });

  it('looks at nothing while another process is the owner', async () => {
    const { state, look } = world({ 'i-1': 'a' });
    state.isHeld = false;
    expect(await look()).toEqual([]);
    expect(state.asked).toEqual([]);
  });
});
