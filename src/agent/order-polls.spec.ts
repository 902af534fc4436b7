import { setImmediate as othersTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { settled } from '../../test/support/hand-clock.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import type { OrderSpec } from '../docker/order.js';
import { Shutdown } from '../process/shutdown.js';
import type { OrderFiller } from './order-filler.js';
import { OrderPolls, type OrderPollsOptions, type ParkedPoll } from './order-polls.js';

const SHUTDOWN: OrderSpec = { kind: 'shutdown' };
const UNFILLED: OrderSpec = {
  kind: 'docker',
  mode: 'foreground',
  method: 'POST',
  path: '/containers/create',
  timeoutSeconds: 30,
  body: { Env: ['A=a'] },
};
const FILLED: OrderSpec = { ...UNFILLED, fill: 'secrets' };
/** For so long an instance without orders is not looked up again. */
const CLEAN_MS = 300_000;
/** A fallback query that is later than this may have missed an order. */
const LONGEST_GAP_MS = 60_000;

let orders: Orders;
let signals: ManualSignals;
let shutdown: Shutdown;
let clock: { now: number };
let polls: OrderPolls;
beforeEach(() => {
  Logger.overrideLogger(false);
  [orders, signals, shutdown, clock] = [new Orders(), new ManualSignals(), new Shutdown(), { now: 1_000_000 }];
  polls = open();
});
afterEach(() => {
  polls.close();
  Logger.overrideLogger(true);
});

describe('a poll', () => {
  it('is answered with the next order that its agent does not have, again and again until it has it', async () => {
    orders.add('i-1', 1, 2);
    expect(await answers(poll(0), poll(0))).toEqual([undefined, 1]);
    expect(await answers(poll(1))).toEqual([2]);
    expect(await answers(poll(0))).toEqual([1]);
  });

  it('waits for an order of its instance, whoever else gets one, and is answered with it at once', async () => {
    const [one, other] = [poll(0), poll(0, 'i-2')];
    await settled(12);
    orders.add('i-2', 1);
    signals.orders('i-2');
    expect(await answers(other)).toEqual([1]);
    expect([await isParked(one), polls.parkedCount, signals.areJobsDue]).toEqual([true, 1, false]);
    orders.add('i-1', 1);
    signals.orders('i-1');
    expect(await answers(one)).toEqual([1]);
    expect(polls.parkedCount).toBe(0);
  });

  it('is ended by a newer one of its instance, and by its agent, who ends no other', async () => {
    const [older, newer, other] = [poll(0), poll(0), poll(0, 'i-2')];
    expect(await answers(older)).toEqual([undefined]);
    polls.leave(older);
    expect(polls.parkedCount).toBe(2);
    polls.leave(newer);
    expect([await answers(newer), await isParked(other), polls.parkedCount]).toEqual([[undefined], true, 1]);
  });

  it('is looked for, although another one that was to be looked for with it was ended', async () => {
    orders.add('i-1', 1);
    polls.leave(poll(0, 'i-2'));
    expect(await answers(poll(0))).toEqual([1]);
  });

  it('that was ended while it was looked for takes nothing from the one in its place', async () => {
    const letGo = orders.hold();
    const older = poll(0);
    await othersTurn();
    const newer = poll(3);
    orders.add('i-1', 1, 4);
    letGo();
    expect(await answers(older, newer)).toEqual([undefined, 4]);
  });

  it('is ended when its time is over, not a millisecond before', async () => {
    const first = poll(0);
    clock.now += 1;
    const second = poll(0, 'i-2');
    clock.now += 24_999;
    expect(await answers(first)).toEqual([undefined]);
    expect(await isParked(second)).toBe(true);
    expect(polls.parkedCount).toBe(1);
  });

  it.each([
    ['the shutdown begins', () => shutdown.begin()],
    ['the application is closed', () => polls.beforeApplicationShutdown()],
  ])('is ended when %s; later ones are sent elsewhere, and nothing is looked for any more', async (_what, end) => {
    const [one, other] = [poll(0), poll(0, 'i-2')];
    await settled(12);
    end();
    expect(await answers(one, other)).toEqual([undefined, undefined]);
    expect(() => poll(0)).toThrow(expect.objectContaining({ code: 'shutting-down', headers: { 'retry-after': '1' } }));
    expect([polls.parkedCount, signals.listeners]).toEqual([0, 0]);
  });

  it('is looked for with others, a thousand in one statement, and each gets its own', async () => {
    const ids = Array.from({ length: 1_001 }, (_, n) => `i-${n}`);
    for (const id of ids) orders.add(id, 1);
    expect(await answers(...ids.map((id) => poll(0, id)))).toEqual(ids.map(() => 1));
    expect(orders.looks).toEqual([1_000, 1]);
  });

  it('is looked for in the next statement with all that come while one is under way', async () => {
    const letGo = orders.hold();
    for (const id of ['i-1', 'i-2', 'i-3']) {
      poll(0, id);
      await settled(12);
    }
    expect(orders.looks).toEqual([1]);
    letGo();
    await settled(12);
    expect(orders.looks).toEqual([1, 2]);
  });

  it('is refused when it cannot be looked for, with all that were looked for with it; later ones are not', async () => {
    orders.failure = new Error('connection terminated');
    // For the third nobody waits any more.
    poll(0, 'i-3');
    const refused = await Promise.allSettled([poll(0).answer, poll(0, 'i-2').answer]);
    expect(refused).toEqual(Array(2).fill({ status: 'rejected', reason: orders.failure }));
    expect(polls.parkedCount).toBe(0);
    orders.failure = undefined;
    orders.add('i-1', 1);
    expect(await answers(poll(0))).toEqual([1]);
  });

  it('that is refused for one that came meanwhile leaves that one parked', async () => {
    const letGo = orders.hold();
    const older = poll(0);
    await othersTurn();
    orders.failure = new Error('connection terminated');
    const look = orders.asked();
    const newer = poll(0);
    letGo();
    await look;
    expect(await answers(older)).toEqual([undefined]);
    await expect(newer.answer).rejects.toThrow('connection terminated');
  });

  it('is refused for an order that no agent would accept, and others get theirs', async () => {
    orders.rows.push({ instanceId: 'i-1', number: 1, spec: { kind: 'dead-man', minutes: -1 } });
    orders.add('i-2', 1);
    const [bad, good] = [poll(0), poll(0, 'i-2')];
    await expect(bad.answer).rejects.toThrow('minutes');
    expect(await answers(good)).toEqual([1]);
    expect(polls.parkedCount).toBe(0);
  });
});

describe('an order that is filled when it is handed out', () => {
  beforeEach(() => void orders.rows.push({ instanceId: 'i-1', number: 7, spec: FILLED }));

  it('has what it is filled with', async () => {
    polls = open({}, { fill: (instanceId, number) => Promise.resolve({ env: [`OF=${instanceId} ${number}`] }) });
    const order = await poll(0).answer;
    expect(JSON.parse(order!.body)).toEqual({ Env: ['A=a', 'OF=i-1 7'] });
  });

  it('that has nothing to be filled with is handed out as it is', async () => {
    orders.rows.push({ instanceId: 'i-2', number: 1, spec: UNFILLED });
    expect(await answers(poll(0, 'i-2'))).toEqual([1]);
  });

  it.each([
    ['filled', (fill: PromiseWithResolvers<object>) => fill.resolve({ env: [] })],
    ['refused', (fill: PromiseWithResolvers<object>) => fill.reject(new Error('no such secret'))],
  ])('leaves the poll that came meanwhile parked, once it is %s', async (_what, end) => {
    const filling = Promise.withResolvers<object>();
    polls = open({}, { fill: () => filling.promise });
    const older = poll(0);
    await settled(12);
    const newer = poll(7);
    await settled(12);
    end(filling);
    expect([await answers(older), await isParked(newer), polls.parkedCount]).toEqual([[undefined], true, 1]);
  });

  it('is refused where it cannot be filled', async () => {
    await expect(poll(0).answer).rejects.toThrow('order 7 of i-1 cannot be filled here');
    polls = open({}, { fill: () => Promise.reject(new Error('no such secret')) });
    await expect(poll(0).answer).rejects.toThrow('no such secret');
    expect(polls.parkedCount).toBe(0);
  });
});

describe('what an agent has', () => {
  it('is marked as taken, all of it together, and its job is looked after', async () => {
    orders.add('i-1', 1, 2, 3);
    orders.add('i-2', 1);
    const parked = poll(1, 'i-2');
    expect(await answers(poll(2))).toEqual([3]);
    await settled(12);
    expect(orders.taken()).toEqual(['i-1 1', 'i-1 2', 'i-2 1']);
    expect([signals.areJobsDue, await isParked(parked)]).toEqual([true, true]);
  });

  it('is marked later where it could not be, once the instance is looked up again', async () => {
    orders.add('i-1', 1);
    orders.transactionFailure = new Error('deadlock detected');
    const parked = poll(1);
    await settled(12);
    expect([orders.taken(), signals.areJobsDue, await isParked(parked)]).toEqual([[], false, true]);
    orders.transactionFailure = undefined;
    // It does not count as an instance without orders, which would not be looked up.
    poll(1);
    await settled(12);
    expect([orders.taken(), signals.areJobsDue]).toEqual([['i-1 1'], true]);
  });

  it('is marked up to the furthest that was told while another statement marked', async () => {
    orders.add('i-1', 1, 2, 3);
    const letGo = orders.holdTransactions();
    for (const after of [1, 3, 2]) {
      poll(after);
      await settled(12);
    }
    letGo();
    await settled(12);
    expect(orders.taken()).toEqual(['i-1 1', 'i-1 2', 'i-1 3']);
    expect(orders.mostTransactionsAtOnce).toBe(1);
  });
});

describe('an instance that had no order', () => {
  it.each<[string, boolean, () => void]>([
    ['is not looked up, as a signal would tell of one', false, () => undefined],
    ['is not within five minutes', false, () => void (clock.now += CLEAN_MS - 1)],
    ['is once they are over', true, () => void (clock.now += CLEAN_MS)],
    ['is while no signal would come', true, () => void (signals.isConnected = false)],
    ['is after signals were missed', true, () => signals.reconnect()],
    ['is after a signal that names it', true, () => signals.orders('i-0', 'i-1')],
    ['is not after a signal that names another', false, () => signals.orders('i-2')],
    ['is after a signal that names none', true, () => signals.orders()],
  ])('%s (%s)', async (_what, isLookedUp, happens) => {
    await cleanAfter(3);
    orders.add('i-1', 4);
    happens();
    await settled(12);
    expect(await isParked(poll(3))).toBe(!isLookedUp);
  });

  it.each([
    [2, true],
    [3, false],
    [4, false],
  ])('is looked up when its agent has less than then: after 3, after %s: %s', async (after, isLookedUp) => {
    await cleanAfter(3);
    orders.add('i-1', 5);
    expect(await isParked(poll(after))).toBe(!isLookedUp);
  });

  it('counts from its latest look', async () => {
    await cleanAfter(3);
    clock.now += CLEAN_MS;
    await cleanAfter(3);
    clock.now += CLEAN_MS - 1;
    orders.add('i-1', 4);
    expect(await isParked(poll(3))).toBe(true);
  });

  it('is looked up again where a signal came while it was', async () => {
    const letGo = orders.hold();
    const parked = poll(0);
    await othersTurn();
    await othersTurn();
    signals.orders('i-1');
    letGo(() => orders.add('i-1', 1));
    expect(await answers(parked)).toEqual([1]);
  });

  it('gets what it waits for where signals were missed, or one names nobody', async () => {
    for (const [index, happens] of [() => signals.reconnect(), () => signals.orders()].entries()) {
      const both = [poll(index), poll(index, 'i-2')];
      await settled(12);
      for (const id of ['i-1', 'i-2']) orders.add(id, index + 1);
      happens();
      expect(await answers(...both)).toEqual([index + 1, index + 1]);
    }
  });

  async function cleanAfter(after: number): Promise<void> {
    const parked = poll(after);
    await settled(12);
    polls.leave(parked);
  }
});

describe('the fallback query', () => {
  beforeEach(() => {
    polls.close();
    polls = open({ fallbackEveryMs: 1 });
  });

  it('finds for who waits, and for who did, what no signal told of', async () => {
    const [parked, left] = [poll(0), poll(0, 'i-2')];
    await settled(12);
    polls.leave(left);
    orders.add('i-2', 1);
    orders.add('i-1', 1);
    expect(await answers(parked)).toEqual([1]);
    expect(await answers(poll(0, 'i-2'))).toEqual([1]);
  });

  it.each([
    ['is trusted when it was late', LONGEST_GAP_MS, true],
    ['is not when it was so late that an order could have grown too old for it', LONGEST_GAP_MS + 1, false],
  ])('%s: %s ms', async (_what, ms, isTrusted) => {
    await cleanAndOld();
    await nextFallback(() => void (clock.now += ms));
    expect(await isParked(poll(0))).toBe(isTrusted);
    // And from then on again.
    if (isTrusted) return;
    for (const after of [1, 1]) await parkedAndQuiet(after);
    await nextFallback(() => void (clock.now += LONGEST_GAP_MS));
    orders.add('i-1', 2);
    orders.areOld = true;
    expect(await isParked(poll(1))).toBe(true);
  });

  it('that fails is not relied on, and is asked again', async () => {
    await cleanAndOld();
    await nextFallback(() => void (orders.fallbackFailure = new Error('connection terminated')));
    expect(await answers(poll(0))).toEqual([1]);
    orders.fallbackFailure = undefined;
    const parked = poll(1);
    await settled(12);
    orders.areOld = false;
    orders.add('i-1', 2);
    expect(await answers(parked)).toEqual([2]);
  });

  it('is not asked while another is under way, nor while nobody waits and all that waited is forgotten', async () => {
    await nextTimers();
    expect(orders.fallbacks).toBe(0);
    const letGo = orders.holdFallbacks();
    const parked = poll(0);
    await settled(12);
    await nextTimers();
    expect(orders.fallbacks).toBe(1);
    letGo();
    await nextFallback();
    polls.leave(parked);
    const minutes = async (count: number) => {
      for (let minute = 0; minute < count; minute += 1) await nextFallback(() => void (clock.now += LONGEST_GAP_MS));
    };
    await minutes(4);
    const other = poll(0, 'i-2');
    await settled(12);
    polls.leave(other);
    await minutes(4);
    clock.now += LONGEST_GAP_MS;
    await orders.nextFallback();
    await settled(12);
    const { fallbacks } = orders;
    await nextTimers();
    expect(orders.fallbacks).toBe(fallbacks);
  });

  /** An instance without orders, and an order for it that neither a signal nor the fallback query tells of. */
  async function cleanAndOld(): Promise<void> {
    polls.leave(await parkedAndQuiet());
    orders.areOld = true;
    orders.add('i-1', 1);
  }

  async function parkedAndQuiet(after = 0): Promise<ParkedPoll> {
    const parked = poll(after);
    await settled(12);
    return parked;
  }

  /** @param before the query that is awaited, and behind the one before it */
  async function nextFallback(before: () => void = () => undefined): Promise<void> {
    await orders.nextFallback();
    await settled(12);
    before();
    await orders.nextFallback();
    await settled(12);
  }
});

function open(options: OrderPollsOptions = {}, filler?: Pick<OrderFiller, 'fill'>): OrderPolls {
  const all = { fallbackEveryMs: 1e9, now: () => clock.now, ...options };
  const opened = new OrderPolls(orders.connect(), signals as unknown as Signals, shutdown, filler, all);
  opened.onApplicationBootstrap();
  return opened;
}

function poll(after: number, instanceId = 'i-1'): ParkedPoll {
  return polls.poll(instanceId, after);
}

async function answers(...all: ParkedPoll[]): Promise<(number | undefined)[]> {
  return (await Promise.all(all.map(({ answer }) => answer))).map((order) => order?.number);
}

/** Until all had their turn that wait for nothing but the database. */

async function isParked(parked: ParkedPoll): Promise<boolean> {
  let isAnswered = false;
  void parked.answer.then(() => (isAnswered = true));
  await settled(12);
  return !isAnswered;
}

async function nextTimers(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((done) => setTimeout(done, 1));
}

class ManualSignals {
  isConnected = true;
  areJobsDue = false;
  readonly #onOrders = new Set<(instanceIds: readonly string[]) => void>();
  readonly #onReconnect = new Set<() => void>();

  get listeners(): number {
    return this.#onOrders.size + this.#onReconnect.size;
  }

  on(channel: string, listener: (instanceIds: readonly string[]) => void): () => void {
    expect(channel).toBe('orders');
    this.#onOrders.add(listener);
    return () => this.#onOrders.delete(listener);
  }

  onReconnect(listener: () => void): () => void {
    this.#onReconnect.add(listener);
    return () => this.#onReconnect.delete(listener);
  }

  orders(...instanceIds: string[]): void {
    for (const listener of this.#onOrders) listener(instanceIds);
  }

  reconnect(): void {
    for (const listener of this.#onReconnect) listener();
  }

  jobsDue(): void {
    this.areJobsDue = true;
  }
}

/** The table of orders, and the statements on it. Those of ended attempts are not in it. */
class Orders {
  readonly rows: { instanceId: string; number: number; spec: OrderSpec; isTaken?: boolean }[] = [];
  /** Positions of each statement that looked for orders. */
  readonly looks: number[] = [];
  fallbacks = 0;
  /** Too old for the fallback query. */
  areOld = false;
  failure: Error | undefined;
  transactionFailure: Error | undefined;
  fallbackFailure: Error | undefined;
  mostTransactionsAtOnce = 0;
  #held: Promise<unknown> = Promise.resolve();
  #heldTransactions: Promise<unknown> = Promise.resolve();
  #heldFallbacks: Promise<unknown> = Promise.resolve();
  #transactions = 0;
  #asked: (() => void)[] = [];
  #fallback: (() => void)[] = [];

  add(instanceId: string, ...numbers: number[]): void {
    for (const number of numbers) this.rows.push({ instanceId, number, spec: SHUTDOWN });
  }

  taken(): string[] {
    return this.rows.flatMap(({ instanceId, number, isTaken }) => (isTaken ? [`${instanceId} ${number}`] : []));
  }

  /** The answers of looks wait. @returns a function that lets them go; what it is given happens after they were read */
  hold(): (then?: () => void) => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#held = promise;
    return (then) => {
      this.#held = Promise.resolve();
      then?.();
      resolve(undefined);
    };
  }

  holdTransactions(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#heldTransactions = promise;
    return () => resolve(undefined);
  }

  holdFallbacks(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#heldFallbacks = promise;
    return () => resolve(undefined);
  }

  async asked(): Promise<void> {
    await new Promise<void>((done) => this.#asked.push(done));
  }

  async nextFallback(): Promise<void> {
    await new Promise<void>((done) => this.#fallback.push(done));
  }

  connect(): Database {
    const run = (statement: { name: string }, values: readonly unknown[]) => this.#run(statement.name, values);
    const transaction = async (work: (transaction: object) => Promise<unknown>) => {
      this.#transactions += 1;
      this.mostTransactionsAtOnce = Math.max(this.mostTransactionsAtOnce, this.#transactions);
      await this.#heldTransactions;
      this.#transactions -= 1;
      if (this.transactionFailure) throw this.transactionFailure;
      return await work({ run });
    };
    return { run, transaction } as unknown as Database;
  }

  async #run(name: string, values: readonly unknown[]): Promise<unknown[]> {
    if (name === 'agent-find-orders') return await this.#find(values as [string[], number[]]);
    if (name === 'agent-recent-untaken') return await this.#recentUntaken();
    if (name === 'agent-acknowledge') {
      const [ids, afters] = values as [string[], number[]];
      for (const row of this.rows) row.isTaken ||= row.number <= (afters[ids.indexOf(row.instanceId)] ?? 0);
    }
    return [];
  }

  async #find([ids, afters]: [string[], number[]]): Promise<unknown[]> {
    this.looks.push(ids.length);
    for (const done of this.#asked.splice(0)) done();
    const found = ids.flatMap((instanceId, index) => {
      const after = afters[index]!;
      const own = this.rows.filter((row) => row.instanceId === instanceId);
      const next = own.find(({ number }) => number > after);
      const hasUntaken = own.some(({ number, isTaken }) => number <= after && !isTaken);
      if (!next && !hasUntaken) return [];
      return [{ instanceId, number: next?.number ?? null, spec: next?.spec ?? null, hasUntaken }];
    });
    const { failure } = this;
    await this.#held;
    await othersTurn();
    if (failure) throw failure;
    return found;
  }

  async #recentUntaken(): Promise<unknown[]> {
    this.fallbacks += 1;
    for (const done of this.#fallback.splice(0)) done();
    await this.#heldFallbacks;
    if (this.fallbackFailure) throw this.fallbackFailure;
    return this.areOld ? [] : this.rows.filter(({ isTaken }) => !isTaken);
  }
}
