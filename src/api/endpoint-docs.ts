import type { ProblemCode } from '../http/problem.js';

// Parts of the documentation that routes of several features share.

export const LOCATION = { Location: 'Where it can be read.' };

/** Of routes with a body. */
export const BODY_PROBLEMS = [
  'malformed-request',
  'payload-too-large',
  'unsupported-media-type',
  'invalid-request',
] as const satisfies readonly ProblemCode[];
