import { describe, expect, it } from '@jest/globals';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import { CLUSTER_TAG, type Ec2Instance, LAUNCH_TAG } from '../aws/ec2-types.js';
import type { InstanceUpdate, KnownInstance } from './plan/plan-sweep.js';
import { Sweep, type SweepOptions } from './sweep.js';

// When the sweep looks at which instances, and whom it wakes; what its statements do is in test/integration.

const NOW = new Date('2026-03-01T12:00:00.000Z');
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const LAUNCH = '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11';

const failed = (kind: AwsErrorKind, reason = `reason-of-${kind}`) =>
  new AwsError({ action: 'DescribeInstances', code: 'X', kind, reason, message: 'no.' });
const OUTAGE = failed('unknown-outcome', 'ec2-unavailable');

const row = (id: string, overrides: Partial<KnownInstance> = {}): KnownInstance => ({
  ...{ id, state: 'running', stateReason: null, availabilityZone: 'zone-a', instanceType: 't3.small' },
  ...{ imageId: 'ami-1', privateIp: null, publicIp: null, launchedAt: ago(3600), observedAt: ago(9) },
  ...{ missingSince: null, terminatedAt: null, retireReason: null, quarantined: false },
  ...overrides,
});
const inCloud = (id: string, overrides: Partial<Ec2Instance> = {}): Ec2Instance => ({
  ...{ id, state: 'running', stateReason: null, launchedAt: ago(3600), availabilityZone: 'zone-a' },
  ...{ type: 't3.small', imageId: 'ami-1', privateIp: null, publicIp: null },
  tags: { [CLUSTER_TAG]: 'ours', [LAUNCH_TAG]: LAUNCH },
  ...overrides,
});
const idsOf = (count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => `i-${String(n + from).padStart(4, '0')}`);

