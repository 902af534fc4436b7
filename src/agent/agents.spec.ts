import { hash } from 'node:crypto';
import { setImmediate as othersTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Database } from '../database/database.js';
import { Agents } from './agents.js';

const KNOWN_MS = 60_000;

let instances: Instances;
let clock: { now: number };
let agents: Agents;
beforeEach(() => {
  [instances, clock] = [new Instances(), { now: 1_000_000 }];
  agents = new Agents(instances.connect(), () => clock.now);
  instances.add('i-1', 'token of i-1');
});

describe('the sender of a token', () => {
  it('is an agent, one whose instance is retired, or nobody that is known', async () => {
    instances.add('i-2', 'token of i-2', { isRetired: true });
    expect(await senders('token of i-1', 'token of i-2', 'guessed')).toEqual([
      { kind: 'agent', instanceId: 'i-1' },
      { kind: 'retired', instanceId: 'i-2' },
      { kind: 'unknown' },
    ]);
  });

  it('is looked up in one statement with all that ask in one turn, once each', async () => {
    instances.add('i-2', 'token of i-2');
    const tokens = ['token of i-1', 'guessed', 'token of i-2', 'token of i-1', 'guessed'];
    expect((await senders(...tokens)).map(({ kind }) => kind)).toEqual([
      'agent',
      'unknown',
      'agent',
      'agent',
      'unknown',
    ]);
    expect(instances.looks).toEqual([3]);
    await senders(...tokens);
    expect(instances.looks).toEqual([3]);
    // Also while the statement is under way.
    const letGo = instances.hold();
    const both = [agents.identify('another')];
    await othersTurn();
    await othersTurn();
    both.push(agents.identify('another'));
    letGo();
    expect(await Promise.all(both)).toEqual([{ kind: 'unknown' }, { kind: 'unknown' }]);
    expect(instances.looks).toEqual([3, 1]);
  });

  it('of a token that was replaced does not come back, whatever is flushed while it is looked up', async () => {
    await senders('token of i-1');
    instances.add('i-1', 'another token of i-1');
    clock.now += KNOWN_MS + 1;
    const letGo = instances.hold();
    const sender = agents.identify('token of i-1');
    await othersTurn();
    await othersTurn();
    const flushed = agents.flush();
    letGo();
    await flushed;
    expect(await sender).toEqual({ kind: 'unknown' });
    clock.now += 1_000;
    expect(await senders('token of i-1')).toEqual([{ kind: 'unknown' }]);
  });

  it('is forgotten when nobody has sent it for long', async () => {
    for (const n of [2, 3]) instances.add(`i-${n}`, `token of i-${n}`);
    await senders('token of i-1', 'token of i-2', 'token of i-3', 'guessed');
    expect(agents.size).toBe(4);
    clock.now += 999;
    await agents.flush();
    expect(agents.size).toBe(4);
    clock.now += 1;
    await agents.flush();
    expect(agents.size).toBe(3);
    // Not what is still to be written.
    instances.locked.add('i-2');
    await senders('token of i-2');
    clock.now += KNOWN_MS;
    await agents.flush();
    expect(agents.size).toBe(1);
  });

  it.each<[string, number, () => unknown, boolean]>([
    ['that is known is not looked up within a minute', KNOWN_MS, () => undefined, false],
    ['that is known is afterwards', KNOWN_MS + 1, () => undefined, true],
    ['that is known is when somebody says that it may have changed', 0, () => agents.forget('token of i-1'), true],
    ['that is known is not, whatever is flushed', KNOWN_MS, () => agents.flush(), false],
    ['that is known is not, whoever else is looked up', KNOWN_MS, () => senders('another'), false],
  ])('%s: %s ms', async (_what, ms, happens, isLookedUp) => {
    await senders('token of i-1');
    await agents.flush();
    instances.rows.clear();
    clock.now += ms;
    await happens();
    expect(await senders('token of i-1')).toEqual([
      isLookedUp ? { kind: 'unknown' } : { kind: 'agent', instanceId: 'i-1' },
    ]);
  });

  it.each<[string, number, () => unknown, boolean]>([
    ['that is unknown is not looked up within a second', 999, () => undefined, false],
    ['that is unknown is afterwards', 1_000, () => undefined, true],
    ['that is unknown is when somebody says that it may have changed', 0, () => agents.forget('token of i-2'), true],
    ['that is unknown is not, whatever is flushed', 999, () => agents.flush(), false],
    ['that is unknown is not, whoever else is looked up', 999, () => senders('another'), false],
  ])('%s: %s ms', async (_what, ms, happens, isLookedUp) => {
    await senders('token of i-2');
    instances.add('i-2', 'token of i-2');
    clock.now += ms;
    await happens();
    expect(await senders('token of i-2')).toEqual([
      isLookedUp ? { kind: 'agent', instanceId: 'i-2' } : { kind: 'unknown' },
    ]);
  });

  it('whose instance is gone counts as unknown, and again as an agent once it is back', async () => {
    await senders('token of i-1');
    const { rows } = instances;
    instances.rows = new Map();
    clock.now += KNOWN_MS + 1;
    await senders('token of i-1');
    instances.rows = rows;
    clock.now += 999;
    expect(await senders('token of i-1')).toEqual([{ kind: 'unknown' }]);
    clock.now += 1;
    expect(await senders('token of i-1')).toEqual([{ kind: 'agent', instanceId: 'i-1' }]);
  });

  it('is nobody’s concern when the database fails: no answer, and none is remembered', async () => {
    instances.failure = new Error('connection terminated');
    await expect(agents.identify('token of i-1')).rejects.toThrow('connection terminated');
    instances.failure = undefined;
    expect(await senders('token of i-1')).toEqual([{ kind: 'agent', instanceId: 'i-1' }]);
  });

  it('is not remembered where too many guess', async () => {
    await senders('token of i-2', ...Array.from({ length: 10_000 }, (_, n) => `guess ${n}`));
    instances.add('i-2', 'token of i-2');
    expect(await senders('token of i-2')).toEqual([{ kind: 'unknown' }]);
    await senders('one more');
    expect(await senders('token of i-2')).toEqual([{ kind: 'agent', instanceId: 'i-2' }]);
  });
});

