import { describe, expect, it } from '@jest/globals';
import { Loop } from './loop.js';

/** Counts runs and lets a test wait for the next one. */
function recorder(run: (times: number) => Promise<number>) {
  let times = 0;
  let notify: () => void = () => undefined;
  const errors: unknown[] = [];
  const loop = new Loop({
    name: 'test',
    run: async () => {
      times += 1;
      notify();
      return run(times);
    },
    onError: (_, error) => errors.push(error),
  });
  const reached = async (wanted: number) => {
    while (times < wanted) await new Promise<void>((done) => (notify = done));
  };
  return { loop, errors, reached, times: () => times };
}

describe('Loop', () => {
  it('runs again when it is woken, however long it wanted to wait', async () => {
    const { loop, reached } = recorder(() => Promise.resolve(3_600_000));
    loop.start();
    await reached(1);
    loop.wake();
    await reached(2);
    await loop.stop();
  });

  it('runs once for many calls within a time, and again for one after it', async () => {
    const { loop, reached, times } = recorder(() => Promise.resolve(3_600_000));
    loop.start();
    await reached(1);
    for (let n = 0; n < 10; n += 1) loop.wakeWithin(20);
    await reached(2);
    loop.wakeWithin(20);
    await reached(3);
    loop.wakeWithin(20);
    await loop.stop();
    expect(times()).toBe(3);
  });

  it('runs once more when it is woken in the middle of a run', async () => {
    const { loop, reached } = recorder((times) => {
      if (times === 1) loop.wake();
      return Promise.resolve(3_600_000);
    });
    loop.start();
    await reached(2);
    await loop.stop();
  });

  it('goes on after an error, and tells it', async () => {
    const { loop, errors, reached } = recorder((times) =>
      times === 1 ? Promise.reject(new Error('no')) : Promise.resolve(3_600_000),
    );
    loop.start();
    await reached(2);
    await loop.stop();
    expect(errors).toEqual([new Error('no')]);
  });

  it('is not hurried by wake-ups after an error', async () => {
    const { loop, reached, times } = recorder(() => Promise.reject(new Error('no')));
    loop.start();
    await reached(1);
    for (let n = 0; n < 10; n += 1) {
      loop.wake();
      await new Promise((done) => setImmediate(done));
    }
    expect(times()).toBe(1);
    await loop.stop();
  });

  it('ends with the run in progress', async () => {
    let finish: (pauseMs: number) => void = () => undefined;
    const { loop, reached, times } = recorder(() => new Promise<number>((done) => (finish = done)));
    loop.start();
    await reached(1);
    let isStopped = false;
    const stopped = loop.stop().then(() => (isStopped = true));
    await new Promise((done) => setImmediate(done));
    expect(isStopped).toBe(false);
    finish(0);
    await stopped;
    expect(times()).toBe(1);
  });
});
