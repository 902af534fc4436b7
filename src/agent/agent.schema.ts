import { z } from 'zod';

// What agents send. Unknown fields are ignored: an agent may be older or newer than the API.

const MAX_ORDER_NUMBER = 2_147_483_647;
const TOKEN = /^[0-9a-f]{64}$/;

/**
 * Form of POST /agent/v1/register. `publicIp`, which agents send as well, is ignored: programs call the addresses in a
 * job's `endpoints`, and only EC2's word on them is reliable.
 */
export const RegistrationForm = z.object({
  document: z.string().min(1).max(8_192),
  signature: z
    .string()
    .min(1)
    .max(2_048)
    .regex(/^[A-Za-z0-9+/=\s]*$/, 'must be base64'),
  secret: z.string().trim().regex(TOKEN, 'must be 64 lower-case hex characters'),
  token: z.string().trim().regex(TOKEN, 'must be 64 lower-case hex characters'),
  /** Number of the last order the agent has: 0 on a new instance, and from agents of the first version. */
  after: z
    .string()
    .regex(/^\d{1,9}$/, 'must be an order number')
    .default('0')
    .transform(Number),
  agent: z.string().regex(/^[\w.+-]{1,32}$/, 'must be a version'),
});
export type RegistrationForm = z.infer<typeof RegistrationForm>;

const orderNumber = (min: number) =>
  z
    .string()
    .regex(/^\d{1,10}$/, 'must be an order number')
    .transform(Number)
    .refine((number) => number >= min && number <= MAX_ORDER_NUMBER, 'must be an order number');

/** Query of GET /agent/v1/orders. */
export const OrdersQuery = z.object({ after: orderNumber(0) });
export type OrdersQuery = z.infer<typeof OrdersQuery>;

export const OrderNumber = orderNumber(1);

/** Query of POST /agent/v1/orders/:number/stream. */
export const StreamQuery = z.object({
  since: z
    .string()
    .regex(/^\d{1,10}(\.\d{1,9})?$/, 'must be seconds since 1970')
    .default('0'),
});
export type StreamQuery = z.infer<typeof StreamQuery>;

/** Headers of POST /agent/v1/orders/:number/result. */
export const ResultHeaders = z.object({
  'result-status': z
    .string()
    .regex(/^(0|[1-5]\d\d)$/, 'must be an HTTP status or 0')
    .transform(Number),
  'result-error': z
    .string()
    .max(200)
    .regex(/^[\x20-\x7e]*$/, 'must be ASCII')
    .optional(),
  'probe-state': z.enum(['healthy', 'unhealthy']).optional(),
});

/** Whether the text has the form of a token; anything else needs no query. */
export function isAgentToken(text: string): boolean {
  return TOKEN.test(text);
}
