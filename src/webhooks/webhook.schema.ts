import { z } from 'zod';
import { typesLike } from '../events/event-types.js';
import { pageOf, pageQuery } from '../http/pagination.js';
import { plainText, unspacedText } from '../http/plain-text.js';
import { DISABLED_REASONS } from './webhook.entity.js';

// What goes over the wire for a webhook.

// The parser of URLs would drop spaces and control characters, or keep them out of sight.
const url = unspacedText(z.string().min(1).max(2048)).meta({
  description:
    'Where to send events: `https://`, at a public address. Others, and `http://`, only where the setting WEBHOOKS_ALLOWED_NETWORKS opens them.',
  examples: ['https://example.com/hooks/scheduler'],
});

const description = plainText(z.string().max(500)).meta({
  description: 'What it is for, for people.',
  examples: ['chat of team a'],
});

const events = z
  .array(
    z
      .string()
      .max(100)
      // One that nothing matches is a slip of the pen, and would be found out when an event is missed.
      .refine(
        (pattern) => typesLike(pattern).length > 0,
        'must be a type of event like deployment.active, a kind like deployment.*, or *',
      ),
  )
  .min(1)
  .max(50)
  .meta({
    description: 'Types of events: one by name, all of a kind, or all.',
    examples: [['deployment.active', 'deployment.failed', 'job.*']],
  });

const jobs = z
  .array(z.string().regex(/^[a-z0-9][-a-z0-9]{0,62}$/, 'must be the beginning of a job’s name: a-z, 0-9 and hyphens'))
  .min(1)
  .max(50)
  .nullable()
  .meta({
    description:
      'Prefixes of the job names whose events are sent. Null: all events, those of no job as well. A token with a scope names some of its own; without `jobs` the webhook has the scope of the token.',
    examples: [['team-a-']],
  });

const enabled = z.boolean().meta({ description: 'False: events are not sent, and not kept for later.' });

export const CreateWebhook = z
  .strictObject({
    url,
    description: description.default(''),
    events: events.default(['*']),
    jobs: jobs.optional(),
    enabled: enabled.default(true),
  })
  .meta({
    id: 'CreateWebhook',
    examples: [{ url: 'https://example.com/hooks/scheduler', events: ['deployment.*'], jobs: ['team-a-'] }],
  });
export type CreateWebhook = z.infer<typeof CreateWebhook>;

export const PatchWebhook = z
  .strictObject({ url, description, events, jobs, enabled })
  .partial()
  .meta({
    id: 'PatchWebhook',
    description: 'The fields to change. `enabled: true` also forgets that it was failing.',
    examples: [{ enabled: true }],
  });
export type PatchWebhook = z.infer<typeof PatchWebhook>;

const MOST_GRACE_SECONDS = 7 * 24 * 3600;

export const RotateSecret = z
  .strictObject({
    graceSeconds: z
      .int()
      .min(0)
      .max(MOST_GRACE_SECONDS)
      .default(24 * 3600)
      .meta({ description: 'How long the previous secret signs in addition to the new one.' }),
  })
  .prefault({})
  .meta({ id: 'RotateSecret', examples: [{ graceSeconds: 3600 }] });
export type RotateSecret = z.infer<typeof RotateSecret>;

const time = z.iso.datetime();

const webhookFields = {
  id: z.uuid(),
  url,
  description,
  events,
  jobs,
  enabled,
  disabledReason: z.enum(DISABLED_REASONS).nullable().meta({
    description:
      'Why the program disabled it: `failing`, as nothing was delivered for three days; `gone`, as the receiver answered 410.',
  }),
  failingSince: time.nullable().meta({ description: 'First try that failed since one succeeded.' }),
  previousSecretUntil: time.nullable().meta({ description: 'Until when the previous secret signs as well.' }),
  createdAt: time,
  updatedAt: time,
};

export const WebhookResponse = z.object(webhookFields).meta({ id: 'Webhook' });
export type WebhookResponse = z.infer<typeof WebhookResponse>;

export const NewSecretResponse = z
  .object({
    secret: z.string().meta({ description: 'Verifies signatures. Shown here and never again.' }),
    ...webhookFields,
  })
  .meta({ id: 'WebhookWithSecret' });
export type NewSecretResponse = z.infer<typeof NewSecretResponse>;

export const WebhookPage = pageOf(WebhookResponse).meta({ id: 'WebhookPage' });

export const ListWebhooks = z.strictObject(pageQuery);
export type ListWebhooks = z.infer<typeof ListWebhooks>;

export const WEBHOOK_EXAMPLE: WebhookResponse = {
  id: '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11',
  url: 'https://example.com/hooks/scheduler',
  description: 'chat of team a',
  events: ['deployment.*'],
  jobs: ['team-a-'],
  enabled: true,
  disabledReason: null,
  failingSince: null,
  previousSecretUntil: null,
  createdAt: '2026-05-04T09:30:00.000Z',
  updatedAt: '2026-05-04T09:30:00.000Z',
};
