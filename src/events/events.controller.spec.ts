import { StreamableFile } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import type { FastifyReply } from 'fastify';
import type { OpenAnswers } from '../auth/open-answers.js';
import { ADMIN } from '../http/caller.js';
import { ListEvents } from './event.schema.js';
import { EventsController } from './events.controller.js';
import type { EventsService } from './events.service.js';

const PAGE = { items: [], nextCursor: null, gap: null };

/** What a client gets, and from where on it follows. */
async function get(accept: string | undefined, lastEventId?: string, query: object = {}) {
  const followed: (number | null)[] = [];
  const headers = {};
  const events = {
    list: () => Promise.resolve(PAGE),
    follow: (_query: unknown, _caller: unknown, after: number | null) => {
      followed.push(after);
      return (async function* () {})();
    },
  };
  const streams = { signalFor: () => new AbortController().signal };
  const reply = { headers: (added: object) => Object.assign(headers, added) } as unknown as FastifyReply;
  const controller = new EventsController(events as unknown as EventsService, streams as unknown as OpenAnswers);
  const answer = await controller.list(ListEvents.parse(query), accept, lastEventId, ADMIN, reply);
  if (answer instanceof StreamableFile) answer.getStream().destroy();
  return { isStream: answer instanceof StreamableFile, followed, headers };
}

describe('events', () => {
  it.each([
    ['text/event-stream', true],
    ['Text/Event-Stream;q=0.9', true],
    ['application/json, text/event-stream', true],
    ['application/json', false],
    ['text/event-streams', false],
    ['*/*', false],
    ['', false],
    [undefined, false],
  ])('for %s are a stream: %s', async (accept, isStream) => {
    const answer = await get(accept);
    expect(answer.isStream).toBe(isStream);
    expect(Object.keys(answer.headers)).toEqual(isStream ? expect.arrayContaining(['content-type']) : []);
  });

  it.each<[string | undefined, object, number | null]>([
    [undefined, {}, null],
    [undefined, { after: '7' }, 7],
    ['9', { after: '7' }, 9],
    ['0', {}, 0],
    ['123456789012345', {}, 123_456_789_012_345],
  ])('are followed after the last that the client has: %s, %j: %s', async (lastEventId, query, after) => {
    expect((await get('text/event-stream', lastEventId, query)).followed).toEqual([after]);
  });

  it.each(['', 'x', '-1', '1.5', '1234567890123456', '1\n'])('are not followed after %j', async (lastEventId) => {
    await expect(get('text/event-stream', lastEventId)).rejects.toMatchObject({
      code: 'malformed-request',
      errors: [{ header: 'Last-Event-ID', detail: 'must be the id of an event of this stream' }],
    });
  });
});