/** Rows of instances as its statements read and write them, and EC2, which answers in pages. */
function world(
  rows: KnownInstance[],
  cloud: Ec2Instance[] = rows.map(({ id, availabilityZone }) => inCloud(id, { availabilityZone })),
) {
  const state = {
    nowMs: 0,
    isHeld: true,
    rows: new Map(rows.map((one) => [one.id, one])),
    cloud: new Map(cloud.map((one) => [one.id, one])),
    /** Pages of the answer, beside one with all instances. */
    emptyPages: 0,
    failure: null as Error | null,
    zoneOut: null as string | null,
    launches: [LAUNCH],
    forgotten: [] as string[],
    hasJobs: true,
    hasShapes: true,
    /** Times of looks at all instances, and ids of the other calls. */
    looks: [] as number[],
    asked: [] as (readonly string[])[],
    updated: [] as number[],
    written: [] as string[],
    /** Shapes that were woken last, and instances whose end woke jobs. */
    woken: [] as string[],
    over: [] as string[],
    tags: [] as (string | null)[],
    events: [] as { type: string; instance: string; reason?: string }[],
    signals: [] as string[],
    troubles: [] as (string | null)[],
    log: [] as object[],
  };
  const known = (isWanted: (one: KnownInstance) => boolean) =>
    [...state.rows.values()].filter(isWanted).map((one) => ({ ...one, now: NOW }));
  const statements: Record<string, (...values: never[]) => unknown[]> = {
    'fleet-clock': () => [{ now: NOW }],
    'fleet-instances': (ids: string[]) => known(({ id }) => ids.includes(id)),
    'fleet-all-instances': (ids: string[]) =>
      known(({ id, terminatedAt }) => ids.includes(id) || terminatedAt === null),
    'fleet-wake-shapes': (keys: string[]) => state.woken.splice(0, Infinity, ...keys),
    'fleet-known-launches': (ids: string[]) => {
      if (ids.some((id) => !/^[0-9a-f-]{36}$/.test(id))) throw new Error('invalid input syntax for type uuid');
      return ids.filter((id) => state.launches.includes(id)).map((id) => ({ id }));
    },
    'fleet-sweep-jobs': (ids: string[], over: string[]) => {
      state.over = over;
      return state.hasJobs ? ids : [];
    },
    'fleet-sweep-update': (json: string) => {
      const updates = JSON.parse(json) as InstanceUpdate[];
      state.updated.push(updates.length);
      state.written.push(...updates.map(({ id }) => id));
      return updates.map((update) => {
        const before = state.rows.get(update.id);
        const wasLiving = before?.terminatedAt === null;
        const after = { ...before, ...update, terminatedAt: update.isOver ? NOW : null } as unknown as KnownInstance;
        state.rows.set(update.id, after);
        const isRetiring = before?.retireReason === null && update.retireReason !== null;
        return {
          ...after,
          shapeKey: state.hasShapes ? 'shape' : null,
          hasEnded: wasLiving && update.isOver,
          isRetiring,
        };
      });
    },
    'fleet-shape-of-launch': (id: string) => (state.launches.includes(id) ? [{ shapeKey: 'shape' }] : []),
    'fleet-upsert-instances': (json: string) => {
      const found = JSON.parse(json) as Ec2Instance[];
      for (const { id } of found) state.rows.set(id, row(id));
      return found.map(({ id }) => ({ id, isNew: true, isOver: false }));
    },
    'fleet-sweep-quarantine': (json: string) => {
      const seen = JSON.parse(json) as (Ec2Instance & { launchTag: string | null })[];
      state.tags.push(...seen.map(({ launchTag }) => launchTag));
      const found = seen.filter(({ id }) => !state.rows.has(id));
      for (const { id } of found) state.rows.set(id, row(id, { quarantined: true }));
      return found;
    },
    'append-instance-events': (json: string) => {
      state.events.push(...(JSON.parse(json) as typeof state.events));
      return [];
    },
    'fleet-retire-forgotten': () => state.forgotten.map((id) => ({ id })),
    'fleet-in-between': (after: string, most: number) =>
      known(({ id, state: at, terminatedAt }) => id > after && at !== 'running' && terminatedAt === null)
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
        .slice(0, most),
  };
  const run = ({ name }: { name: string }, values: never[]) => Promise.resolve(statements[name]?.(...values) ?? []);
  const answer = (ids: readonly string[]) => {
    state.asked.push(ids);
    const found = ids.flatMap((id) => state.cloud.get(id) ?? []);
    if (state.failure) return Promise.reject(state.failure);
    if (found.some(({ availabilityZone }) => availabilityZone === state.zoneOut)) return Promise.reject(OUTAGE);
    return Promise.resolve(found);
  };
  const signal = (name: string) => () => void state.signals.push(name);
  const log = (text: string, fields: object) => void state.log.push({ text, ...fields });
  const budget = new CallBudget({ share: 1, now: () => state.nowMs, start: { kind: 'full' } });
  const options = {
    database: { run },
    signals: { eventsWritten: signal('events'), jobsDue: signal('jobs'), shapesDue: signal('shapes') },
    ec2: {
      describeByTag: async function* () {
        state.looks.push(state.nowMs);
        if (state.failure) throw state.failure;
        if (state.zoneOut !== null) throw OUTAGE;
        for (let page = 0; page < state.emptyPages; page += 1) yield await Promise.resolve([]);
        yield [...state.cloud.values()].filter(({ tags }) => tags[CLUSTER_TAG] !== undefined);
      },
      describeByIds: answer,
      describeExactly: answer,
    },
    lease: {
      cluster: 'ours',
      get isHeld() {
        return state.isHeld;
      },
      transaction: (work: (transaction: object) => Promise<unknown>) => work({ run }),
    },
    budget,
    log: { info: log, warn: log, error: log },
    onAwsTrouble: (trouble: string | null) => void state.troubles.push(trouble),
  };
  return { state, budget, sweep: new Sweep(options as unknown as SweepOptions, () => state.nowMs) };
}

