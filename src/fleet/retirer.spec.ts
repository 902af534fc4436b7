import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import { CallBudget } from '../aws/call-budget.js';
import { Retirer, type RetirerOptions } from './retirer.js';

// Which instances are terminated in which calls, and what is said of the others; what its statements do is in
// test/integration.

const { random } = Math;
beforeAll(() => void (Math.random = () => 1));
afterAll(() => void (Math.random = random));

const failed = (kind: AwsErrorKind, reason = `reason-of-${kind}`, code = 'X') =>
  new AwsError({ action: 'TerminateInstances', code, kind, reason, message: 'no' });
const UNKNOWN_ID = failed('not-found');
const DENIED = failed('permission', 'permission-denied', 'UnauthorizedOperation');

/** Instances that are to end, and EC2, which ends all of a call or none. */
function world(count: number, tokens = { TerminateInstances: 100, 'TerminateInstances/instances': 1000 }) {
  const ids = Array.from({ length: count }, (_, n) => `i-${n}`);
  const state = {
    now: 0,
    isHeld: true,
    /** Why EC2 refuses a call with this id. */
    faults: new Map<string, Error>(),
    failure: null as Error | null,
    calls: [] as number[],
    terminated: new Set<string>(),
    /** Of which a describe has shown that they end. */
    ended: new Set<string>(),
    /** Not due for a while. */
    marked: new Set<string>(),
    reports: [] as (string | null)[],
    log: [] as object[],
    onCall: (): void => undefined,
  };
  const run = ({ name }: { name: string }, values: unknown[]) => {
    const rows = (found: string[]) => Promise.resolve(found.map((id) => ({ id })));
    if (name === 'fleet-due-retirements')
      return rows(ids.filter((id) => !state.terminated.has(id) && !state.marked.has(id)).slice(0, Number(values[2])));
    const [some] = values as [string[]];
    if (some.length === 0) throw new Error('a statement was run for nothing');
    if (name === 'fleet-refused-retirements') return rows(some.filter((id) => !state.ended.has(id)));
    for (const id of some) state.marked.add(id);
    return rows([]);
  };
  const log = (message: string, fields: object) => void state.log.push({ said: message, ...fields });
  const budget = new CallBudget({ share: 1, now: () => state.now, start: { kind: 'levels', tokens, elapsedMs: 0 } });
  const options = {
    database: { run },
    lease: {
      get isHeld() {
        return state.isHeld;
      },
      transaction: (work: (transaction: object) => Promise<unknown>) => work({ run }),
    },
    ec2: {
      terminate: (some: readonly string[]) => {
        state.calls.push(some.length);
        state.onCall();
        const fault = state.failure ?? some.map((id) => state.faults.get(id)).find(Boolean);
        if (fault) return Promise.reject(fault);
        for (const id of some) state.terminated.add(id);
        return Promise.resolve();
      },
    },
    budget,
    log: { info: log, warn: log, error: log },
    onTrouble: (trouble: string | null) => void state.reports.push(trouble),
  };
  const retirer = new Retirer(options as unknown as RetirerOptions, () => state.now);
  return { state, ids, budget, run: () => retirer.run() };
}

