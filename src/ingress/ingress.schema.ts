import { z } from 'zod';

/** A host name as nginx passes it on: in lower case, without a port and without a dot at the end. */
export const HostName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/, 'must be a host name');

/** `not`: a target that did not answer; empty = none. */
export const HoldQuery = z.object({ not: z.string().max(64).default('') });
export type HoldQuery = z.infer<typeof HoldQuery>;
