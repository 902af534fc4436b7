import { Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller.js';
import { Database } from '../database/database.js';
import type { ServerSentEvent } from '../http/event-stream.js';
import { withinPageBytes } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { EventFeed } from './event-feed.js';
import type { EventPage, EventResponse, ListEvents } from './event.schema.js';
import { typesLike, visibleTypes } from './event-types.js';
import { type EventFilter, type EventsRead, readBackward, readForward } from './read-events.js';

/** Longest time that `list` reads for a filter with few matches; a page then has what was found. */
const LONGEST_LOOK_MS = 2_000;

@Injectable()
export class EventsService {
  constructor(
    private readonly database: Database,
    private readonly feed: EventFeed,
  ) {}

  /** @throws Problem forbidden */
  async list(query: ListEvents, caller: Caller): Promise<EventPage> {
    const { order, after = 0, before = null, limit } = query;
    const filter = filterOf(query, caller);
    const isForward = order === 'oldest';
    const look = (from: number | null, count: number): Promise<EventsRead> =>
      isForward
        ? readForward(this.database, filter, from ?? 0, count)
        : readBackward(this.database, filter, from, count);
    const endsAt = performance.now() + LONGEST_LOOK_MS;
    let read = await look(isForward ? after : before, limit);
    // A client that begins at the beginning has no position to continue from.
    const gap = query.after === undefined || !isForward ? null : read.gap;
    const items: EventResponse[] = [...read.events];
    while (!read.isAtEnd && items.length < limit && performance.now() < endsAt) {
      read = await look(read.reached, limit - items.length);
      items.push(...read.events);
    }
    const shown = [...withinPageBytes(items)];
    const last = shown.length < items.length ? shown.at(-1) : undefined;
    if (last) return { items: shown, nextCursor: String(last.position), gap };
    return { items, nextCursor: read.isAtEnd ? null : String(read.reached), gap };
  }

  /** From after a position, or from now on; the query is checked at once. @throws Problem forbidden */
  follow(query: ListEvents, caller: Caller, after: number | null, signal: AbortSignal): AsyncIterable<ServerSentEvent> {
    return this.#messages(filterOf(query, caller), after, signal);
  }

  async *#messages(filter: EventFilter, after: number | null, signal: AbortSignal): AsyncGenerator<ServerSentEvent> {
    for await (const { events, gap } of this.feed.follow(filter, after, signal)) {
      if (gap) yield { id: String(gap.resumesAfter), event: 'gap', data: JSON.stringify(gap) };
      for (const event of events) yield { id: String(event.position), event: event.type, data: JSON.stringify(event) };
    }
  }
}

function filterOf({ job, deployment, type }: ListEvents, { role, scope }: Caller): EventFilter {
  const types = visibleTypes(type === undefined ? null : typesLike(type), role === 'admin');
  if (types?.length === 0) throw new Problem('forbidden', 'Events of this type are for admins.');
  return { job: job ?? null, deployment: deployment ?? null, types, scope };
}
