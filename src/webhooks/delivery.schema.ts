import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { DELIVERY_STATUSES } from './webhook-delivery.entity.js';

// What goes over the wire for a delivery.

const time = z.iso.datetime();

export const DeliveryResponse = z
  .object({
    id: z.uuid().meta({ description: 'What the receiver gets as `webhook-id`, the same at every try.' }),
    position: z.int().nullable().meta({ description: 'Of the event; null: a ping.' }),
    type: z.string().meta({ examples: ['deployment.active'] }),
    job: z.string().nullable(),
    status: z.enum(DELIVERY_STATUSES).meta({
      description:
        '`pending` until it is `delivered` (a 2xx came), `failed` (tried for a day, or 410) or `cancelled` (the webhook was disabled).',
    }),
    attempts: z.int(),
    fault: z
      .string()
      .nullable()
      .meta({
        description:
          'Of the latest try: `name-not-resolved`, `address-refused`, `not-connected`, `tls-failed`, `timed-out`, `redirected` (never followed), `answered` (with another status than 2xx), `interrupted`, `secret-unreadable`.',
        examples: ['answered'],
      }),
    answerStatus: z.int().nullable().meta({ description: 'HTTP status of the latest answer.' }),
    latencyMs: z.int().nullable(),
    attemptedAt: time.nullable(),
    nextAttemptAt: time.nullable().meta({ description: 'Of a pending one that was tried: not before.' }),
    createdAt: time,
    settledAt: time.nullable(),
  })
  .meta({ id: 'WebhookDelivery' });
export type DeliveryResponse = z.infer<typeof DeliveryResponse>;

export const DeliveryPage = pageOf(DeliveryResponse).meta({ id: 'WebhookDeliveryPage' });

export const ListDeliveries = z.strictObject({
  ...pageQuery,
  status: z.enum(DELIVERY_STATUSES).optional(),
});
export type ListDeliveries = z.infer<typeof ListDeliveries>;

export const DELIVERY_EXAMPLE: DeliveryResponse = {
  id: '2b1de2b6-6f3a-4a53-8a64-6c1c1d0f2a9e',
  position: 1042,
  type: 'deployment.active',
  job: 'team-a-web',
  status: 'pending',
  attempts: 2,
  fault: 'answered',
  answerStatus: 503,
  latencyMs: 41,
  attemptedAt: '2026-05-04T09:30:31.000Z',
  nextAttemptAt: '2026-05-04T09:31:02.000Z',
  createdAt: '2026-05-04T09:30:00.000Z',
  settledAt: null,
};
