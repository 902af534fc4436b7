import type { NewEvent } from '../events/append-events.js';
import { fieldsOf } from '../process/origin.js';
import type { Planned } from './apply-job-plans.js';

export type EventLine = { readonly message: string; readonly [field: string]: unknown };

/** A log line for each event of a pass: with the name of the event, and the request that made its deployment. */
export function linesOf(planned: readonly Planned[], events: readonly NewEvent[]): EventLine[] {
  const jobs = new Map(planned.map(({ job }) => [job.id, job]));
  return events.map(({ type, jobId = null, job, deployment, attempt, instance, cause, data }) => {
    const facts = jobs.get(jobId ?? '')?.deployments.find(({ number }) => number === deployment);
    return {
      message: type,
      ...(facts?.origin && fieldsOf(facts.origin)),
      jobId,
      job,
      ...(facts && { deployment, deploymentId: facts.id }),
      ...(attempt !== undefined && { attempt }),
      ...(instance !== undefined && instance !== null && { instanceId: instance }),
      ...(cause?.reason !== undefined && cause.reason !== null && { reason: cause.reason }),
      ...(typeof data?.['message'] === 'string' && { detail: data['message'] }),
    };
  });
}
