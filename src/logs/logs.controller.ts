import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { Controller, Get, Headers, Param, Query, Res, StreamableFile } from '@nestjs/common';
import { ApiHeader, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { OpenAnswers } from '../auth/open-answers.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import { EVENT_STREAM_HEADERS, eventStreamOf, type ServerSentEvent } from '../http/event-stream.js';
import type { Page } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { NAME } from '../jobs/job-docs.js';
import { JobNamePipe } from '../jobs/job-name.pipe.js';
import type { LogBatch } from './log-batch.js';
import { formatCursor, type LogCursor, type LogLineResponse, LogPage, parseCursor, ReadLogs } from './log.schema.js';
import { LogsService, type OpenLog } from './logs.service.js';

const LINE_EXAMPLE = {
  deployment: 1,
  attempt: 1,
  stream: 'stdout',
  at: '2026-05-04T09:30:05.123456789Z',
  text: 'listening on :80',
} as const;

@ApiTags('logs')
@Controller('/v1/jobs')
export class LogsController {
  constructor(
    private readonly logs: LogsService,
    private readonly streams: OpenAnswers,
  ) {}

  @Get(':name/logs')
  @ApiParam(NAME)
  @ApiHeader({
    name: 'Last-Event-ID',
    required: false,
    description: 'Of an event stream: continue after this event. Clients send it by themselves when they reconnect.',
    schema: { type: 'string' },
  })
  @Endpoint({
    operationId: 'Logs_read',
    access: 'viewer',
    scope: 'job',
    summary: 'Read or follow what a job prints',
    description: [
      'Lines in the order in which they arrived, from all attempts: also of instances that are gone. A line is shown within a',
      'second after it was printed; one longer than 64 KiB is cut. Where lines are gone, one in their place says',
      'why; it begins with `[scheduler: `.',
      '',
      'As plain text unless `Accept` asks for `text/event-stream` or `application/json`. Of an event stream, events named',
      '`line` have a LogLine as data and an id to go on from; `end` means that no more lines come. An answer that',
      'follows is broken off after a quarter of an hour: connect again, with `Last-Event-ID` or `since`.',
    ].join('\n'),
    answer: 'The lines',
    ok: LogPage,
    example: { items: [LINE_EXAMPLE], nextCursor: null },
    mediaTypes: {
      'text/plain': { schema: { type: 'string' }, example: 'listening on :80\n' },
      'text/event-stream': {
        schema: { type: 'string' },
        example: `id: 1.1\nevent: line\ndata: ${JSON.stringify(LINE_EXAMPLE)}\n\nevent: end\ndata: {"reason":"deployment-ended"}\n\n`,
      },
    },
    problems: ['invalid-parameter', 'malformed-request', 'job-not-found', 'deployment-not-found', 'attempt-not-found'],
  })
  async read(
    @Param('name', JobNamePipe) name: string,
    @Query({ schema: ReadLogs }) query: ReadLogs,
    @Headers() headers: IncomingHttpHeaders,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<StreamableFile | Page<LogLineResponse>> {
    const form = formOf(headers.accept);
    const cursor = cursorOf(form, query, headers['last-event-id']);
    const log = await this.logs.open(name, query, cursor);
    const signal = this.streams.signalFor(reply, caller);
    void reply.header('cache-control', 'no-store');
    if (form === 'json') return await this.logs.readPage(log, query.limit, signal);
    const batches = await begun(this.logs.read(log, signal), log.isFollowed);
    if (form === 'events') {
      void reply.headers(EVENT_STREAM_HEADERS);
      return new StreamableFile(eventStreamOf(eventsOf(log, batches), { signal }));
    }
    void reply.headers({ 'content-type': 'text/plain; charset=utf-8', 'x-accel-buffering': 'no' });
    // Else headers are sent with the first line, and the client of a silent job would not learn that it has access.
    reply.raw.once('pipe', () => reply.raw.flushHeaders());
    return new StreamableFile(Readable.from(textOf(log, batches, query.timestamps, signal), { highWaterMark: 1 }));
  }
}

type Form = 'text' | 'events' | 'json';

function formOf(accept = ''): Form {
  for (const range of accept.split(',')) {
    const type = range.split(';')[0]?.trim().toLowerCase();
    if (type === 'text/event-stream') return 'events';
    if (type === 'application/json') return 'json';
    if (type === 'text/plain') return 'text';
  }
  return 'text';
}

/** @throws Problem invalid-parameter, malformed-request */
function cursorOf(form: Form, query: ReadLogs, lastEventId: string | string[] | undefined): LogCursor | undefined {
  if (form === 'json' && query.follow) throw invalidParameter('follow', 'is for plain text and event streams');
  if (form !== 'json' && query.cursor !== undefined) throw invalidParameter('cursor', 'is for JSON');
  if (query.cursor !== undefined) {
    return parseCursor(query.cursor) ?? refuse(invalidParameter('cursor', 'must be nextCursor of a page of this list'));
  }
  if (form !== 'events' || lastEventId === undefined) return undefined;
  const detail = 'must be the id of an event of this stream';
  const errors = [{ header: 'Last-Event-ID', detail }];
  return (
    parseCursor(String(lastEventId)) ?? refuse(new Problem('malformed-request', `Last-Event-ID ${detail}.`, { errors }))
  );
}

function invalidParameter(parameter: string, detail: string): Problem {
  return new Problem('invalid-parameter', `${parameter} ${detail}.`, { errors: [{ parameter, detail }] });
}

function refuse(problem: Problem): never {
  throw problem;
}

/** Reads the first batch before the answer begins, so that an error of it is still answered as a problem. */
async function begun<T>(items: AsyncGenerator<T>, isFollowed: boolean): Promise<AsyncGenerator<T>> {
  if (isFollowed) return items;
  const first = await items.next();
  return (async function* () {
    if (first.done === true) return;
    yield first.value;
    yield* items;
  })();
}

async function* textOf(
  log: OpenLog,
  batches: AsyncIterable<LogBatch>,
  hasTimestamps: boolean,
  signal: AbortSignal,
): AsyncGenerator<string> {
  for await (const { lines } of batches) {
    yield lines.map(({ at, text }) => (hasTimestamps ? `${at} ${text}\n` : `${text}\n`)).join('');
  }
  // The connection breaks, so that the client does not take this for the end of the log.
  if (log.isFollowed) signal.throwIfAborted();
}

/** For a stream that sends nothing more once it was broken off: its client is to reconnect then. */
async function* eventsOf(
  { filter: { fromDeployment }, isFollowed, followed }: OpenLog,
  batches: AsyncIterable<LogBatch>,
): AsyncGenerator<ServerSentEvent> {
  for await (const { lines } of batches) {
    for (const { line, ...data } of lines) {
      yield { id: formatCursor({ fromDeployment, line }), event: 'line', data: JSON.stringify(data) };
    }
  }
  const ended = followed === null ? 'job-deleted' : followed.attempt === null ? 'deployment-ended' : 'attempt-ended';
  yield { event: 'end', data: JSON.stringify({ reason: isFollowed ? ended : 'no-more-lines' }) };
}
