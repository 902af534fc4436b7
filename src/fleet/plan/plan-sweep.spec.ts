import { describe, expect, it } from '@jest/globals';
import type { Ec2Instance } from '../../aws/ec2-types.js';
import { type KnownInstance, planSweep, type SweepInput } from './plan-sweep.js';

const NOW = new Date('2026-03-01T12:00:00.000Z');
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const TAGS = { cluster: 'c', launch: 'l' };

const seen = (overrides: Partial<Ec2Instance> = {}): Ec2Instance => ({
  id: 'i-1',
  state: 'running',
  stateReason: null,
  launchedAt: ago(3600),
  availabilityZone: 'us-west-2a',
  type: 't3.small',
  imageId: 'ami-1',
  privateIp: '10.0.0.1',
  publicIp: null,
  tags: { c: 'ours', l: 'launch-1' },
  ...overrides,
});
const row = (overrides: Partial<KnownInstance> = {}): KnownInstance => ({
  id: 'i-1',
  state: 'running',
  stateReason: null,
  availabilityZone: 'us-west-2a',
  instanceType: 't3.small',
  imageId: 'ami-1',
  privateIp: '10.0.0.1',
  publicIp: null,
  launchedAt: ago(3600),
  observedAt: ago(30),
  missingSince: null,
  terminatedAt: null,
  retireReason: null,
  quarantined: false,
  ...overrides,
});
const sweep = (overrides: Partial<SweepInput>) =>
  planSweep({
    observed: [],
    known: [],
    launches: new Set(['launch-1']),
    absent: new Set(),
    tagKeys: TAGS,
    cluster: 'ours',
    startedAt: NOW,
    now: NOW,
    ...overrides,
  });

describe('planSweep: EC2 → database', () => {
  it.each([
    ['forgets the address of one that runs without it', 'running', null],
    ['keeps for history the address of one that is over', 'terminated', '203.0.113.9'],
  ] as const)('%s', (_, state, publicIp) => {
    const { updates } = sweep({ observed: [seen({ state })], known: [row({ publicIp: '203.0.113.9' })] });
    expect(updates).toMatchObject([{ state, publicIp }]);
  });

  it('takes in what came from a launch of ours', () => {
    const plan = sweep({ observed: [seen()] });
    expect(plan.inserts).toEqual([{ instance: seen(), launchId: 'launch-1' }]);
    expect(plan.quarantines).toEqual([]);
  });

  it.each([
    ['of a launch we do not know', { c: 'ours', l: 'launch-9' }],
    ['without a launch', { c: 'ours' }],
  ])('quarantines an instance %s, and never retires it', (_, tags: Record<string, string>) => {
    const plan = sweep({ observed: [seen({ tags })] });
    expect(plan.quarantines).toHaveLength(1);
    expect(plan.inserts).toEqual([]);
    const later = sweep({ observed: [seen({ tags, state: 'stopped' })], known: [row({ quarantined: true })] });
    expect(later.updates[0]).toMatchObject({ state: 'stopped', retireReason: null });
  });

  it.each([
    ['has another cluster’s tag', { c: 'theirs', l: 'launch-1' }, 'running'],
    ['has no tag of ours', {}, 'running'],
    ['has ended', { c: 'ours', l: 'launch-1' }, 'terminated'],
  ] as const)('leaves alone what %s', (_, tags, state) => {
    expect(sweep({ observed: [seen({ tags, state })] })).toEqual({ inserts: [], quarantines: [], updates: [] });
  });

  it('touches no row that is as it should be', () => {
    expect(sweep({ observed: [seen()], known: [row()] }).updates).toEqual([]);
  });

  it('notes now and then that it is still there, which is no change', () => {
    const [update] = sweep({ observed: [seen()], known: [row({ observedAt: ago(600) })] }).updates;
    expect(update).toMatchObject({ observed: true, isChange: false });
  });

  it.each([
    ['running', 'terminated', 'terminated', true],
    ['running', 'shutting-down', 'shutting-down', false],
    ['pending', 'running', 'running', false],
    ['shutting-down', 'terminated', 'terminated', true],
    ['stopped', 'pending', 'pending', false],
    ['gone', 'terminated', 'terminated', true],
  ] as const)('%s seen as %s is %s', (from, to, state, isOver) => {
    const terminatedAt = from === 'gone' ? ago(9) : null;
    const [update] = sweep({ observed: [seen({ state: to })], known: [row({ state: from, terminatedAt })] }).updates;
    expect(update).toMatchObject({ state, isOver, isChange: true });
  });

  it.each([
    ['terminated', 'running'],
    ['terminated', 'shutting-down'],
    ['shutting-down', 'running'],
    ['running', 'pending'],
    ['stopping', 'pending'],
  ] as const)('never goes back from %s to %s: an older copy of EC2’s index answered', (from, to) => {
    const known = row({
      state: from,
      terminatedAt: from === 'terminated' ? ago(9) : null,
      retireReason: from === 'stopping' ? 'stopped-outside' : null,
    });
    expect(sweep({ observed: [seen({ state: to })], known: [known] }).updates).toEqual([]);
  });

  it('keeps the addresses of what has ended', () => {
    const observed = [seen({ state: 'terminated', privateIp: null, stateReason: 'Client.UserInitiatedShutdown' })];
    const [update] = sweep({ observed, known: [row()] }).updates;
    expect(update).toMatchObject({ privateIp: '10.0.0.1', stateReason: 'Client.UserInitiatedShutdown' });
  });

  it('keeps what EC2 leaves out of an answer, and takes over what it says', () => {
    const columns = {
      stateReason: 'Client.UserInitiatedShutdown',
      availabilityZone: 'us-west-2a',
      instanceType: 't3.small',
      imageId: 'ami-1',
      privateIp: '10.0.0.1',
      publicIp: '203.0.113.9',
    };
    const none = { stateReason: null, availabilityZone: null, imageId: null, privateIp: null, publicIp: null };
    const { instanceType: type, ...others } = columns;
    const other = { ...columns, availabilityZone: 'us-west-2b', instanceType: 't3.medium', imageId: 'ami-2' };
    const update = (observed: Partial<Ec2Instance>, known: Partial<KnownInstance>) =>
      sweep({ observed: [seen({ state: 'terminated', ...observed })], known: [row(known)] }).updates;
    expect(update({ ...none, type: null }, columns)).toMatchObject([columns]);
    expect(update({ ...others, type }, { ...none, instanceType: null })).toMatchObject([columns]);
    expect(update({ ...others, type }, other)).toMatchObject([columns]);
  });

  it.each(['stopping', 'stopped'] as const)('retires what is %s, unless it is retired already', (state) => {
    expect(sweep({ observed: [seen({ state })], known: [row()] }).updates[0]?.retireReason).toBe('stopped-outside');
    const retired = [row({ retireReason: 'attempt-ended' })];
    expect(sweep({ observed: [seen({ state })], known: retired }).updates[0]?.retireReason).toBeNull();
  });

  it('retires what reappears after it was called gone: its work is done elsewhere', () => {
    const [update] = sweep({ observed: [seen()], known: [row({ state: 'gone', terminatedAt: ago(9) })] }).updates;
    expect(update).toMatchObject({ state: 'running', isOver: false, retireReason: 'reappeared' });
  });

  it('is not missing any more once it is seen', () => {
    const [update] = sweep({ observed: [seen()], known: [row({ missingSince: ago(30) })] }).updates;
    expect(update).toMatchObject({ missingSince: null, isChange: true });
  });
});

