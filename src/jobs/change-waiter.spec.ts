import { describe, expect, it } from '@jest/globals';
import type { Listener } from '../database/signals.js';
import { Shutdown } from '../process/shutdown.js';
import { ChangeWaiter } from './change-waiter.js';

const LONG_MS = 60_000;

/** Signals without a database: the test sends them. */
function setUp() {
  const listeners: Listener[] = [];
  const reconnects: (() => void)[] = [];
  const shutdown = new Shutdown();
  const waiter = new ChangeWaiter(
    {
      on: (_channel, listener) => {
        listeners.push(listener);
        return () => false;
      },
      onReconnect: (listener) => {
        reconnects.push(listener);
        return () => false;
      },
    },
    shutdown,
  );
  const change = (...keys: string[]) => listeners.forEach((listener) => listener(keys));
  return { waiter, shutdown, change, reconnect: () => reconnects.forEach((listener) => listener()) };
}

/** Counts the looks; `looked(n)` resolves at the nth. */
function lookout(isReached: (looks: number) => boolean) {
  let looks = 0;
  const expected: { at: number; done: () => void }[] = [];
  return {
    look: () => {
      looks += 1;
      expected.filter(({ at }) => at === looks).forEach(({ done }) => done());
      return Promise.resolve(isReached(looks));
    },
    looked: (at: number) => new Promise<void>((done) => (looks >= at ? done() : expected.push({ at, done }))),
    count: () => looks,
  };
}

const noAbort = () => new AbortController().signal;

describe('a wait for a job', () => {
  it('ends with the change that reaches the goal, and looks only when the job changed', async () => {
    const { waiter, change } = setUp();
    const { look, looked, count } = lookout((looks) => looks === 3);
    const wait = waiter.wait('a', LONG_MS, noAbort(), look);
    await looked(1);
    change('b');
    change('a', 'b');
    await looked(2);
    expect(count()).toBe(2);
    change('a');
    expect(await wait).toBe('seen');
    expect(count()).toBe(3);
    expect(waiter.size).toBe(0);
  });

  it('does not miss a change that comes while it looks', async () => {
    const { waiter, change } = setUp();
    let looks = 0;
    await waiter.wait('a', LONG_MS, noAbort(), () => {
      looks += 1;
      if (looks === 1) change('a');
      return Promise.resolve(looks === 2);
    });
    expect(looks).toBe(2);
  });

  it('looks once more when the time is over', async () => {
    const { waiter } = setUp();
    const { look, count } = lookout(() => false);
    expect(await waiter.wait('a', 5, noAbort(), look)).toBe('over');
    expect(count()).toBe(2);
    expect(waiter.size).toBe(0);
  });

  it.each([
    ['signals were lost', 'reconnect'],
    ['a signal names no job', 'change'],
  ] as const)('looks again when %s', async (_why, event) => {
    const made = setUp();
    const { look, looked } = lookout((looks) => looks === 2);
    const wait = made.waiter.wait('a', LONG_MS, noAbort(), look);
    await looked(1);
    made[event]();
    await wait;
  });

  it('ends when the process shuts down', async () => {
    const { waiter, shutdown } = setUp();
    const { look, looked } = lookout(() => false);
    const wait = waiter.wait('a', LONG_MS, noAbort(), look);
    await looked(1);
    shutdown.begin();
    expect(await wait).toBe('shutdown');
    await waiter.wait('a', LONG_MS, noAbort(), look);
    expect(waiter.size).toBe(0);
  });

  it('ends without another look when the client has gone', async () => {
    const { waiter } = setUp();
    const client = new AbortController();
    const { look, looked, count } = lookout(() => false);
    const wait = waiter.wait('a', LONG_MS, client.signal, look);
    await looked(1);
    client.abort();
    expect(await wait).toBe('left');
    expect(count()).toBe(1);
    expect(waiter.size).toBe(0);
  });
});