describe('the retirer', () => {
  it.each([
    [0, [], 2_000, false],
    [1, [1], 2_000, true],
    [199, [199], 2_000, true],
    [200, [200], 0, true],
    [201, [200], 0, true],
  ])(
    'of %d that are to end terminates at most 200 in a call, and goes on at once where there may be more',
    async (...row) => {
      const [count, calls, pauseMs, isWatchNeeded] = row;
      const { state, run } = world(count);
      expect(await run()).toEqual({ pauseMs, isWatchNeeded });
      expect(state.calls).toEqual(calls);
      expect([state.terminated.size, state.marked.size]).toEqual([Math.min(count, 200), Math.min(count, 200)]);
      expect(state.reports).toEqual([]);
      const logged = { said: 'instances terminated', instanceIds: [...state.terminated] };
      expect(state.log).toEqual(count === 0 ? [] : [logged]);
    },
  );

  it('calls nothing while another process is the owner', async () => {
    const { state, run } = world(3);
    state.isHeld = false;
    expect(await run()).toEqual({ pauseMs: 2_000, isWatchNeeded: false });
    expect(state.calls).toEqual([]);
  });

  it.each([
    [19.99, 1],
    [19, 50],
    [0, 1_000],
    [-40, 2_000],
  ])('waits for our share of EC2’s quota, two seconds at most', async (more, pauseMs) => {
    // Of instances it has twenty more a second.
    const { state, run } = world(100, { TerminateInstances: 1, 'TerminateInstances/instances': 80 + more });
    expect(await run()).toEqual({ pauseMs, isWatchNeeded: false });
    expect([state.calls, state.marked.size]).toEqual([[], 0]);
  });

  it('finds the ids that EC2 does not know by halves, ends the others, and leaves those to the sweep', async () => {
    const { state, ids, run } = world(9);
    state.faults = new Map([
      ['i-2', UNKNOWN_ID],
      ['i-8', failed('invalid')],
    ]);
    expect(await run()).toEqual({ pauseMs: 2_000, isWatchNeeded: true });
    expect([...state.terminated].toSorted()).toEqual(ids.filter((id) => id !== 'i-2' && id !== 'i-8'));
    // All are asked for again only after a while.
    expect(state.marked.size).toBe(9);
    expect(state.reports).toEqual(['EC2 does not terminate i-8: reason-of-invalid: no']);
  });

  it('tells the health page which are refused for as long as they are', async () => {
    const { state, run } = world(4);
    state.faults = new Map(['i-1', 'i-2', 'i-3'].map((id) => [id, DENIED]));
    const said = (id: string, more: string) => `EC2 does not terminate ${id}${more}: permission-denied: no`;
    const next = async (...permitted: string[]) => {
      for (const id of permitted) state.faults.delete(id);
      state.marked.clear();
      await run();
      return state.reports.splice(0);
    };
    expect(await next()).toEqual([said('i-1', ' and 2 more')]);
    expect(await next()).toEqual([]);
    expect(await next('i-1')).toEqual([said('i-2', ' and 1 more')]);
    expect(await next('i-2')).toEqual([said('i-3', '')]);
    // One that ended by itself is no trouble any more.
    state.ended.add('i-3');
    expect(await next()).toEqual([null]);
    expect(await next()).toEqual([]);
  });

  it.each<[AwsErrorKind]>([['throttled'], ['unknown-outcome']])(
    'asks again for all of them soon, and later with every failure, where EC2 has not read the call: %s',
    async (kind) => {
      const { state, run } = world(8);
      state.failure = failed(kind);
      const pauses: number[] = [];
      for (let tries = 0; tries < 3; tries += 1) {
        const { pauseMs, isWatchNeeded } = await run();
        pauses.push(pauseMs);
        expect(isWatchNeeded).toBe(true);
        state.now += pauseMs - 1;
        expect(await run()).toEqual({ pauseMs: 1, isWatchNeeded: false });
        state.now += 1;
      }
      expect(pauses).toEqual([1_250, 2_250, 4_250]);
      expect([state.calls, state.marked.size]).toEqual([[8, 8, 8], 0]);
      state.failure = null;
      await run();
      expect(state.terminated.size).toBe(8);
      // After a success the pauses begin anew.
      state.terminated.clear();
      state.marked.clear();
      state.failure = failed(kind);
      expect((await run()).pauseMs).toBe(1_250);
      expect(state.reports).toEqual([]);
    },
  );

  it.each([
    ['i-0', 'i-3'],
    ['i-3', 'i-0'],
  ])('asks again soon where EC2 has not read the call for one half: %s', async (lost, unknown) => {
    const { state, run } = world(4);
    state.faults = new Map([[unknown, UNKNOWN_ID]]);
    state.onCall = () => {
      if (state.calls.length > 1) state.faults.set(lost, failed('unknown-outcome'));
    };
    expect(await run()).toEqual({ pauseMs: 1_250, isWatchNeeded: true });
    expect([state.marked.has(unknown), state.marked.has(lost)]).toEqual([true, false]);
  });

  it('does not split what EC2 refuses whatever the ids are', async () => {
    const { state, run } = world(4);
    state.failure = failed('permission', 'credentials-refused');
    expect(await run()).toEqual({ pauseMs: 2_000, isWatchNeeded: true });
    expect(state.calls).toEqual([4]);
    const instanceIds = ['i-0', 'i-1', 'i-2', 'i-3'];
    const why = { reason: 'credentials-refused', message: 'no' };
    expect(state.log).toEqual([{ said: 'instances could not be terminated yet', instanceIds, ...why }]);
    expect(state.reports).toEqual(['EC2 does not terminate i-0 and 3 more: credentials-refused: no']);
  });

  it('calls for no more halves than the quota has calls, and for the others later', async () => {
    const { state, run } = world(16, { TerminateInstances: 4.996, 'TerminateInstances/instances': 1000 });
    state.faults = new Map(Array.from({ length: 16 }, (_, n) => [`i-${n}`, DENIED]));
    await run();
    expect(state.calls).toEqual([16, 8, 4, 2]);
    expect(state.marked.size).toBe(16);
  });

  it('calls nothing more once another process is the owner', async () => {
    const { state, run } = world(4);
    state.faults = new Map([['i-0', UNKNOWN_ID]]);
    state.onCall = () => void (state.isHeld = false);
    await run();
    expect([state.calls, state.terminated.size, state.marked.size]).toEqual([[4], 0, 0]);
  });

  it('calls EC2 less often after EC2 has throttled it', async () => {
    const { state, budget, run } = world(1);
    state.failure = failed('throttled', 'ec2-throttled');
    await run();
    expect(budget.take('TerminateInstances')).toBeGreaterThan(0);
  });

  it('takes a fault of our own for none of EC2’s', async () => {
    const { state, run } = world(1);
    state.failure = new TypeError('a fault of ours');
    await expect(run()).rejects.toBe(state.failure);
    expect(state.marked.size).toBe(0);
  });
});
