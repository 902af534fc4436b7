/** `service` is kept running; `task` runs to its end. */
export const JOB_KINDS = ['service', 'task'] as const;
export type JobKind = (typeof JOB_KINDS)[number];

export const DESIRED_STATES = ['running', 'stopped', 'deleted'] as const;
export type DesiredState = (typeof DESIRED_STATES)[number];

export const JOB_STATUSES = [
  'idle',
  'deploying',
  'running',
  'degraded',
  'stopped',
  'failed',
  'succeeded',
  'deleting',
] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];
