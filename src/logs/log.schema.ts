import { z } from 'zod';

/** Query of POST /agent/v1/orders/:number/logs. */
export const UploadQuery = z.object({
  since: z
    .string()
    .regex(/^\d{1,11}(\.\d{1,9})?$/, 'must be seconds since 1970')
    .default('0'),
});
export type UploadQuery = z.infer<typeof UploadQuery>;
