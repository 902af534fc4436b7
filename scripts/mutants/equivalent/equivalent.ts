import type { Mutant } from '../draw.ts';
import { AGENT } from './agent.ts';
import { AUTH } from './auth.ts';
import { EVENTS } from './events.ts';
import { FLEET } from './fleet.ts';
import { HTTP } from './http.ts';
import { LOGS } from './logs.ts';
import { SCHEDULER } from './scheduler.ts';
import { WEBHOOKS } from './webhooks.ts';

export type Equivalent = Pick<Mutant, 'file' | 'on' | 'original' | 'mutated'> & { readonly why: string };

/** Changes that no test can notice, as nothing that is promised depends on them, and why. A list for each folder of src. */
export const EQUIVALENT: readonly Equivalent[] = [
  ...AGENT,
  ...AUTH,
  ...EVENTS,
  ...FLEET,
  ...HTTP,
  ...LOGS,
  ...SCHEDULER,
  ...WEBHOOKS,
];
