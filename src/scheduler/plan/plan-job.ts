import { isEnded } from '../../deployments/deployment-status.js';
import type { JobStatus } from '../../jobs/job-status.js';
import { goodAttempt, planActive } from './plan-active.js';
import { after } from './plan-order.js';
import { planCandidate } from './plan-candidate.js';
import { Draft } from './plan-draft.js';
import type { DeploymentFacts, JobFacts, JobPlan } from './plan-facts.js';
import { planLeaving, planStopping, planUnrouting, release } from './plan-leaving.js';
import { planRoute } from './plan-route.js';
import type { Reason } from './plan-reasons.js';

/** How often a job that is being deleted checks whether its last instance is gone. */
const GONE_CHECK_SECONDS = 2;

/**
 * Plans one job: new values of its rows and new orders, from facts loaded under its row's lock and the database's time.
 * Level-based: it depends on the present state, never on what happened. Pure and total.
 * @param listeningSince agents may have been unable to reach the API before
 */
export function planJob(job: JobFacts, now: Date, listeningSince: Date): JobPlan {
  const draft = new Draft(job, now, listeningSince);
  applyRequests(draft);

  for (const deployment of draft.all()) {
    for (const attempt of draft.liveAttempts(deployment)) {
      if (attempt.phase === 'unrouting') planUnrouting(draft, deployment, attempt);
      if (attempt.phase === 'stopping') planStopping(draft, deployment, attempt);
    }
  }
  const candidate = draft.withStatus('queued', 'deploying').at(-1);
  if (candidate) planCandidate(draft, candidate);
  for (const active of draft.withStatus('active')) planActive(draft, active);
  for (const deployment of draft.all()) {
    if (isLeaving(deployment)) planLeaving(draft, deployment);
  }

  const isGone = isAllGone(draft);
  if (job.desiredState === 'deleted' && !isGone) draft.wakeAt(after(now, GONE_CHECK_SECONDS));
  const hosts = planRoute(draft);
  return draft.finish(statusOf(draft), isGone, hosts);
}

/** Requests are applied first: an accepted cancel is kept, whatever happens at the same moment. */
function applyRequests(draft: Draft): void {
  const { desiredState } = draft.job;
  const candidates = draft.withStatus('queued', 'deploying');
  const newest = candidates.at(-1);
  for (const candidate of candidates) {
    const reason = unwantedBecause(draft, candidate, newest);
    if (!reason) continue;
    draft.change(candidate, { status: 'cancelled', reason, message: null });
  }
  if (desiredState === 'running') return;

  const reason = desiredState === 'stopped' ? 'stop-requested' : 'delete-requested';
  for (const deployment of draft.withStatus('active')) {
    draft.change(deployment, { status: 'draining', reason, message: null, deadlineAt: draft.now });
  }
  // A predecessor still draining gets no callers any more.
  for (const deployment of draft.withStatus('draining')) {
    for (const attempt of draft.liveAttempts(deployment)) release(draft, deployment, attempt, reason);
  }
  draft.activeDeploymentId = null;
}

function unwantedBecause(draft: Draft, candidate: DeploymentFacts, newest: DeploymentFacts | undefined): Reason | null {
  if (candidate.cancelRequestedAt) return 'cancel-requested';
  if (draft.job.desiredState === 'deleted') return 'delete-requested';
  if (draft.job.desiredState === 'stopped') return 'stop-requested';
  if (candidate.id !== newest?.id) return 'superseded-by-newer';
  return null;
}

function isLeaving({ status }: DeploymentFacts): boolean {
  return status !== 'queued' && status !== 'deploying' && status !== 'active';
}

function isAllGone(draft: Draft): boolean {
  const { desiredState, lingeringInstances } = draft.job;
  if (desiredState !== 'deleted' || lingeringInstances > 0) return false;
  return draft.all().every((deployment) => deployment.endedAt !== null && draft.liveAttempts(deployment).length === 0);
}

function statusOf(draft: Draft): JobStatus {
  const { desiredState, latestStatus } = draft.job;
  if (desiredState === 'deleted') return 'deleting';
  if (desiredState === 'stopped') return draft.withStatus('draining').length > 0 ? 'running' : 'stopped';

  const active = draft.withStatus('active').at(-1);
  const isServed = active !== undefined && goodAttempt(draft, active) !== null;
  if (active && !isServed) return 'degraded';
  if (draft.withStatus('queued', 'deploying').length > 0) return 'deploying';
  if (active) return 'running';
  // One that has ended is no longer among them, where an older one may still stop.
  const latest = latestStatus && isEnded(latestStatus) ? latestStatus : draft.all().at(-1)?.status;
  return latest === 'failed' ? 'failed' : 'idle';
}
