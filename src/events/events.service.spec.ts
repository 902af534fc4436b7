import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { EventLog, WINDOW } from '../../test/support/event-log.js';
import { HandClock } from '../../test/support/hand-clock.js';
import { ADMIN, type Caller } from '../http/caller.js';
import type { ServerSentEvent } from '../http/event-stream.js';
import { ListEvents } from './event.schema.js';
import type { EventFeed } from './event-feed.js';
import { EventsService } from './events.service.js';
import type { EventFilter, EventsRead } from './read-events.js';

const VIEWER: Caller = { ...ADMIN, id: '00000001', role: 'viewer' };

describe('a page of events', () => {
  let clock: HandClock;
  let log: EventLog;
  let events: EventsService;
  beforeEach(() => {
    clock = new HandClock();
    log = new EventLog();
    events = new EventsService(log.database, undefined as never);
  });
  afterEach(() => clock.restore());

  const list = async (query: object, caller: Caller = ADMIN) => {
    const { items, ...rest } = await events.list(ListEvents.parse(query), caller);
    return { positions: items.map(({ position }) => position), ...rest };
  };

  it.each(['oldest', 'newest'])('and those after it have all there are, the %s first', async (order) => {
    log.append(25, { job: 'web' });
    const found: number[] = [];
    const way = order === 'oldest' ? 'after' : 'before';
    let cursor: string | null = null;
    do {
      const page = await list({ order, limit: 10, ...(cursor !== null && { [way]: cursor }) });
      found.push(...page.positions);
      cursor = page.nextCursor;
      expect(page.gap).toBeNull();
    } while (cursor !== null && found.length <= 25);
    const all = Array.from({ length: 25 }, (_, at) => at + 1);
    expect(found).toEqual(order === 'oldest' ? all : all.toReversed());
  });

  it('is looked for through all positions, and is as full as it can be', async () => {
    for (const position of [5, WINDOW + 5, 3 * WINDOW]) log.appendAt(position, { type: 'job.deleted' });
    log.appendAt(4 * WINDOW, { type: 'job.created' });
    const rare = { type: 'job.deleted' };
    const all = [5, WINDOW + 5, 3 * WINDOW];
    expect(await list({ ...rare, limit: 3 })).toMatchObject({ positions: all, nextCursor: String(3 * WINDOW) });
    expect(await list({ ...rare, limit: 4 })).toEqual({ positions: all, nextCursor: null, gap: null });
    expect(await list({ ...rare, limit: 2 })).toMatchObject({ positions: all.slice(0, 2) });
    expect(await list({ ...rare, limit: 4, order: 'newest' })).toMatchObject({
      positions: all.toReversed(),
      nextCursor: null,
    });
    expect(await list({ ...rare, limit: 2, order: 'newest' })).toMatchObject({ positions: [3 * WINDOW, WINDOW + 5] });
  });

  it('has no more than its limit, however many it finds in the end', async () => {
    for (const position of [5, WINDOW + 6, WINDOW + 7, WINDOW + 8]) log.appendAt(position, { type: 'job.deleted' });
    expect(await list({ type: 'job.deleted', limit: 2 })).toMatchObject({
      positions: [5, WINDOW + 6],
      nextCursor: String(WINDOW + 6),
    });
  });

  it('is what was found in two seconds, and shows where to go on', async () => {
    log.appendAt(5, { type: 'job.deleted' });
    log.appendAt(9 * WINDOW, { type: 'job.deleted' });
    const run = log.run.bind(log);
    log.run = async (statement, values) => {
      await clock.pass(500);
      return await run(statement, values);
    };
    const page = await list({ type: 'job.deleted', limit: 50 });
    expect(page).toEqual({ positions: [5], nextCursor: String(4 * WINDOW), gap: null });
    expect(await list({ type: 'job.deleted', limit: 50, after: page.nextCursor })).toMatchObject({ positions: [] });
    expect(await list({ type: 'job.deleted', limit: 50, after: 8 * WINDOW })).toMatchObject({
      positions: [9 * WINDOW],
      nextCursor: null,
    });
  });

  it('ends after 1 MiB, behind the last event that it shows', async () => {
    log.append(20, { data: { text: 'x'.repeat(100_000) } });
    const page = await list({ limit: 50 });
    expect(page.positions).toHaveLength(11);
    expect(page.nextCursor).toBe('11');
    expect((await list({ limit: 50, after: 11 })).positions).toHaveLength(9);
  });

  it('tells of a gap whoever has a position to go on from, and nobody else', async () => {
    log.append(9);
    log.deleteThrough(4);
    expect(await list({ after: 3 })).toMatchObject({ positions: [5, 6, 7, 8, 9], gap: { reason: 'too-old' } });
    expect(await list({ after: 4 })).toMatchObject({ gap: null });
    expect(await list({})).toMatchObject({ positions: [5, 6, 7, 8, 9], gap: null });
    expect(await list({ order: 'newest' })).toMatchObject({ positions: [9, 8, 7, 6, 5], gap: null });
  });

  it('has what its query names, of what its caller may see', async () => {
    log.append(1, { job: 'team-a-web', deployment: 1 });
    log.append(1, { job: 'team-a-web', deployment: 2, type: 'deployment.active' });
    log.append(1, { job: 'team-b-web', deployment: 2, type: 'deployment.active' });
    log.append(1, { type: 'token.created' });
    const seen = async (query: object, caller?: Caller) => (await list(query, caller)).positions;
    expect(await seen({ job: 'team-a-web' })).toEqual([1, 2]);
    expect(await seen({ deployment: 2 })).toEqual([2, 3]);
    expect(await seen({ type: 'deployment.*' })).toEqual([2, 3]);
    expect(await seen({})).toEqual([1, 2, 3, 4]);
    expect(await seen({}, VIEWER)).toEqual([1, 2, 3]);
    expect(await seen({}, { ...VIEWER, scope: ['team-b-'] })).toEqual([3]);
    expect(await seen({ type: 'token.*' })).toEqual([4]);
    await expect(seen({ type: 'token.*' }, VIEWER)).rejects.toMatchObject({ code: 'forbidden' });
    expect(() => events.follow(ListEvents.parse({ type: 'token.*' }), VIEWER, 0, AbortSignal.abort())).toThrow();
  });
});

describe('a stream of events', () => {
  it('has each event by its position and type, and a gap before what follows it', async () => {
    const log = new EventLog();
    log.append(2, { type: 'job.created', job: 'web' });
    const gap = { reason: 'too-old', after: 3, resumesAfter: 8 } as const;
    const asked: unknown[] = [];
    const feed = {
      async *follow(filter: EventFilter, after: number | null): AsyncGenerator<EventsRead> {
        asked.push(filter, after);
        yield await Promise.resolve({ events: log.events, reached: 2, isAtEnd: true, gap: null });
        yield { events: log.events.slice(0, 1), reached: 1, isAtEnd: true, gap };
      },
    };
    const service = new EventsService(log.database, feed as unknown as EventFeed);
    const query = ListEvents.parse({ job: 'web', deployment: '7' });
    const messages: ServerSentEvent[] = [];
    for await (const one of service.follow(query, ADMIN, 3, new AbortController().signal)) messages.push(one);
    expect(messages.map(({ id, event }) => [id, event])).toEqual([
      ['1', 'job.created'],
      ['2', 'job.created'],
      ['8', 'gap'],
      ['1', 'job.created'],
    ]);
    expect(messages.map(({ data }) => JSON.parse(data) as unknown)).toEqual([...log.events, gap, log.events[0]]);
    expect(asked).toEqual([{ job: 'web', deployment: 7, types: null, scope: null }, 3]);
  });
});
