import type { ProblemCode } from '../http/problem.js';

// Parts of the documentation that routes below /v1/jobs/{name} share.

export const ETAG = { ETag: 'Version of the definition and the desired state, for If-Match.' };

export const IF_MATCH = {
  name: 'If-Match',
  required: false,
  description: 'ETag of the job: refused with 412 if the job was changed since.',
  schema: { type: 'string' },
} as const;

export const NAME = {
  name: 'name',
  description: 'Name of the job.',
  schema: { type: 'string' },
  example: 'web',
} as const;

/** Of routes that change a job, at the version of If-Match. */
export const CHANGE_PROBLEMS = [
  'malformed-request',
  'job-not-found',
  'job-deleting',
  'conflict',
  'precondition-failed',
] as const satisfies readonly ProblemCode[];