describe('when an agent was seen', () => {
  it('is written as the time since then, of all that were seen since the last flush', async () => {
    instances.add('i-2', 'token of i-2');
    await senders('token of i-1');
    clock.now += 4_000;
    await senders('token of i-2', 'guessed');
    clock.now += 500;
    await agents.flush();
    expect(instances.seen).toEqual([{ 'i-1': 4.5, 'i-2': 0.5 }]);
    await agents.flush();
    await senders('token of i-2');
    await agents.flush();
    expect(instances.seen.slice(1)).toEqual([{ 'i-2': 0 }]);
  });

  it('is written later of an instance that is locked, and of an agent that was seen meanwhile', async () => {
    instances.add('i-2', 'token of i-2');
    await senders('token of i-1', 'token of i-2');
    instances.locked.add('i-1');
    clock.now += 1_000;
    const flushed = agents.flush();
    clock.now += 1_000;
    await senders('token of i-2');
    await flushed;
    clock.now += 1_000;
    await agents.flush();
    expect(instances.seen).toEqual([{ 'i-2': 1 }, { 'i-2': 1 }]);
    instances.locked.clear();
    await agents.flush();
    expect(instances.seen.at(-1)).toEqual({ 'i-1': 3 });
  });

  it('is written along with whether its instance is retired, which holds for a minute from then', async () => {
    await senders('token of i-1');
    clock.now += KNOWN_MS;
    await agents.flush();
    clock.now += KNOWN_MS;
    instances.rows.clear();
    expect(await senders('token of i-1')).toEqual([{ kind: 'agent', instanceId: 'i-1' }]);
    instances.add('i-1', 'token of i-1', { isRetired: true });
    await agents.flush();
    expect(await senders('token of i-1')).toEqual([{ kind: 'retired', instanceId: 'i-1' }]);
    // And is none that was seen.
    await agents.flush();
    expect(instances.seen).toHaveLength(2);
  });

  it('is written at the end, and fails nothing where it cannot be', async () => {
    await senders('token of i-1');
    Logger.overrideLogger(false);
    instances.failure = new Error('connection terminated');
    await agents.beforeApplicationShutdown();
    Logger.overrideLogger(true);
    instances.failure = undefined;
    agents.onApplicationBootstrap();
    await agents.beforeApplicationShutdown();
    expect(instances.seen).toEqual([{ 'i-1': 0 }]);
  });
});

async function senders(...tokens: string[]) {
  return await Promise.all(tokens.map((token) => agents.identify(token)));
}

/** The table of instances, and the statements on it. */
class Instances {
  rows = new Map<string, { readonly id: string; readonly tokenHash: Buffer; readonly isRetired: boolean }>();
  readonly locked = new Set<string>();
  /** Tokens of each statement that looked for some. */
  readonly looks: number[] = [];
  /** Of each flush, how many seconds ago each agent was seen. */
  readonly seen: Record<string, number>[] = [];
  failure: Error | undefined;
  #held: Promise<unknown> = Promise.resolve();

  /** Statements from now on wait. @returns a function that lets them go on */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#held = promise;
    return () => {
      this.#held = Promise.resolve();
      resolve(undefined);
    };
  }

  add(id: string, token: string, { isRetired = false } = {}): void {
    this.rows.set(id, { id, tokenHash: hash('sha256', token, 'buffer'), isRetired });
  }

  connect(): Database {
    const run = async ({ name }: { name: string }, values: readonly unknown[]) => {
      const found =
        name === 'agents-load'
          ? this.#load(values as [readonly Buffer[]])
          : this.#flush(values as [readonly string[], readonly number[]]);
      await this.#held;
      if (this.failure) throw this.failure;
      return found;
    };
    return { run } as unknown as Database;
  }

  #load([hashes]: [readonly Buffer[]]) {
    this.looks.push(hashes.length);
    const wanted = new Set(hashes.map((one) => one.toString('hex')));
    return [...this.rows.values()].filter(({ tokenHash }) => wanted.has(tokenHash.toString('hex')));
  }

  #flush([ids, ages]: [readonly string[], readonly number[]]) {
    if (this.failure) return [];
    const open = ids.filter((id) => !this.locked.has(id) && this.rows.has(id));
    this.seen.push(Object.fromEntries(open.map((id) => [id, ages[ids.indexOf(id)]!])));
    return open.map((id) => this.rows.get(id)!);
  }
}
