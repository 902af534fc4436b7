import { Controller, Get, Headers, Query, Res, StreamableFile } from '@nestjs/common';
import { ApiHeader, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { OpenAnswers } from '../auth/open-answers.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import { EVENT_STREAM_HEADERS, eventStreamOf } from '../http/event-stream.js';
import { Problem } from '../http/problem.js';
import { EVENT_EXAMPLE, EventPage, ListEvents } from './event.schema.js';
import { EventsService } from './events.service.js';

const EVENT_STREAM = 'text/event-stream';

@ApiTags('events')
@Controller('/v1/events')
export class EventsController {
  constructor(
    private readonly events: EventsService,
    private readonly streams: OpenAnswers,
  ) {}

  @Get()
  @ApiHeader({
    name: 'Last-Event-ID',
    required: false,
    description: 'Of a stream: continue after this position. Clients send it by themselves when they reconnect.',
    schema: { type: 'string', pattern: '^[0-9]{1,15}$' },
  })
  @Endpoint({
    operationId: 'Events_list',
    access: 'viewer',
    scope: 'filtered',
    summary: 'List or follow events',
    description: [
      'Everything that happened, in the order in which it was committed: what was requested, and its outcome.',
      'A page may hold less than `limit`, also nothing, though there are more: `nextCursor` shows it.',
      '',
      'With `Accept: text/event-stream` the answer is a stream of server-sent events: `id` is the position, `event` the',
      'type, `data` an Event. It begins after `Last-Event-ID` or `after`, else with what happens from now on, and ends',
      'after a quarter of an hour at the latest: connect again. An event named `gap` (`data`: EventGap) means that',
      'events in between are missing.',
      '',
      'A token with a scope sees the events of its jobs only; those of tokens, registries and webhooks are for admins.',
    ].join('\n'),
    answer: 'A page of events',
    ok: EventPage,
    example: { items: [EVENT_EXAMPLE], nextCursor: null, gap: null },
    problems: ['invalid-parameter', 'malformed-request'],
  })
  async list(
    @Query({ schema: ListEvents }) query: ListEvents,
    @Headers('accept') accept: string | undefined,
    @Headers('last-event-id') lastEventId: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<EventPage | StreamableFile> {
    if (!isStreamWanted(accept)) return await this.events.list(query, caller);
    const after = lastEventId === undefined ? (query.after ?? null) : positionOf(lastEventId);
    const signal = this.streams.signalFor(reply, caller);
    const messages = this.events.follow(query, caller, after, signal);
    void reply.headers(EVENT_STREAM_HEADERS);
    return new StreamableFile(eventStreamOf(messages, { signal }));
  }
}

function isStreamWanted(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((range) => range.split(';')[0]?.trim().toLowerCase() === EVENT_STREAM);
}

/** @throws Problem malformed-request */
function positionOf(lastEventId: string): number {
  if (/^\d{1,15}$/.test(lastEventId)) return Number(lastEventId);
  const detail = 'must be the id of an event of this stream';
  throw new Problem('malformed-request', `Last-Event-ID ${detail}.`, {
    errors: [{ header: 'Last-Event-ID', detail }],
  });
}
