import { describe, expect, it } from '@jest/globals';
import { createSecretKey } from 'node:crypto';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import { LeaseLost } from '../ownership/owner-lease.js';
import { seal } from '../secrets/sealed.js';
import { Launcher, type LauncherOptions } from './launcher.js';

// What is called in which order, and how long the launcher waits; what its statements do is in test/integration.

const KEY = createSecretKey(Buffer.alloc(32, 1));

type Row = ReturnType<typeof planned>;
const planned = (id: string, overrides: object = {}) => ({
  id,
  shapeKey: 'shape',
  status: 'planned',
  tries: 0,
  count: 1,
  refusedAs: null as string | null,
  reason: null as string | null,
  message: null as string | null,
  ageMs: 100,
  calledAt: null as string | null,
  calledMsAgo: null as number | null,
  dueInMs: 0,
  wanted: 1000,
  ...overrides,
});
const called = (id: string, overrides: object = {}) =>
  planned(id, { status: 'unknown', tries: 1, calledAt: 'a while ago', calledMsAgo: 130_000, ...overrides });
const refusal = (kind: AwsErrorKind, reason = `reason-of-${kind}`, cause?: Error) =>
  new AwsError({ action: 'RunInstances', code: 'Code', kind, reason, message: 'no', cause });

/** Open launches, in the order in which the database gives them, and EC2, which makes whatever it is asked for. */
function world(rows: Row[], tokens = 1000, key = KEY) {
  const state = {
    isHeld: true,
    failure: null as Error | null,
    /** What the transactions fail with. */
    databaseFailure: null as Error | null,
    /** Whether EC2's answers are kept back. */
    isSlow: false,
    loseLeaseAtMark: false,
    found: 0,
    made: [] as string[],
    lookedUp: [] as string[],
    instances: [] as string[],
    log: [] as { level: string; message: string; fields: object }[],
    trouble: 'none yet' as string | null,
    wakeUps: 0,
    signals: 0,
    woken: [] as unknown[],
    pause: {} as Record<string, number | null>,
  };
  const kept: (() => void)[] = [];
  const answer = async (count: number) => {
    if (state.isSlow) await new Promise<void>((go) => void kept.push(go));
    if (state.failure) throw state.failure;
    return Array.from({ length: count }, (_, n) => ({ id: `i-${n}`, state: 'pending' }));
  };
  const statements: Record<string, (...values: never[]) => unknown[]> = {
    'fleet-open-launches': () =>
      rows.filter(({ status }) => status === 'planned' || status === 'unknown').map((row) => ({ ...row })),
    'fleet-take-over-launches': () => rows.map((row) => Object.assign(row, { dueInMs: 0 })),
    'fleet-mark-called': (id: string, status: string, tries: number) => {
      const row = rows.find((one) => one.id === id && one.status === status && one.tries === tries);
      if (!row) return [];
      Object.assign(row, { status: 'unknown', tries: tries + 1, calledAt: 'now' });
      if (state.loseLeaseAtMark) state.isHeld = false;
      return [{ input: seal([KEY], JSON.stringify({ MaxCount: row.count }), id) }];
    },
    'fleet-settle-launch': (
      ...[id, status, refusedAs, reason, message, againMs, calledBefore]: [
        string,
        string,
        string,
        string,
        string,
        number | null,
        string | null,
      ]
    ) => {
      const row = rows.find((one) => one.id === id);
      if (!row || (row.status !== 'planned' && row.status !== 'unknown')) return [];
      state.pause[id] = againMs;
      return [Object.assign(row, { status, refusedAs, reason, message, calledAt: calledBefore ?? row.calledAt })];
    },
    'fleet-upsert-instances': (json: string) => {
      state.instances.push(...(JSON.parse(json) as { id: string }[]).map(({ id }) => id));
      return [];
    },
    'fleet-wake-shapes': (keys: string[]) => state.woken.splice(0, Infinity, ...keys),
  };
  const run = ({ name }: { name: string }, values: never[]) => Promise.resolve(statements[name]?.(...values) ?? []);
  const log = (level: string) => (message: string, fields: object) => void state.log.push({ level, message, fields });
  const budget = new CallBudget({
    share: 1,
    now: () => 0,
    start: {
      kind: 'levels',
      tokens: { RunInstances: 5, 'RunInstances/instances': tokens, DescribeInstances: 100 },
      elapsedMs: 0,
    },
  });
  const launcher = new Launcher({
    database: { run },
    lease: {
      get isHeld() {
        return state.isHeld;
      },
      transaction: async (work: (transaction: object) => Promise<unknown>) => {
        if (state.databaseFailure) throw state.databaseFailure;
        return await work({ run });
      },
    },
    ec2: {
      runInstances: ({ MaxCount }: { MaxCount: number }, token: string) => {
        state.made.push(token);
        return answer(MaxCount);
      },
      describeByClientToken: (token: string) => {
        state.lookedUp.push(token);
        return answer(state.found);
      },
    },
    budget,
    encryptionKeys: [key],
    signals: { eventsWritten: () => void (state.signals += 1) },
    log: { info: log('info'), warn: log('warn'), error: log('error') },
    onSettled: () => void (state.wakeUps += 1),
    onAwsTrouble: (trouble: string | null) => void (state.trouble = trouble),
  } as unknown as LauncherOptions);
  const runOnce = async () => {
    const pauseMs = await launcher.run();
    await launcher.drain();
    return pauseMs;
  };
  const answerNow = () => {
    state.isSlow = false;
    for (const go of kept.splice(0)) go();
  };
  return { state, rows, launcher, budget, runOnce, answerNow };
}

