import { Counter, Histogram, type Registry } from 'prom-client';
import { isEnded } from '../deployments/deployment-status.js';
import { jobPlans } from '../scheduler/job-pass.js';
import { movedBy } from '../scheduler/plan/plan-changes.js';
import { causeOf, isReason, REASONS } from '../scheduler/plan/plan-reasons.js';

const BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800];

/** @returns a function that unsubscribes */
export function registerDeploymentMetrics(registry: Registry): () => void {
  const registers = [registry];
  const ended = new Counter({
    name: 'scheduler_deployments_ended_total',
    help: 'Deployments that ended, by status, reason and the reason’s cause.',
    labelNames: ['status', 'reason', 'cause'],
    registers,
  });
  const attemptsEnded = new Counter({
    name: 'scheduler_attempts_ended_total',
    help: 'Attempts that ended, by reason and its cause.',
    labelNames: ['reason', 'cause'],
    registers,
  });
  const phases = new Histogram({
    name: 'scheduler_attempt_phase_duration_seconds',
    help: 'How long attempts were in each phase they left, except healthy, which is meant to last.',
    labelNames: ['phase'],
    buckets: BUCKETS,
    registers,
  });
  const timeToActive = new Histogram({
    name: 'scheduler_deployment_time_to_active_seconds',
    help: 'Time from the request for a deployment until it was first active.',
    buckets: BUCKETS,
    registers,
  });
  // Prometheus cannot tell a series that begins at 1 from one that always was: failures begin at 0.
  for (const [reason, { cause }] of Object.entries(REASONS)) {
    if (cause === 'progress') continue;
    attemptsEnded.inc({ reason, cause }, 0);
    if (cause !== 'request') ended.inc({ status: 'failed', reason, cause }, 0);
  }
  return jobPlans.subscribe(({ planned, now }) => {
    for (const { job, plan } of planned) {
      const moved = movedBy(job, plan);
      for (const { before, after } of moved.deployments) {
        if (isEnded(after.status)) ended.inc({ status: after.status, ...causeLabels(after.reason) });
        if (before.activeAt === null && after.activeAt !== null) {
          timeToActive.observe(secondsBetween(before.createdAt, after.activeAt));
        }
      }
      for (const { before, after, since } of moved.attempts) {
        if (before.phase !== 'healthy') phases.observe({ phase: before.phase }, secondsBetween(since, now));
        if (after.phase === 'ended') attemptsEnded.inc(causeLabels(after.reason));
      }
    }
  });
}

function causeLabels(reason: string | null) {
  return { reason: reason ?? 'none', cause: reason !== null && isReason(reason) ? causeOf(reason) : 'none' };
}

function secondsBetween(from: Date, to: Date): number {
  return Math.max(0, to.getTime() - from.getTime()) / 1000;
}
