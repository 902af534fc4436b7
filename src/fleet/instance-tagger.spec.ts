import { describe, expect, it } from '@jest/globals';
import { AwsError } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import { InstanceTagger, type InstanceTaggerOptions } from './instance-tagger.js';

/** Instances of jobs `job-of-<id>`, and EC2’s tags. */
function world() {
  const state = {
    now: 0,
    isHeld: true,
    /** Without an attempt by now. */
    ownerless: [] as string[],
    failure: null as Error | null,
    tags: new Map<string, object>(),
    log: [] as object[],
  };
  const budget = new CallBudget({ share: 1, now: () => state.now, start: { kind: 'full' } });
  const options = {
    database: {
      run: (_: object, [id]: [string]) =>
        Promise.resolve(state.ownerless.includes(id) ? [] : [{ job: `job-of-${id}`, deployment: 7 }]),
    },
    ec2: {
      createTags: ([id]: [string], tags: { Key: string; Value: string }[]) => {
        if (state.failure) return Promise.reject(state.failure);
        state.tags.set(id, Object.fromEntries(tags.map(({ Key, Value }) => [Key, Value])));
        return Promise.resolve();
      },
    },
    lease: {
      cluster: 'ours',
      get isHeld() {
        return state.isHeld;
      },
    },
    budget,
    log: { warn: (text: string, fields: object) => void state.log.push({ text, ...fields }) },
  };
  return { state, budget, tagger: new InstanceTagger(options as unknown as InstanceTaggerOptions) };
}
const idsOf = (count: number) => Array.from({ length: count }, (_, n) => `i-${n}`);

describe('the names of instances in the console', () => {
  it('say cluster, job and deployment; one that has lost its job meanwhile is passed by', async () => {
    const { state, tagger } = world();
    state.ownerless = ['i-0'];
    tagger.add(['i-0', 'i-1']);
    tagger.add(['i-2']);
    expect(await tagger.run()).toBe(60_000);
    expect([...state.tags.keys()]).toEqual(['i-1', 'i-2']);
    expect(state.tags.get('i-1')).toEqual({
      Name: 'ours/job-of-i-1',
      'scheduler-api:job': 'job-of-i-1',
      'scheduler-api:deployment': '7',
    });
    state.tags.clear();
    expect(await tagger.run()).toBe(60_000);
    expect(state.tags.size).toBe(0);
  });

  it('wait for our share of EC2’s quota, and lose none meanwhile', async () => {
    const { state, tagger } = world();
    tagger.add(idsOf(101));
    expect(await tagger.run()).toBe(100);
    expect(state.tags.size).toBe(100);
    state.now = 99.5;
    expect(await tagger.run()).toBe(1);
    state.now = 100;
    expect(await tagger.run()).toBe(60_000);
    expect([...state.tags.keys()]).toEqual(idsOf(101));
  });

  it('are given up for the first of more than two thousand', async () => {
    const { state, tagger } = world();
    tagger.add(idsOf(2_001));
    for (let left = 30; left > 0; left -= 1) {
      await tagger.run();
      state.now += 10_000;
    }
    expect([...state.tags.keys()]).toEqual(idsOf(2_001).slice(1));
  });

  it('are not tried again where EC2 refuses one, and others are not held up', async () => {
    const { state, budget, tagger } = world();
    const facts = { action: 'CreateTags', code: 'X', message: 'no' } as const;
    state.failure = new AwsError({ ...facts, kind: 'permission', reason: 'permission-denied' });
    tagger.add(['i-0', 'i-1']);
    expect(await tagger.run()).toBe(60_000);
    const refused = { text: 'instance was not tagged', reason: 'permission-denied', message: 'no' };
    expect(state.log).toEqual(['i-0', 'i-1'].map((instanceId) => ({ ...refused, instanceId })));
    state.failure = new AwsError({ ...facts, kind: 'throttled', reason: 'ec2-throttled' });
    tagger.add(['i-2']);
    await tagger.run();
    expect(budget.take('CreateTags')).toBeGreaterThan(0);
    state.failure = new TypeError('a fault of ours');
    state.now += 60_000;
    tagger.add(['i-3']);
    await expect(tagger.run()).rejects.toBe(state.failure);
  });

  it('are given by the owner only', async () => {
    const { state, tagger } = world();
    state.isHeld = false;
    tagger.add(['i-0']);
    expect(await tagger.run()).toBe(60_000);
    expect(state.tags.size).toBe(0);
  });
});
