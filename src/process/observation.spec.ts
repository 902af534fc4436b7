import { describe, expect, it } from '@jest/globals';
import { Occurrence, Operation } from './observation.js';

describe('Occurrence', () => {
  it('is told to everyone who listens, until they leave', () => {
    const happened = new Occurrence<{ n: number }>('test:occurrence');
    const [one, other]: number[][] = [[], []];
    const leave = happened.subscribe(({ n }) => one?.push(n));
    happened.subscribe(({ n }) => other?.push(n));
    happened.publish({ n: 1 });
    leave();
    happened.publish({ n: 2 });
    expect([one, other]).toEqual([[1], [1, 2]]);
  });

  it('is told although a listener throws, and that is a line in the log and no more', () => {
    const { stderr } = process;
    const write = stderr.write.bind(stderr);
    const written: string[] = [];
    const heard: number[] = [];
    const happened = new Occurrence<{ n: number }>('test:faulty');
    happened.subscribe(() => {
      throw new Error('a listener of ours');
    });
    happened.subscribe(({ n }) => heard.push(n));
    stderr.write = (text: unknown) => written.push(String(text)) > 0;
    try {
      happened.publish({ n: 1 });
    } finally {
      stderr.write = write;
    }
    expect(heard).toEqual([1]);
    expect(written.map((line) => JSON.parse(line) as unknown)).toEqual([
      expect.objectContaining({ level: 'error', message: 'measuring failed', error: 'Error: a listener of ours' }),
    ]);
  });
});

describe('Operation', () => {
  it('tells how long it took and what it failed with, and changes neither', async () => {
    const work = new Operation<{ what: string }>('test:operation');
    expect(await work.run({ what: 'unheard' }, () => Promise.resolve(1))).toBe(1);
    const ended: unknown[] = [];
    work.onEnd((end) => ended.push(end));
    const error = new Error('no');
    expect(await work.run({ what: 'good' }, () => Promise.resolve(2))).toBe(2);
    await expect(work.run({ what: 'bad' }, () => Promise.reject(error))).rejects.toBe(error);
    expect(ended).toEqual([
      { facts: { what: 'good' }, durationMs: expect.any(Number), error: undefined },
      { facts: { what: 'bad' }, durationMs: expect.any(Number), error },
    ]);
  });
});
