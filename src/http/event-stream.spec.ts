import { describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
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

  it('sends a comment where nothing happens, and loses no event by it', async () => {
    const source = new Source();
    const stream = eventStreamOf(source, { keepAliveMs: 5 });
    for (let comments = 0; comments < 3; comments += 1) expect(await chunkOf(stream)).toBe(':\n\n');
    source.give({ data: 'late' });
    let chunk = ':\n\n';
    while (chunk === ':\n\n') chunk = await chunkOf(stream);
    expect(chunk).toBe('data: late\n\n');
    stream.destroy();
  });

  it('tells the events when the client leaves, though they are waiting', async () => {
    const source = new Source();
    const stream = eventStreamOf(source);
    await chunkOf(stream);
    stream.read();
    stream.destroy();
    await once(stream, 'close');
    expect(source.wasReturned).toBe(true);
  });

  it('ends in order at the signal, also where that came before', async () => {
    const source = new Source();
    const controller = new AbortController();
    const ended = text(eventStreamOf(source, { signal: controller.signal }));
    source.give({ data: 'one' });
    await turn();
    controller.abort();
    expect(await ended).toBe(':\n\ndata: one\n\n');
    expect(source.wasReturned).toBe(true);
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

/** Emits one event on demand. */
class Source implements AsyncIterableIterator<ServerSentEvent> {
  wasReturned = false;
  readonly #given = Promise.withResolvers<IteratorResult<ServerSentEvent>>();
  #wasGiven = false;

  give(event: ServerSentEvent): void {
    this.#given.resolve({ done: false, value: event });
  }

  next(): Promise<IteratorResult<ServerSentEvent>> {
    if (this.#wasGiven) return new Promise(() => undefined);
    this.#wasGiven = true;
    return this.#given.promise;
  }

  return(): Promise<IteratorResult<ServerSentEvent>> {
    this.wasReturned = true;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

async function chunkOf(stream: Readable): Promise<string> {
  for (;;) {
    const chunk = stream.read() as Buffer | string | null;
    if (chunk !== null) return String(chunk);
    await once(stream, 'readable');
  }
}
