import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { EVENT_TYPES, typesLike } from './event-types.js';

const position = z.coerce.number().int().min(0);

export const ListEvents = z
  .strictObject({
    job: z.string().min(1).max(63).optional().meta({ description: 'Name of a job; also of one that is deleted.' }),
    type: z
      .string()
      .refine(
        (pattern) => typesLike(pattern).length > 0,
        'must be a type of event like deployment.active, a kind like deployment.*, or *',
      )
      .optional()
      .meta({
        description: 'A type, or all of a kind: `deployment.*`',
        examples: ['deployment.*'],
      }),
    deployment: z.coerce
      .number()
      .int()
      .min(1)
      .max(2_147_483_647)
      .optional()
      .meta({ description: 'Number of a deployment of the job.' }),
    order: z
      .enum(['oldest', 'newest'])
      .default('oldest')
      .meta({ description: 'Which events come first on a page. A stream always begins with the oldest.' }),
    after: position.optional().meta({
      description:
        'Only later positions. Pages: `nextCursor` of the page before, or the last position you have. A stream without it begins with what happens from now on.',
    }),
    before: position
      .optional()
      .meta({ description: 'Only earlier positions: `nextCursor`, where the newest come first.' }),
    limit: pageQuery.limit,
  })
  .refine(({ order, before }) => before === undefined || order === 'newest', {
    path: ['before'],
    error: 'is for order=newest',
  })
  .refine(({ order, after }) => after === undefined || order === 'oldest', {
    path: ['after'],
    error: 'is for order=oldest',
  });
export type ListEvents = z.infer<typeof ListEvents>;

/** Where a client has not read events that are deleted, or names a position that does not exist. */
export const EventGap = z
  .object({
    reason: z.enum(['too-old', 'beyond-the-end']),
    after: z.int().meta({ description: 'As requested.' }),
    resumesAfter: z.int().meta({ description: 'The answer continues after this position.' }),
  })
  .meta({
    id: 'EventGap',
    description:
      '`too-old`: events after `after` are deleted already. `beyond-the-end`: no event has this position yet, as after a restore of the database from a backup.',
  });
export type EventGap = z.infer<typeof EventGap>;

export const EventResponse = z
  .object({
    position: z.int().min(1).meta({ description: 'Of all events, in the order in which they were committed.' }),
    at: z.iso.datetime(),
    type: z
      .string()
      .meta({ description: `One of ${EVENT_TYPES.map((type) => `\`${type}\``).join(', ')}; others may come.` }),
    job: z.string().nullable(),
    deployment: z.int().nullable(),
    attempt: z.int().nullable(),
    instance: z.string().nullable(),
    actor: z.string().meta({ description: '`token:<id>`, `admin`, `anonymous`, `scheduler`, `fleet` or `agent`.' }),
    cause: z
      .looseObject({
        requestId: z.string().optional().meta({ description: 'X-Request-Id, the caller’s if it sent one.' }),
        ownRequestId: z.string().optional().meta({
          description: 'A unique id made by the API, where `requestId` is what the caller sent. Also in the log.',
        }),
        tokenName: z.string().optional().meta({ description: 'Name of the token that `actor` is.' }),
        isKeyed: z.boolean().optional().meta({ description: 'The request had an Idempotency-Key.' }),
        reason: z.string().nullish(),
      })
      .meta({ description: 'The request, or a kebab-case code of why.' }),
    data: z.record(z.string(), z.unknown()).meta({ description: 'More of it, by type.' }),
  })
  .meta({ id: 'Event', description: 'Something that happened to a job, an instance or what operators set.' });
export type EventResponse = z.infer<typeof EventResponse>;

export const EventPage = pageOf(EventResponse)
  .extend({ gap: EventGap.nullable().meta({ description: 'Some of the events after `after` are missing.' }) })
  .meta({ id: 'EventPage' });
export type EventPage = z.infer<typeof EventPage>;

export const EVENT_EXAMPLE: EventResponse = {
  position: 1042,
  at: '2026-05-04T09:31:07.000Z',
  type: 'deployment.active',
  job: 'web',
  deployment: 2,
  attempt: null,
  instance: null,
  actor: 'scheduler',
  cause: {},
  data: { from: 'deploying' },
};