describe('planSweep: database → EC2', () => {
  const absent = new Set(['i-1']);

  it.each<[string, Partial<KnownInstance>, object | null]>([
    [
      'misses it the first time',
      {},
      { state: 'running', missingSince: NOW, observed: false, isOver: false, isChange: false },
    ],
    ['waits for a second time', { missingSince: ago(59) }, null],
    [
      'calls it gone then',
      { missingSince: ago(60), launchedAt: ago(600) },
      { state: 'gone', missingSince: ago(60), observed: false, isOver: true, isChange: true },
    ],
    ['waits when it is young', { missingSince: ago(60), launchedAt: ago(599) }, null],
    ['expects what was launched more than two minutes ago', { launchedAt: ago(121) }, { missingSince: NOW }],
    ['does not expect what was just launched', { launchedAt: ago(120) }, null],
    ['has nothing to say of what has ended', { state: 'terminated', terminatedAt: ago(99) }, null],
  ])('%s', (_, overrides, expected) => {
    const { updates } = sweep({ known: [row(overrides)], absent });
    if (expected === null) expect(updates).toEqual([]);
    else expect(updates).toEqual([expect.objectContaining(expected)]);
  });

  it.each<[string, Partial<KnownInstance>]>([
    ['does not expect what was launched while it went through the pages', { launchedAt: ago(210) }],
    ['takes two that began less than a minute apart for one', { missingSince: ago(150) }],
    ['counts the age of what may be gone from its beginning', { missingSince: ago(600), launchedAt: ago(690) }],
  ])('%s', (_, overrides) => {
    const facts = { known: [row(overrides)], absent };
    expect(sweep({ ...facts, startedAt: ago(100) }).updates).toEqual([]);
    expect(sweep(facts).updates).toHaveLength(1);
  });

  it('says nothing of what was not asked for by id', () => {
    expect(sweep({ known: [row({ missingSince: ago(600) })] }).updates).toEqual([]);
  });
});