describe('the sweep: when it looks', () => {
  it.each([
    [1, 10_000, [10_000, 10_000]],
    [8, 10_000, [10_000, 10_000]],
    [9, 10_800, [10_000, 800]],
    [20, 24_000, [10_000, 10_000, 4_000]],
    [50, 60_000, [10_000, 10_000, 10_000, 10_000, 10_000, 10_000]],
    [80, 60_000, [10_000, 10_000, 10_000, 10_000, 10_000, 10_000]],
  ])('looks at a fleet of %d pages again after %d ms', async (pages, due, pauses) => {
    const { state, sweep } = world([row('i-1')]);
    state.emptyPages = pages - 1;
    const paused: number[] = [];
    while (state.looks.length < 2 && paused.length < 10) {
      const pauseMs = await sweep.run();
      if (state.looks.length < 2) paused.push(pauseMs);
      state.nowMs += pauseMs;
    }
    expect(state.looks).toEqual([0, due]);
    expect(paused).toEqual(due === 10_000 ? [10_000] : pauses);
  });

  it('looks every two seconds at what is between two states, and only at that', async () => {
    const { state, sweep } = world([row('i-1'), row('i-2', { state: 'shutting-down' })]);
    Object.assign(state.cloud.get('i-2') ?? {}, { state: 'shutting-down' });
    expect(await sweep.run()).toBe(2_000);
    expect(state.asked).toEqual([['i-2']]);
    Object.assign(state.cloud.get('i-2') ?? {}, { state: 'terminated' });
    state.nowMs = 2_000;
    expect(await sweep.run()).toBe(2_000);
    expect(state.rows.get('i-2')?.state).toBe('terminated');
    state.nowMs = 4_000;
    expect(await sweep.run()).toBe(6_000);
    expect([state.asked.length, state.looks]).toEqual([2, [0]]);
  });

  it.each([
    [200, [200], [200]],
    [201, [200, 1], [200, 1]],
    [400, [200, 200], [200, 200]],
    [450, [200, 200], [200, 200]],
    [799, [200, 200], [200, 200]],
    [800, [200, 200], [200, 200]],
  ])('looks at %d of them in two calls a round, and at all in two rounds', async (count, first, second) => {
    const ids = idsOf(count);
    const { state, sweep } = world(ids.map((id) => row(id, { state: 'stopping', retireReason: 'x' })));
    for (const one of state.cloud.values()) Object.assign(one, { state: 'stopping' });
    const round = async () => {
      state.asked = [];
      expect(await sweep.quick()).toBe(true);
      return state.asked;
    };
    const rounds = [await round(), await round()];
    expect(rounds.map((calls) => calls.map(({ length }) => length))).toEqual([first, second]);
    expect(new Set(rounds.flat(2)).size).toBe(count);
    expect(rounds[0]?.flat()).toEqual(ids.slice(0, 400));
    expect((await round()).flat()).toEqual(count > 400 ? ids.slice(0, 400) : ids);
  });

  it('pays for each call from our share of EC2’s quota', async () => {
    const paid = ({ budget }: ReturnType<typeof world>) => 100 - (budget.snapshot()['DescribeInstances'] ?? 0);
    const pages = world([row('i-1')]);
    pages.state.emptyPages = 4;
    await pages.sweep.full();
    expect(paid(pages)).toBeGreaterThanOrEqual(5);
    const few = world(idsOf(201).map((id) => row(id, { state: 'pending' })));
    await few.sweep.quick();
    expect(paid(few)).toBe(2);
    const zones = world([row('i-1'), row('i-2', { availabilityZone: 'zone-b' })]);
    zones.state.zoneOut = 'zone-b';
    await zones.sweep.full();
    expect(paid(zones)).toBe(1 + zones.state.asked.length);
  });

  it('looks at nothing while another process is the owner', async () => {
    const { state, sweep } = world([row('i-1')]);
    state.isHeld = false;
    expect(await sweep.run()).toBe(2_000);
    expect([state.looks, sweep.hasSeenAll]).toEqual([[], false]);
  });
});

