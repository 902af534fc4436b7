import { isAmiAllowed, type OperatorLists } from '../jobs/allowed.js';
import { fieldsOf } from '../process/origin.js';
import type { Planned } from './apply-job-plans.js';
import type { EventLine } from './event-lines.js';

/**
 * A warning for each new attempt on an AMI that is not in the operator's list, or no longer: deployments from before
 * still heal, since a shorter list must not end what serves.
 */
export function warningsOf(
  planned: readonly Planned[],
  lists: Pick<OperatorLists, 'defaultAmi' | 'allowedAmis'>,
): EventLine[] {
  return planned.flatMap(({ job, plan }) =>
    plan.newAttempts.flatMap(({ deploymentId, number: attempt }) => {
      const deployment = job.deployments.find(({ id }) => id === deploymentId);
      const ami = deployment?.definition.instance.ami;
      if (!deployment || isAmiAllowed(ami, lists)) return [];
      const { number, origin } = deployment;
      const message = 'an AMI that is not in ALLOWED_AMIS is launched';
      return [
        { message, ...(origin && fieldsOf(origin)), jobId: job.id, job: job.name, deployment: number, attempt, ami },
      ];
    }),
  );
}
