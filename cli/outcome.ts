import type { Deployment } from '../client/index.js';
import type { Exit } from './exit-codes.js';

export const GOALS = ['settled', 'active', 'ended'] as const;
/** How far to wait for a deployment, as the API's `until`. */
export type Goal = (typeof GOALS)[number];

type Status = Deployment['status'];
const ENDED: readonly Status[] = ['superseded', 'stopped', 'succeeded', 'failed', 'cancelled'];

export function isReached({ status, activeAt }: Pick<Deployment, 'status' | 'activeAt'>, goal: Goal): boolean {
  if (ENDED.includes(status)) return true;
  if (goal === 'ended') return false;
  if (goal === 'active') return activeAt !== null;
  return status !== 'queued' && status !== 'deploying';
}

/** What became of a deployment that was waited for. */
export function outcomeOf(deployment: Pick<Deployment, 'status' | 'activeAt' | 'retryable'>, goal: Goal): Exit {
  if (!isReached(deployment, goal)) return 'timed-out';
  if (deployment.status === 'failed') return deployment.retryable === true ? 'infrastructure' : 'failed';
  return deployment.status === 'cancelled' ? 'cancelled' : 'ok';
}
