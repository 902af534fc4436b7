// Parts of the documentation that routes below /v1/webhooks share.

export const ETAG = { ETag: 'Version of the webhook, for If-Match.' };

export const IF_MATCH = {
  name: 'If-Match',
  required: false,
  description: 'ETag of the webhook: refused with 412 if it was changed since.',
  schema: { type: 'string' },
} as const;

export const ID = {
  name: 'id',
  description: 'Id of the webhook.',
  schema: { type: 'string' },
  example: '6f1c2c5e-3d0b-4f6e-9a53-0f6f8f3a7c11',
} as const;

export const DELIVERY_ID = {
  name: 'deliveryId',
  description: 'Id of the delivery.',
  schema: { type: 'string' },
  example: '2b1de2b6-6f3a-4a53-8a64-6c1c1d0f2a9e',
} as const;
