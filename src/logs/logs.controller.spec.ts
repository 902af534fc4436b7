import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { beforeEach, describe, expect, it } from '@jest/globals';
import type { StreamableFile } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { OpenAnswers } from '../auth/open-answers.js';
import type { Caller } from '../http/caller.js';
import type { LogBatch, NumberedLine } from './log-batch.js';
import { type LogCursor, ReadLogs } from './log.schema.js';
import { LogsController } from './logs.controller.js';
import type { LogsService, OpenLog } from './logs.service.js';

const AT = '2026-05-04T09:30:05.123456789Z';
const LINES = [1, 2, 3].map((line): NumberedLine => ({
  line,
  deployment: 2,
  attempt: 1,
  stream: 'stdout',
  at: AT,
  text: `line ${line}`,
}));
const BATCHES: readonly LogBatch[] = [
  { lines: LINES.slice(0, 2), through: 2 },
  { lines: LINES.slice(2), through: 3 },
];

let log: OpenLog;
let batches: readonly LogBatch[];
let failure: Error | undefined;
let cursor: LogCursor | undefined;
let connection: AbortController;
let headers: Record<string, string>;
let flushed: boolean;
let controller: LogsController;
beforeEach(() => {
  const filter = { fromDeployment: 2, toDeployment: null, attempt: null, stream: null, since: null };
  log = { jobId: 'j', filter, isFollowed: false, followed: null, lastLine: 3, after: 0, skip: 0 };
  [batches, failure, cursor, connection] = [BATCHES, undefined, undefined, new AbortController()];
  [headers, flushed] = [{}, false];
  const logs = {
    open: (_name: string, { follow }: ReadLogs, from: LogCursor | undefined) => {
      cursor = from;
      return Promise.resolve({ ...log, isFollowed: follow });
    },
    read: async function* () {
      await Promise.resolve();
      if (failure) throw failure;
      yield* batches;
    },
    readPage: (_log: OpenLog, limit: number) => Promise.resolve({ items: LINES.slice(0, limit), nextCursor: null }),
  };
  controller = new LogsController(
    logs as unknown as LogsService,
    { signalFor: () => connection.signal } as unknown as OpenAnswers,
  );
});

