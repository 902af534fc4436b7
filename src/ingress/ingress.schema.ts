import { z } from 'zod';
import { isAddress } from '../jobs/networks.js';

/**
 * A host as nginx passes it on: in lower case, without a port and without a dot at the end. What is no name of a host no job
 * has: nginx takes a refusal for a failure.
 */
export const HostName = z.string().max(253);

/** Of who calls a job, as nginx writes it: of the connection, or what the proxy says that it trusts. */
export const CallerAddress = z.string().max(45).refine(isAddress, 'must be an IPv4 or IPv6 address');

/**
 * `not`: a target that did not answer; empty = none. `from`: address of the caller. An nginx of the previous version sends
 * none: it may call no job that has a list.
 */
export const HoldQuery = z.object({
  not: z.string().max(64).default(''),
  from: z.union([z.literal(''), CallerAddress]).default(''),
});
export type HoldQuery = z.infer<typeof HoldQuery>;
