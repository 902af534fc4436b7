import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { getEventListeners, once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { HandClock, settled } from '../../test/support/hand-clock.js';
import { eventStreamOf, type ServerSentEvent } from './event-stream.js';

describe('a stream of events', () => {
  it('writes id, event and every line of the data', async () => {
    const stream = eventStreamOf(
      each([{ id: '7', event: 'line', data: 'a\nb\r\nc\rd' }, { data: '' }, { event: 'end', data: '{"x":1}' }]),
    );
    expect(await text(stream)).toBe(
      [
        ':\n\n',
        'id: 7\nevent: line\ndata: a\ndata: b\ndata: c\ndata: d\n\n',
        'data: \n\n',
        'event: end\ndata: {"x":1}\n\n',
      ].join(''),
    );
  });

  it('asks for the next event only when the client took the one before', async () => {
    const requested: number[] = [];
    const stream = eventStreamOf(numbers((number) => requested.push(number)));
    stream.pause();
    await turn();
    await turn();
    expect(requested.length).toBeLessThanOrEqual(1);
    for (let taken = 0; taken < 100; taken += 1) {
      await chunkOf(stream);
      expect(requested.length - taken).toBeLessThanOrEqual(2);
    }
    expect(requested.length).toBeGreaterThan(90);
    stream.destroy();
  });

  describe('that waits', () => {
    let clock: HandClock;
    beforeEach(() => {
      clock = new HandClock();
    });
    afterEach(() => clock.restore());

    /** What a client has got that reads all the time. */
    function read(stream: Readable) {
      const got = { chunks: [] as string[], errors: [] as unknown[] };
      stream.on('data', (chunk) => got.chunks.push(String(chunk))).on('error', (error) => got.errors.push(error));
      return got;
    }

    it('sends a comment where nothing happens for fifteen seconds, and loses no event by it', async () => {
      const source = new Source();
      const stream = eventStreamOf(source);
      const { chunks } = read(stream);
      await clock.pass(14_999);
      expect(chunks).toEqual([':\n\n']);
      await clock.pass(15_001);
      expect(chunks).toEqual([':\n\n', ':\n\n', ':\n\n']);
      await clock.pass(10_000);
      source.give({ data: 'late' });
      await clock.pass(14_999);
      expect(chunks.slice(3)).toEqual(['data: late\n\n']);
      await clock.pass(1);
      source.give({ data: 'later' });
      await settled();
      expect(chunks.slice(4)).toEqual([':\n\n', 'data: later\n\n']);
      expect(source.mostAtOnce).toBe(1);
      stream.destroy();
    });

    it('is over at the signal, though its client takes nothing, and what comes later is nothing of it', async () => {
      const source = new Source();
      const controller = new AbortController();
      const stream = eventStreamOf(source, { signal: controller.signal });
      const errors: unknown[] = [];
      stream.on('error', (error) => errors.push(error));
      await chunkOf(stream);
      stream.read();
      await settled();
      controller.abort();
      expect([source.returns, clock.timers]).toEqual([1, 0]);
      expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
      source.give({ data: 'late' });
      await settled();
      expect(await text(stream)).toBe('');
      stream.destroy();
      await settled();
      expect([source.returns, errors]).toEqual([1, []]);
    });

    it('leaves nothing behind where its client leaves', async () => {
      const source = new Source();
      const { signal } = new AbortController();
      const stream = eventStreamOf(source, { signal });
      const { chunks, errors } = read(stream);
      await settled();
      stream.destroy();
      await settled();
      expect([source.returns, clock.timers, getEventListeners(signal, 'abort').length]).toEqual([1, 0, 0]);
      source.give({ data: 'late' });
      await clock.pass(60_000);
      expect([chunks, errors]).toEqual([[':\n\n'], []]);
    });
  });

  it('ends in order at the signal, also where that came before', async () => {
    const source = new Source();
    const controller = new AbortController();
    const ended = text(eventStreamOf(source, { signal: controller.signal }));
    source.give({ data: 'one' });
    await turn();
    controller.abort();
    expect(await ended).toBe(':\n\ndata: one\n\n');
    expect(source.returns).toBe(1);
    expect(await text(eventStreamOf(new Source(), { signal: AbortSignal.abort() }))).toBe(':\n\n');
  });

  it('breaks off where the events fail: half of them is not the whole', async () => {
    const failing = (async function* () {
      yield await Promise.resolve({ data: 'one' });
      throw new Error('away');
    })();
    await expect(text(eventStreamOf(failing))).rejects.toThrow('away');
  });
});

async function* each(events: readonly ServerSentEvent[]): AsyncGenerator<ServerSentEvent> {
  for (const event of events) yield await Promise.resolve(event);
}

async function* numbers(onAsked: (number: number) => void): AsyncGenerator<ServerSentEvent> {
  for (let number = 0; ; number += 1) {
    onAsked(number);
    yield await Promise.resolve({ data: String(number) });
  }
}

/** Emits events on demand. */
class Source implements AsyncIterableIterator<ServerSentEvent> {
  returns = 0;
  /** Requests for an event that waited at the same time. */
  mostAtOnce = 0;
  readonly #given: ServerSentEvent[] = [];
  readonly #waiting: ((event: ServerSentEvent) => void)[] = [];

  give(event: ServerSentEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(event);
    else this.#given.push(event);
  }

  async next(): Promise<IteratorResult<ServerSentEvent>> {
    const value = this.#given.shift() ?? (await new Promise<ServerSentEvent>((done) => this.#wait(done)));
    return { done: false, value };
  }

  return(): Promise<IteratorResult<ServerSentEvent>> {
    this.returns += 1;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #wait(done: (event: ServerSentEvent) => void): void {
    this.#waiting.push(done);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#waiting.length);
  }
}

async function chunkOf(stream: Readable): Promise<string> {
  for (;;) {
    const chunk = stream.read() as Buffer | string | null;
    if (chunk !== null) return String(chunk);
    await once(stream, 'readable');
  }
}