describe('reading a log', () => {
  it.each([
    [undefined, 'text'],
    ['', 'text'],
    ['*/*', 'text'],
    ['text/html', 'text'],
    ['text/plain', 'text'],
    ['text/plain, application/json', 'text'],
    ['application/json', 'json'],
    ['image/png, Application/JSON;q=0.9, text/plain', 'json'],
    ['text/event-stream', 'events'],
    [' text/event-stream ; q=1 , application/json', 'events'],
  ])('is answered in the first form that `Accept: %s` names: %s', async (accept, form) => {
    const answer = await read({}, { accept });
    expect(headers['cache-control']).toContain('no-store');
    if (form === 'json') expect(answer).toEqual({ items: LINES, nextCursor: null });
    else expect(headers['content-type']).toMatch(form === 'text' ? /^text\/plain/ : /^text\/event-stream/);
  });

  it.each([
    ['JSON', 'invalid-parameter', 'application/json', { follow: 'true' }, undefined],
    ['a page that is none', 'invalid-parameter', 'application/json', { cursor: '7' }, undefined],
    ['text', 'invalid-parameter', 'text/plain', { cursor: '2.7' }, undefined],
    ['events', 'invalid-parameter', 'text/event-stream', { cursor: '2.7' }, undefined],
    ['an event that is none', 'malformed-request', 'text/event-stream', {}, '7'],
  ])('is refused where it asks for what is none of %s', async (_what, code, accept, query, id) => {
    await expect(read(query, { accept, 'last-event-id': id })).rejects.toMatchObject({ code });
  });

  it.each<[string, string, object, string | undefined, LogCursor | undefined]>([
    ['where the query says', 'application/json', {}, undefined, undefined],
    ['behind the page before', 'application/json', { cursor: '2.7' }, undefined, { fromDeployment: 2, line: 7 }],
    ['behind the event before', 'text/event-stream', {}, '2.7', { fromDeployment: 2, line: 7 }],
    ['where the query says, though it has seen no event', 'text/event-stream', {}, undefined, undefined],
    ['where the query says, as text has no events', 'text/plain', {}, '2.7', undefined],
    ['where the query says, as pages have none', 'application/json', {}, '2.7', undefined],
  ])('begins %s', async (_where, accept, query, id, expected) => {
    await read(query, { accept, 'last-event-id': id });
    expect(cursor).toEqual(expected);
  });

  it('as text has a line for each, with its time if that is wanted', async () => {
    expect(await whole({}, 'text/plain')).toBe('line 1\nline 2\nline 3\n');
    expect(await whole({ timestamps: 'true' }, 'text/plain')).toBe(LINES.map(({ text }) => `${AT} ${text}\n`).join(''));
    batches = [];
    expect(await whole({}, 'text/plain')).toBe('');
  });

  it.each<[string, object, OpenLog['followed'], string]>([
    ['that is not followed', {}, { deployment: 2, attempt: null }, 'no-more-lines'],
    ['of a job', { follow: 'true' }, null, 'job-deleted'],
    ['of a deployment', { follow: 'true' }, { deployment: 2, attempt: null }, 'deployment-ended'],
    ['of an attempt', { follow: 'true' }, { deployment: 2, attempt: 1 }, 'attempt-ended'],
  ])('as events has an id with each line, and says why the one %s ends: %j', async (_what, query, followed, reason) => {
    log = { ...log, followed };
    const events = (await whole(query, 'text/event-stream')).split('\n\n').filter((event) => event.includes('event: '));
    expect(events).toHaveLength(4);
    const { line, ...data } = LINES[2]!;
    expect(events[2]!.split('\n').toSorted()).toEqual([
      `data: ${JSON.stringify(data)}`,
      'event: line',
      `id: 2.${line}`,
    ]);
    expect(events[3]!.split('\n').toSorted()).toEqual([`data: ${JSON.stringify({ reason })}`, 'event: end']);
  });

  it('that is followed breaks off where the connection is to end, and is no end of the log', async () => {
    connection.abort(new Error('a quarter of an hour is over'));
    await expect(whole({ follow: 'true' }, 'text/plain')).rejects.toThrow('a quarter of an hour is over');
    expect(await whole({ follow: 'true' }, 'text/event-stream')).not.toContain('event: ');
    connection = new AbortController();
    const answer = (await read({ follow: 'true' }, { accept: 'text/event-stream' })) as StreamableFile;
    let sent = '';
    for await (const some of answer.getStream()) {
      sent += String(some);
      if (sent.includes('id: 2.2')) connection.abort();
    }
    expect(sent).not.toContain('event: end');
    connection.abort(new Error('a quarter of an hour is over'));
    // What is not followed was read to its end.
    expect(await whole({}, 'text/plain')).toBe('line 1\nline 2\nline 3\n');
  });

  it('fails as a whole where its first lines cannot be read, and is answered at once where it is followed', async () => {
    failure = new Error('the store is away');
    await expect(read({}, { accept: 'text/plain' })).rejects.toThrow('the store is away');
    const answer = (await read({ follow: 'true' }, { accept: 'text/plain' })) as StreamableFile;
    expect(flushed).toBe(true);
    await expect(textOf(answer.getStream())).rejects.toThrow('the store is away');
  });

  async function read(query: object, sent: IncomingHttpHeaders | Record<string, string | undefined>) {
    const raw = Object.assign(new EventEmitter(), { flushHeaders: () => void (flushed = true) });
    const reply = {
      raw,
      header: (name: string, value: string) => void (headers[name] = value),
      headers: (some: Record<string, string>) => void Object.assign(headers, some),
    };
    const parsed = ReadLogs.parse(query);
    const answer = await controller.read('web', parsed, sent, {} as Caller, reply as unknown as FastifyReply);
    raw.emit('pipe');
    return answer;
  }

  async function whole(query: object, accept: string): Promise<string> {
    return await textOf(((await read(query, { accept })) as StreamableFile).getStream());
  }
});
