import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HandClock, settled } from '../../test/support/hand-clock.js';
import type { Database } from '../database/database.js';
import type { Listener } from '../database/signals.js';
import { digestOf } from './bearer.js';
import { makeToken, Tokens } from './tokens.js';

type Row = { readonly id: string; readonly hash: Buffer; hasEnded: boolean };

/** The table, and what it was asked. Its answers may be held back, and it may be away. */
class Table {
  readonly rows = new Map<string, Row>();
  readonly lookUps: string[][] = [];
  readonly endedLookUps: string[][] = [];
  readonly written: (readonly [id: string, secondsAgo: number][])[] = [];
  isAway = false;
  #made = 0;
  #held: (() => void)[] | undefined;

  add(): { id: string; token: string } {
    this.#made += 1;
    const id = (0xf000_0000 + this.#made).toString(16);
    const token = `sch_${id}_${'5'.repeat(64)}`;
    this.rows.set(id, { id, hash: digestOf(token), hasEnded: false });
    return { id, token };
  }

  hold(): void {
    this.#held = [];
  }

  release(): void {
    for (const answer of this.#held ?? []) answer();
    this.#held = undefined;
  }

  /** Reads when it is asked, and answers when it is let. */
  async run({ name }: { readonly name: string }, values: readonly unknown[]): Promise<unknown[]> {
    const [ids, seconds] = values as [string[], number[]?];
    if (name === 'tokens-used') this.written.push(ids.map((id, at) => [id, seconds![at]!] as const));
    else (name === 'get-tokens' ? this.lookUps : this.endedLookUps).push(ids);
    const found = ids.flatMap((id) => this.rows.get(id) ?? []).map((row) => ({ ...row, name: `token ${row.id}` }));
    const held = this.#held;
    if (held) await new Promise<void>((answer) => held.push(answer));
    await settled();
    if (this.isAway) throw new Error('away');
    if (name !== 'find-ended-tokens') return found;
    const living = new Set(found.filter(({ hasEnded }) => !hasEnded).map(({ id }) => id));
    return ids.filter((id) => !living.has(id)).map((id) => ({ id }));
  }
}

describe('tokens of requests', () => {
  let clock: HandClock;
  let table: Table;
  let tokens: Tokens;
  let revoke: Listener;
  let reconnect: () => void;
  beforeEach(() => {
    Logger.overrideLogger(false);
    clock = new HandClock();
    table = new Table();
    const signals = {
      on: (_channel: string, listener: Listener) => {
        revoke = listener;
        return () => false;
      },
      onReconnect: (listener: () => void) => {
        reconnect = listener;
        return () => false;
      },
    };
    tokens = new Tokens(table as unknown as Database, signals, clock.now);
  });
  afterEach(() => {
    clock.restore();
    Logger.overrideLogger(true);
  });

  const guess = (n: number): string => `sch_${n.toString(16).padStart(8, '0')}_${'0'.repeat(64)}`;

  it('are those of their callers, who learn nothing of what is kept', async () => {
    const { id, token } = table.add();
    expect(await tokens.identify(token)).toEqual({ id, name: `token ${id}` });
  });

  it('are known as they were made', async () => {
    const { id, token, hash } = makeToken();
    table.rows.set(id, { id, hash, hasEnded: false });
    expect(await tokens.identify(token)).toMatchObject({ id });
  });

  it.each([
    ['another secret', (token: string) => token.replace(/.$/, '6')],
    ['another id', () => guess(1)],
    ['more behind it', (token: string) => `${token}0`],
    ['more before it', (token: string) => `x${token}`],
    ['no secret', (token: string) => token.slice(0, 13)],
  ])('are nobody’s with %s', async (_what, change) => {
    const { token } = table.add();
    expect(await tokens.identify(change(token))).toBeUndefined();
    await tokens.flush();
    expect(table.written).toEqual([]);
  });

  it('cost no query in a form that no token has', async () => {
    const { token } = table.add();
    for (const one of ['', 'x', `x${token}`, `${token}0`, token.toUpperCase()]) await tokens.identify(one);
    expect(table.lookUps).toEqual([]);
  });

  it('are told apart from guesses once they have ended', async () => {
    const { id, token } = table.add();
    table.rows.get(id)!.hasEnded = true;
    expect(await tokens.identify(token)).toBe('ended');
    expect(await tokens.identify(token.replace(/.$/, '6'))).toBeUndefined();
    await tokens.flush();
    expect(table.written).toEqual([]);
  });

  it('are looked up once in five seconds each, known or not, and after these for certain', async () => {
    const { id, token } = table.add();
    const ended = table.add();
    table.rows.get(ended.id)!.hasEnded = true;
    const identifyAll = async () => [
      await tokens.identify(token),
      await tokens.identify(ended.token),
      await tokens.identify(guess(1)),
    ];
    for (const ms of [0, 4_999]) {
      await clock.pass(ms);
      expect(await identifyAll()).toEqual([{ id, name: `token ${id}` }, 'ended', undefined]);
      expect(table.lookUps).toEqual([[id], [ended.id], ['00000001']]);
    }
    table.rows.get(id)!.hasEnded = true;
    await clock.pass(1);
    expect(await identifyAll()).toEqual(['ended', 'ended', undefined]);
    expect(table.lookUps).toHaveLength(6);
  });

  it('are known for five seconds from when they were asked for, however late the answer came', async () => {
    const { id, token } = table.add();
    table.hold();
    const answers = [tokens.identify(token), tokens.identify(guess(1))];
    await clock.pass(4_000);
    table.release();
    await clock.pass(0);
    table.release();
    await Promise.all(answers);
    await clock.pass(1_000);
    await Promise.all([tokens.identify(token), tokens.identify(guess(1))]);
    expect(table.lookUps.flat().filter((one) => one === id)).toHaveLength(2);
  });

  it('are found where a guess of the same id was none a moment ago', async () => {
    const { id, token } = table.add();
    const row = table.rows.get(id)!;
    table.rows.delete(id);
    expect(await tokens.identify(token)).toBeUndefined();
    table.rows.set(id, row);
    await clock.pass(5_000);
    for (let n = 0; n < 2; n += 1) expect(await tokens.identify(token)).toMatchObject({ id });
    // And are unknown as soon as they are seen to be deleted.
    table.rows.delete(id);
    await clock.pass(5_000);
    for (let n = 0; n < 2; n += 1) expect(await tokens.identify(token)).toBeUndefined();
    expect(table.lookUps).toHaveLength(3);
  });

  it('are what was seen last, where one query follows upon another', async () => {
    for (const isMade of [false, true]) {
      const { id, token } = table.add();
      const row = table.rows.get(id)!;
      if (isMade) table.rows.delete(id);
      table.hold();
      const answers = [tokens.identify(token), tokens.identify(token)];
      await settled();
      if (isMade) table.rows.set(id, row);
      else table.rows.delete(id);
      table.release();
      await Promise.all(answers);
      // What was seen before does not come back with a signal either.
      if (isMade) reconnect();
      expect((await tokens.identify(token)) !== undefined).toBe(isMade);
    }
  });

  it('end with the signal of their revocation, and no others with them', async () => {
    const [revoked, other] = [table.add(), table.add()];
    await tokens.identify(revoked.token);
    await tokens.identify(other.token);
    table.rows.get(revoked.id)!.hasEnded = true;
    table.rows.get(other.id)!.hasEnded = true;
    revoke([revoked.id]);
    expect(await tokens.identify(revoked.token)).toBe('ended');
    expect(await tokens.identify(other.token)).toMatchObject({ id: other.id });
  });

  it.each([
    ['a signal names none', () => revoke([])],
    ['signals may have been lost', () => reconnect()],
  ])('may all have ended where %s', async (_what, signal) => {
    const all = [table.add(), table.add()];
    for (const { id, token } of all) {
      await tokens.identify(token);
      table.rows.get(id)!.hasEnded = true;
    }
    signal();
    for (const { token } of all) expect(await tokens.identify(token)).toBe('ended');
  });

  it('are not kept as they were read before a signal', async () => {
    const { id, token } = table.add();
    table.hold();
    const early = tokens.identify(token);
    await settled();
    table.rows.get(id)!.hasEnded = true;
    revoke([id]);
    table.release();
    expect(await early).toMatchObject({ id });
    expect(await tokens.identify(token)).toBe('ended');
  });

  it('are looked up by one query at a time, once each and a thousand at once, so that guesses take one connection', async () => {
    const { token, id } = table.add();
    table.hold();
    const first = tokens.identify(token);
    const rest = Promise.all([
      tokens.identify(token),
      ...Array.from({ length: 1_001 }, (_, n) => tokens.identify(guess(n))),
      tokens.identify(guess(0)),
    ]);
    await clock.pass(0);
    expect(table.lookUps).toEqual([[id]]);
    table.release();
    expect(await first).toMatchObject({ id });
    expect((await rest).filter(Boolean)).toHaveLength(1);
    // The same again, asked for after its query had begun.
    expect(table.lookUps.slice(1).map((ids) => ids.length)).toEqual([1_000, 2]);
    expect(new Set(table.lookUps.slice(1).flat()).size).toBe(1_002);
  });

  it('are not taken for wrong while the database is away: all who wait learn of it, and the next one asks again', async () => {
    const [one, two] = [table.add(), table.add()];
    table.isAway = true;
    const waiting = [tokens.identify(one.token), tokens.identify(one.token), tokens.identify(two.token)];
    expect(await Promise.allSettled(waiting)).toEqual(Array(3).fill({ status: 'rejected', reason: new Error('away') }));
    table.isAway = false;
    expect(await tokens.identify(one.token)).toMatchObject({ id: one.id });
  });

  it('are not pushed out of memory by guesses, nor do guesses fill it', async () => {
    const { token } = table.add();
    await tokens.identify(token);
    for (let n = 0; n < 10_000; n += 1_000) {
      await Promise.all(Array.from({ length: 1_000 }, (_, at) => tokens.identify(guess(n + at))));
    }
    const before = table.lookUps.length;
    await tokens.identify(guess(0));
    await tokens.identify(token);
    expect(table.lookUps).toHaveLength(before);
    await tokens.identify(guess(10_001));
    await tokens.identify(guess(0));
    await tokens.identify(token);
    expect(table.lookUps).toHaveLength(before + 2);
  });

  it('take a bounded memory themselves', async () => {
    const all = Array.from({ length: 10_001 }, () => table.add());
    await Promise.all(all.slice(0, 10_000).map(({ token }) => tokens.identify(token)));
    const before = table.lookUps.length;
    await tokens.identify(all[0]!.token);
    expect(table.lookUps).toHaveLength(before);
    await tokens.identify(all.at(-1)!.token);
    await tokens.identify(all[0]!.token);
    expect(table.lookUps).toHaveLength(before + 2);
  });

  describe('that hold an answer open', () => {
    it('have ended where they are revoked or deleted; who has no token never does', async () => {
      const [revoked, living, deleted] = [table.add(), table.add(), table.add()];
      table.rows.get(revoked.id)!.hasEnded = true;
      table.rows.delete(deleted.id);
      const ids = ['admin', revoked.id, living.id, 'anonymous', deleted.id, `0${living.id}`];
      expect(await tokens.findEnded(ids)).toEqual([revoked.id, deleted.id]);
    });

    it('cost no query where there are none', async () => {
      expect(await tokens.findEnded(['admin', 'anonymous'])).toEqual([]);
      expect(await tokens.findEnded([])).toEqual([]);
      expect(table.endedLookUps).toEqual([]);
    });
  });

  describe('when they were last used', () => {
    it('is written a second after the first use, and every ten seconds at most, once each', async () => {
      const [one, two] = [table.add(), table.add()];
      await tokens.identify(one.token);
      await clock.pass(400);
      await tokens.identify(two.token);
      await clock.pass(599);
      expect(table.written).toEqual([]);
      await clock.pass(1);
      expect(table.written.splice(0)).toEqual([
        [
          [one.id, 1],
          [two.id, 0.6],
        ],
      ]);
      await clock.pass(500);
      await tokens.identify(two.token);
      await clock.pass(9_499);
      expect(table.written).toEqual([]);
      await clock.pass(1);
      expect(table.written.splice(0)).toEqual([[[two.id, 9.5]]]);
      await clock.pass(60_000);
      expect([table.written, clock.timers]).toEqual([[], 0]);
      await tokens.identify(one.token);
      await clock.pass(999);
      await tokens.identify(one.token);
      await clock.pass(1);
      expect(table.written).toEqual([[[one.id, 0.001]]]);
    });

    it('is not lost where it could not be written, unless it is used again', async () => {
      const [one, two] = [table.add(), table.add()];
      await tokens.identify(one.token);
      await tokens.identify(two.token);
      await clock.pass(500);
      table.hold();
      const failing = tokens.flush();
      await clock.pass(100);
      await tokens.identify(two.token);
      table.isAway = true;
      table.release();
      await expect(failing).rejects.toThrow('away');
      table.isAway = false;
      await clock.pass(400);
      await tokens.flush();
      expect(new Map(table.written.at(-1))).toEqual(
        new Map([
          [one.id, 1],
          [two.id, 0.4],
        ]),
      );
    });

    it('is written again by itself after it could not be', async () => {
      const { id, token } = table.add();
      await tokens.identify(token);
      table.isAway = true;
      await clock.pass(1_000);
      table.isAway = false;
      expect(clock.timers).toBe(0);
      await tokens.identify(token);
      await clock.pass(10_000);
      expect(table.written).toEqual([[[id, 1]], [[id, 10]]]);
    });

    it('is written before the process ends, by which no timer is left', async () => {
      const [one, two] = [table.add(), table.add()];
      await tokens.identify(one.token);
      await tokens.beforeApplicationShutdown();
      expect(table.written).toEqual([[[one.id, 0]]]);
      await tokens.identify(two.token);
      expect(clock.timers).toBe(0);
      table.isAway = true;
      await tokens.beforeApplicationShutdown();
    });
  });
});