describe('the sweep: what it tells', () => {
  it('has seen all and tells of no trouble when EC2 has shown all', async () => {
    const { state, sweep } = world([row('i-1')]);
    await sweep.run();
    expect([sweep.hasSeenAll, state.troubles, state.log]).toEqual([true, [null], []]);
    expect(state.signals).toEqual(['events']);
  });

  it.each<[string, Error, trouble: string | null, isThrottled: boolean]>([
    ['EC2 refuses', failed('permission'), 'reason-of-permission: no.', false],
    ['EC2 throttles it', failed('throttled', 'ec2-throttled'), 'ec2-throttled: no.', true],
    ['EC2 cannot be reached', failed('unknown-outcome', 'ec2-unreachable'), 'ec2-unreachable: no.', false],
    ['our own code fails', new TypeError('ours'), null, false],
  ])(
    'touches no row and looks again at once where %s, and tells operators of EC2’s trouble only',
    async (_, error, trouble, isThrottled) => {
      const { state, budget, sweep } = world([row('i-1', { launchedAt: ago(9000) })], []);
      state.failure = error;
      await expect(sweep.run()).rejects.toBe(error);
      expect([state.updated, state.asked, sweep.hasSeenAll]).toEqual([[], [], false]);
      expect(state.troubles).toEqual(trouble === null ? [] : [trouble]);
      expect(budget.take('DescribeInstances') > 0).toBe(isThrottled);
      state.nowMs = 5_000;
      await expect(sweep.run()).rejects.toBe(error);
      expect(state.looks).toEqual([0, 5_000]);
    },
  );

  it('does not take one for missing that a describe by id shows: a terminated one loses its tags', async () => {
    const { state, sweep } = world(
      [
        row('i-1'),
        row('i-2'),
        row('i-young', { launchedAt: ago(60) }),
        row('i-over', { terminatedAt: ago(9), state: 'terminated' }),
      ],
      [inCloud('i-1', { tags: {}, state: 'terminated' })],
    );
    await sweep.full();
    expect(state.asked).toEqual([['i-1', 'i-2']]);
    expect(state.rows.get('i-1')).toMatchObject({ state: 'terminated', missingSince: null });
    expect(state.rows.get('i-2')).toMatchObject({ state: 'running', missingSince: NOW.toISOString() });
    expect(state.rows.get('i-young')?.missingSince).toBeNull();
    expect(state.events).toMatchObject([{ type: 'instance.terminated', instance: 'i-1' }]);
  });

  it('wakes the jobs and shapes of what has changed, and nobody where nothing has', async () => {
    const gone = () => world([row('i-1', { missingSince: ago(60) })], []);
    const told = async (prepare: (state: ReturnType<typeof world>['state']) => void, { state, sweep } = gone()) => {
      prepare(state);
      await sweep.full();
      return [state.signals.toSorted(), state.events.map(({ type }) => type)];
    };
    expect(await told(() => undefined)).toEqual([['events', 'jobs', 'shapes'], ['instance.gone']]);
    expect(await told((state) => (state.hasJobs = false))).toEqual([['events', 'shapes'], ['instance.gone']]);
    expect(await told((state) => (state.hasShapes = false))).toEqual([['events', 'jobs'], ['instance.gone']]);
    const missing = world([row('i-1')], []);
    expect(await told(() => undefined, missing)).toEqual([['events'], []]);
    const stopped = world([row('i-1')], [inCloud('i-1', { state: 'stopped' })]);
    expect(await told(() => undefined, stopped)).toEqual([['events', 'jobs', 'shapes'], ['instance.retiring']]);
  });

  it('writes 500 rows at most in a transaction', async () => {
    const mixed = [...idsOf(501, 500), ...idsOf(500)];
    const { state, sweep } = world(mixed.map((id) => row(id, { observedAt: null })));
    await sweep.full();
    expect(state.updated).toEqual([500, 500, 1]);
    // In one order, as everybody locks them.
    expect(state.written).toEqual(idsOf(1001));
    const all = world(idsOf(500).map((id) => row(id, { observedAt: null })));
    await all.sweep.full();
    expect(all.state.updated).toEqual([500]);
  });

  it('takes in what a launch of ours has made, and calls an operator for what it does not know', async () => {
    const tags = { [CLUSTER_TAG]: 'ours' };
    const other = { ...tags, [LAUNCH_TAG]: '00000000-2d0a-4d0e-9a55-0d3b1a4a3c11' };
    const { state, sweep } = world([], [inCloud('i-1'), inCloud('i-2', { tags }), inCloud('i-3', { tags: other })]);
    await sweep.full();
    expect([...state.rows.values()].map(({ id, quarantined }) => [id, quarantined])).toEqual([
      ['i-1', false],
      ['i-2', true],
      ['i-3', true],
    ]);
    expect(state.log).toEqual([
      { text: 'lost instances found', instanceIds: ['i-1'] },
      {
        text: 'unknown instances quarantined: our rows of their launches are lost',
        alarm: true,
        instanceIds: ['i-2', 'i-3'],
      },
    ]);
    expect(state.events).toMatchObject([
      { type: 'instance.launched', instance: 'i-1' },
      { type: 'instance.quarantined', instance: 'i-2', reason: 'unknown-launch' },
      { type: 'instance.quarantined', instance: 'i-3', reason: 'unknown-launch' },
    ]);
    expect(state.signals).toEqual(['events', 'shapes']);
    state.log = [];
    await sweep.full();
    expect(state.log).toEqual([]);
  });

  it.each([
    ['our launch only', [inCloud('i-1')], ['i-1'], []],
    ['a launch that is lost only', [inCloud('i-2', { tags: { [CLUSTER_TAG]: 'ours' } })], [], [null]],
    [
      'both, whatever the tag of the other says',
      [inCloud('i-1'), inCloud('i-2', { tags: { [CLUSTER_TAG]: 'ours', [LAUNCH_TAG]: 'by hand' } })],
      ['i-1'],
      ['by hand'],
    ],
  ])('takes in what is of %s', async (_, cloud, ours, lost) => {
    const { state, sweep } = world([], cloud);
    await sweep.full();
    expect([...state.rows.values()].filter(({ quarantined }) => !quarantined).map(({ id }) => id)).toEqual(ours);
    expect(state.tags).toEqual(lost);
    expect(state.log).toHaveLength(ours.length + lost.length);
    expect(state.woken).toEqual(ours.length > 0 ? ['shape'] : []);
  });

  it('wakes jobs that wait for the end of their instances by those that have ended', async () => {
    const { state, sweep } = world(
      [row('i-1'), row('i-2')],
      [inCloud('i-1', { state: 'terminated' }), inCloud('i-2', { state: 'stopped' })],
    );
    await sweep.full();
    expect([state.over, state.woken]).toEqual([['i-1'], ['shape']]);
  });

  it('retires what the pass has missed', async () => {
    const { state, sweep } = world([row('i-1')]);
    state.forgotten = ['i-1'];
    await sweep.full();
    expect(state.log).toEqual([{ text: 'instances retired', instanceIds: ['i-1'], reason: 'attempt-ended' }]);
    expect(state.events).toMatchObject([{ type: 'instance.retiring', instance: 'i-1', reason: 'attempt-ended' }]);
    expect(state.signals).toEqual(['events', 'shapes']);
  });
});

