import { columnsOf } from '../database/statement.js';
import { Attempt } from './attempt.entity.js';
import { Deployment } from './deployment.entity.js';

// Columns that more than one statement reads or writes.

/** What a deployment is made of. */
export const MADE_OF = columnsOf(Deployment, 'id', 'number', 'image', 'imageDigest', 'definition', 'secretsVersion');

/** How it ends, and why it has its status. */
export const OUTCOME = {
  ...columnsOf(Deployment, 'status', 'reason', 'message', 'failedPhase', 'retryable', 'exitCode', 'lastLogLines'),
  ...columnsOf(Deployment, 'deadlineAt', 'startedAt', 'activeAt', 'endedAt'),
} as const;

/** When an attempt reached each phase between the first and the last. */
export const PHASE_TIMES = columnsOf(
  Attempt,
  'assignedAt',
  'pullingAt',
  'startingAt',
  'healthyAt',
  'unroutingAt',
  'stoppingAt',
);
