import { PassThrough, Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { settled } from '../../test/support/hand-clock.js';
import type { Database } from '../database/database.js';
import { Shutdown } from '../process/shutdown.js';
import { OrderStreams } from './order-streams.js';

const event = (second: number) => `{"timeNano":${second}000000001}\n`;
const events = (...seconds: number[]) => seconds.map(event).join('');

type Row = { since: string; content: string };
let rows: Map<number, Row>;
let order: { hasEnded: boolean; isReplaced: boolean } | undefined;
/** What was written, one after the other. */
let written: string[];
let clock: { now: number };
let streams: OrderStreams;
beforeEach(() => {
  [rows, written, clock] = [new Map<number, Row>(), [], { now: 5_000 }];
  order = { hasEnded: false, isReplaced: false };
  const run = async ({ name }: { name: string }, values: readonly unknown[]) => {
    await Promise.resolve();
    const [, number, stored, since, content] = values as [string, number, string | null, string, string];
    const row = rows.get(number);
    if (name === 'stream-target') return order ? [{ ...order, since: null, content: null, ...row }] : [];
    if (row && row.since !== stored) return [];
    rows.set(number, { since, content });
    written.push(content);
    return [{ number }];
  };
  streams = new OrderStreams({ run } as unknown as Database, new Shutdown(), () => clock.now);
});

describe('a stream of an order', () => {
  it('is stored as it comes, each second at most, and all of it once it has ended', async () => {
    const body = new PassThrough();
    const since = streams.store('i-1', 1, '0', body);
    const send = async (second: number, afterMs: number) => {
      clock.now += afterMs;
      body.write(event(second));
      await settled(10);
      return rows.get(1)?.content;
    };
    expect(await send(1, 0)).toBe(events(1));
    expect(await send(2, 999)).toBe(events(1));
    expect(await send(3, 1)).toBe(events(1, 2, 3));
    expect(await send(4, 999)).toBe(events(1, 2, 3));
    body.end();
    expect(await since).toBe('4.000000002');
    expect(rows.get(1)).toEqual({ content: events(1, 2, 3, 4), since: '4.000000002' });
  });

  it('goes on from what is stored, wherever the agent begins, and writes nothing where nothing is new', async () => {
    rows.set(1, { content: events(1, 2), since: '2.000000002' });
    expect(await streams.store('i-1', 1, '0', Readable.from([Buffer.from(events(1, 2))]))).toBe('2.000000002');
    expect(await streams.store('i-1', 1, '0', Readable.from([]))).toBe('2.000000002');
    expect(written).toEqual([]);
    expect(await streams.store('i-1', 1, '2.000000002', Readable.from([Buffer.from(event(3))]))).toBe('3.000000002');
    expect(written).toEqual([events(1, 2, 3)]);
  });

  it('begins where the agent says when nothing is stored', async () => {
    expect(await streams.store('i-1', 1, '2', Readable.from([Buffer.from(events(1, 2))]))).toBe('2.000000002');
    expect(rows.get(1)?.content).toBe(events(2));
    expect(await streams.store('i-1', 2, '7.5', Readable.from([]))).toBe('7.500000000');
  });

  it('is stored as far as it came when it breaks off', async () => {
    const body = new PassThrough();
    const stored = streams.store('i-1', 1, '0', body);
    for (const second of [1, 2]) {
      body.write(event(second));
      await settled(10);
    }
    body.destroy(new Error('aborted'));
    await expect(stored).rejects.toMatchObject({ code: 'malformed-request' });
    expect(rows.get(1)?.content).toBe(events(1, 2));
  });

  it('gives way to another upload that was first', async () => {
    const body = new PassThrough();
    const stored = streams.store('i-1', 1, '0', body);
    body.write(event(1));
    await settled(10);
    rows.set(1, { content: events(1, 2), since: '2.000000002' });
    body.end(event(2));
    await expect(stored).rejects.toMatchObject({ code: 'unavailable', headers: { 'retry-after': '1' } });
    expect(rows.get(1)?.content).toBe(events(1, 2));
  });

  it.each([
    ['order-not-found', undefined],
    ['instance-retired', { hasEnded: true, isReplaced: true }],
    ['conflict', { hasEnded: false, isReplaced: true }],
  ])('is refused: %s', async (code, state) => {
    order = state;
    await expect(streams.store('i-1', 1, '0', Readable.from([Buffer.from(event(1))]))).rejects.toMatchObject({ code });
    expect(written).toEqual([]);
  });
});