describe('the launcher', () => {
  it('calls what is due, and looks again after a second', async () => {
    const { state, rows, runOnce } = world([planned('a', { count: 2 }), planned('b')]);
    expect(await runOnce()).toBe(1_000);
    expect(state.made).toEqual(['a', 'b']);
    expect(rows).toMatchObject([{ status: 'done' }, { status: 'done' }]);
    expect(state).toMatchObject({
      trouble: null,
      wakeUps: 2,
      signals: 2,
      woken: ['shape'],
      instances: ['i-0', 'i-1', 'i-0'],
    });
    expect(state.log[0]).toEqual({
      level: 'info',
      message: 'instances launched',
      fields: { launchId: 'a', count: 2, instanceIds: ['i-0', 'i-1'] },
    });
    expect(await runOnce()).toBe(1_000);
    expect(state.made).toHaveLength(2);
  });

  it.each([
    [300, 300],
    [1_000, 1_000],
    [5_000, 1_000],
  ])('calls nothing that is due in %d ms, and looks again after %d ms', async (dueInMs, pauseMs) => {
    const { state, launcher, runOnce } = world([planned('a', { dueInMs })]);
    expect(await runOnce()).toBe(pauseMs);
    expect(state.made).toEqual([]);
    // The next owner does not wait for what the one before it had put off.
    await launcher.takeOver();
    await runOnce();
    expect(state.made).toEqual(['a']);
  });

  it('makes no call twice at once, and none that another process has made', async () => {
    const { state, rows, launcher, answerNow } = world([planned('a')]);
    state.isSlow = true;
    await launcher.run();
    await new Promise(setImmediate);
    await launcher.run();
    answerNow();
    await launcher.drain();
    expect(state.made).toEqual(['a']);

    const other = world([planned('a')]);
    const run = other.launcher.run();
    Object.assign(other.rows[0] ?? {}, { tries: 1 });
    await run;
    await other.launcher.drain();
    expect(other.state.made).toEqual([]);
    expect(rows[0]?.status).toBe('done');
  });

  it('lets a later, small launch not overtake a large one that waits for EC2’s quota, but looks others up', async () => {
    const { state, rows, runOnce } = world(
      [planned('large', { count: 11 }), planned('small'), called('old', { ageMs: 400_000 })],
      10,
    );
    expect(await runOnce()).toBe(500);
    expect([state.made, state.lookedUp]).toEqual([[], ['old']]);
    expect(rows).toMatchObject([{ status: 'planned' }, { status: 'planned' }, { status: 'failed' }]);
  });

  it('gives back what the quota would hold up for more than five seconds, and calls what is behind it', async () => {
    const { state, rows, runOnce } = world([planned('large', { count: 21 }), planned('small', { count: 3 })], 10);
    await runOnce();
    expect(state.made).toEqual(['small']);
    expect(rows).toMatchObject([{ status: 'failed', reason: 'ec2-throttled' }, { status: 'done' }]);
  });

  it('pays for the instances of a first call, and not for those of its repeat', async () => {
    const { budget, state, runOnce } = world([planned('a', { count: 7 }), called('b', { count: 7, ageMs: 1_000 })], 10);
    await runOnce();
    expect(state.made).toEqual(['a', 'b']);
    expect(budget.available('RunInstances')).toBe(3);
  });

  it('withdraws what nobody waits for any more, without a call', async () => {
    const { state, rows, runOnce } = world([planned('a', { wanted: 0 })]);
    await runOnce();
    expect([state.made, rows[0]]).toMatchObject([[], { status: 'failed', reason: 'not-needed', refusedAs: null }]);
    expect(state.log).toMatchObject([
      { level: 'warn', message: 'launch failed', fields: { launchId: 'a', reason: 'not-needed' } },
    ]);
  });

  it('looks up what may have been made, with what is found in its row', async () => {
    const { state, rows, runOnce } = world([called('a', { wanted: 0, count: 2 })]);
    state.found = 2;
    await runOnce();
    expect(state).toMatchObject({ made: [], lookedUp: ['a'], instances: ['i-0', 'i-1'] });
    expect(rows[0]?.status).toBe('done');
  });

  it('does not take an instance for missing where the look-up fails', async () => {
    const { state, rows, runOnce } = world([called('a', { wanted: 0 })]);
    state.failure = refusal('unknown-outcome');
    await runOnce();
    expect(rows[0]).toMatchObject({ status: 'unknown', reason: 'reason-of-unknown-outcome' });
    expect(state.pause).toEqual({ a: 5_000 });
    expect(state.log).toMatchObject([{ level: 'warn', message: 'launch will be tried again' }]);
  });

  it.each<[AwsErrorKind, before: Row, status: string, calledAt: string, trouble: string | null]>([
    ['permission', planned('a'), 'failed', 'now', 'reason-of-permission: no'],
    ['account', planned('a'), 'failed', 'now', 'reason-of-account: no'],
    ['invalid', planned('a'), 'failed', 'now', null],
    ['capacity', planned('a'), 'failed', 'now', null],
    ['unknown-outcome', planned('a'), 'unknown', 'now', 'reason-of-unknown-outcome: no'],
    ['throttled', planned('a'), 'planned', 'now', 'reason-of-throttled: no'],
    // The call that may have taken effect is the one before.
    ['throttled', called('a', { ageMs: 1_000 }), 'unknown', 'a while ago', 'reason-of-throttled: no'],
    ['capacity', called('a', { ageMs: 1_000 }), 'unknown', 'a while ago', null],
    ['unknown-outcome', called('a', { ageMs: 1_000 }), 'unknown', 'now', 'reason-of-unknown-outcome: no'],
  ])(
    'tells the operator of trouble with EC2, not with the request, and settles: %s',
    async (kind, before, status, calledAt, trouble) => {
      const { state, rows, runOnce } = world([before]);
      state.failure = refusal(kind, undefined, new Error(`the whole message ${'x'.repeat(5_000)}`));
      await runOnce();
      expect(rows[0]).toMatchObject({ status, calledAt, reason: `reason-of-${kind}` });
      expect(state).toMatchObject({ trouble, wakeUps: 1, instances: [] });
      // Which role lacks which permission is for the operator only.
      const said = state.log.filter(({ message }) => message === 'EC2 does not permit the launch');
      const isForOperator = kind === 'permission' || kind === 'account';
      expect(said).toHaveLength(isForOperator ? 1 : 0);
      if (isForOperator) {
        const text = (said[0]?.fields as { said: string }).said;
        expect([text.slice(0, 17), text.length]).toEqual(['the whole message', 4_000]);
      }
    },
  );

  it('says nothing of AWS’s message where there is none', async () => {
    const { state, runOnce } = world([planned('a')]);
    state.failure = refusal('permission');
    await runOnce();
    expect(state.log[0]?.fields).toEqual({ launchId: 'a', code: 'Code', said: null });
  });

  it('calls EC2 less often after EC2 has throttled it', async () => {
    const { state, budget, runOnce } = world([planned('a')], 100);
    state.failure = refusal('throttled', 'ec2-throttled');
    await runOnce();
    expect(budget.take('RunInstances')).toBeGreaterThan(0);
    const looking = world([called('a', { wanted: 0 })]);
    looking.state.failure = new AwsError({
      action: 'DescribeInstances',
      code: 'X',
      kind: 'throttled',
      reason: 'ec2-throttled',
      message: '',
    });
    await looking.runOnce();
    expect(looking.budget.take('DescribeInstances')).toBeGreaterThan(0);
  });

  it.each([
    ['closes what cannot be read any more and was never called', planned('a'), 'failed'],
    ['looks for what cannot be read any more and may have been called', called('a', { ageMs: 1_000 }), 'unknown'],
  ])('%s', async (_, before, status) => {
    const { state, rows, runOnce } = world([before], 10, createSecretKey(Buffer.alloc(32, 2)));
    await runOnce();
    expect([state.made, rows[0]]).toMatchObject([[], { status, reason: 'launch-unreadable' }]);
    expect(state.log[0]).toMatchObject({
      level: 'error',
      message: 'launch could not be read',
      fields: { launchId: 'a' },
    });
  });

  it('begins nothing once another process is the owner, not even what it has just marked', async () => {
    const ended = world([planned('a')]);
    ended.state.isHeld = false;
    await ended.runOnce();
    const { state, rows, runOnce } = world([planned('a'), planned('b')]);
    state.loseLeaseAtMark = true;
    await runOnce();
    expect([ended.state.made, state.made]).toEqual([[], []]);
    expect(rows[0]).toMatchObject({ status: 'unknown' });
  });

  it('reports a fault of its own, and not that another process is the owner', async () => {
    const { state, runOnce } = world([planned('a')]);
    state.databaseFailure = new LeaseLost();
    await runOnce();
    expect([state.log, state.wakeUps]).toEqual([[], 1]);
    state.databaseFailure = new Error('away');
    await runOnce();
    expect(state.log).toEqual([
      { level: 'error', message: 'launch could not be settled', fields: { launchId: 'a', error: 'Error: away' } },
    ]);
    state.databaseFailure = null;
    state.failure = new TypeError('a fault of ours');
    await runOnce();
    expect(state.log.at(-1)?.fields).toEqual({ launchId: 'a', error: 'TypeError: a fault of ours' });
  });

  it('says nothing of a launch that another owner has settled meanwhile', async () => {
    const { state, rows, launcher, answerNow } = world([planned('a')]);
    state.isSlow = true;
    await launcher.run();
    await new Promise(setImmediate);
    Object.assign(rows[0] ?? {}, { status: 'done' });
    answerNow();
    await launcher.drain();
    expect([state.log, state.signals, state.wakeUps]).toEqual([[], 0, 1]);
  });
});