describe('the sweep: where a zone is out', () => {
  const rows = [row('i-1'), row('i-2', { availabilityZone: 'zone-b', missingSince: ago(600) })];

  it('looks at the instances of the others, and calls none of that zone gone', async () => {
    const { state, sweep } = world(rows);
    state.zoneOut = 'zone-b';
    state.forgotten = ['i-9'];
    Object.assign(state.cloud.get('i-1') ?? {}, { state: 'terminated' });
    expect(await sweep.run()).toBe(10_000);
    expect(state.rows.get('i-1')?.state).toBe('terminated');
    expect(state.rows.get('i-2')).toEqual(rows[1]);
    expect(state.troubles).toEqual([
      'ec2-unavailable: no. EC2 describes instances by their ids only, and none in zone-b',
    ]);
    expect(state.log).toEqual([
      { text: 'EC2 describes instances zone by zone only', reason: 'ec2-unavailable', unanswered: ['zone-b'] },
    ]);
    expect(state.signals).toEqual(['events', 'jobs', 'shapes', 'events', 'shapes']);
    expect(sweep.hasSeenAll).toBe(false);
  });

  it('names no zone where all answer by id, and inserts nothing that it sees', async () => {
    const { state, sweep } = world([row('i-1')]);
    state.zoneOut = 'zone-c';
    expect(await sweep.full()).toEqual({
      pages: 1,
      trouble: 'ec2-unavailable: no. EC2 describes instances by their ids only',
    });
    expect(state.signals).toEqual(['events', 'events']);
  });

  it.each([
    [200, 1],
    [201, 2],
  ])('takes %d instances for %d pages', async (count, pages) => {
    const { state, sweep } = world(idsOf(count).map((id) => row(id)));
    state.zoneOut = 'zone-c';
    expect((await sweep.full()).pages).toBe(pages);
  });

  it('goes on to look at what is between two states elsewhere', async () => {
    const { state, sweep } = world(rows.map((one) => ({ ...one, state: 'shutting-down' })));
    state.zoneOut = 'zone-b';
    Object.assign(state.cloud.get('i-1') ?? {}, { state: 'terminated' });
    expect(await sweep.quick()).toBe(true);
    expect(state.rows.get('i-1')?.state).toBe('terminated');
    expect(state.rows.get('i-2')?.state).toBe('shutting-down');
    state.zoneOut = null;
    state.failure = failed('permission');
    state.asked = [];
    await expect(sweep.quick()).rejects.toBe(state.failure);
    expect(state.asked).toHaveLength(1);
  });
});
