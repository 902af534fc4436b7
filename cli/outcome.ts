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
export function outcomeOf(deployment: Ended, goal: Goal): Exit {
  if (!isReached(deployment, goal)) return 'timed-out';
  if (deployment.status === 'failed') return isOthersFault(deployment) ? 'infrastructure' : 'failed';
  return deployment.status === 'cancelled' ? 'cancelled' : 'ok';
}

type Ended = Pick<Deployment, 'status' | 'activeAt' | 'reason' | 'failedPhase'>;

/** Reasons of failed deployments that say nothing about the deployment: the same may well work another time. */
export const OTHERS_FAULTS: readonly string[] = ['capacity-unavailable', 'attempts-exhausted', 'registry-busy'];

/** A deadline that passes while there is no instance yet is no fault of the image's. */
function isOthersFault({ reason, failedPhase }: Ended): boolean {
  if (reason === 'deadline-exceeded') return failedPhase === null || ['waiting', 'assigned'].includes(failedPhase);
  return reason !== null && OTHERS_FAULTS.includes(reason);
}
