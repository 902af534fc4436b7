import { expect, it } from '@jest/globals';
import { PlannerWorld } from '../../test/support/planner-world.js';
import type { NewEvent } from '../events/append-events.js';
import { linesOf } from './event-lines.js';
import { eventsOf } from './plan/plan-events.js';

/** Of the next pass, and of other events. */
function linesOfPass(world: PlannerWorld, ...more: NewEvent[]) {
  const job = world.facts();
  const plan = world.pass();
  return linesOf([{ job, plan }], [...eventsOf(job, plan, plan.hosts.added), ...more]);
}

it('operators find in the log what happened to which attempt, why, and the request that made its deployment', () => {
  const world = new PlannerWorld();
  world.deploy();
  Object.assign(world.deployments[0]!, { origin: { requestId: 'r-1' } });
  world.run(60);
  Object.assign(world.deploy(), { origin: null });
  const first = { requestId: 'r-1', jobId: 'j1', job: 'web', deployment: 1, deploymentId: 'd1' };
  const second = { jobId: 'j1', job: 'web', deployment: 2, deploymentId: 'd2' };
  expect(linesOfPass(world)).toEqual([
    {
      message: 'deployment.deploying',
      ...second,
      reason: 'waiting-for-instance',
      detail: 'an instance is on its way',
    },
    { message: 'attempt.waiting', ...second, attempt: 1, reason: 'waiting-for-instance' },
  ]);
  world.lose(world.deployments[0]!.attempts[0]!);
  const lost = { reason: 'instance-terminated', detail: 'instance i-1: the instance was terminated' };
  expect(linesOfPass(world)).toEqual([
    { message: 'attempt.ended', ...first, attempt: 1, instanceId: 'i-1', ...lost },
    { message: 'attempt.waiting', ...first, attempt: 2, reason: 'healing' },
    {
      message: 'job.degraded',
      ...first,
      ...lost,
      detail: `${lost.detail}; attempt 2 is waiting: an instance is on its way`,
    },
  ]);
});

it('what concerns no deployment of the pass, or no job, is a line with what is known of it', () => {
  const world = new PlannerWorld();
  world.deploy();
  const others: NewEvent[] = [
    { type: 'job.recovered', actor: 'scheduler', jobId: 'j1', job: 'web', deployment: null, cause: { reason: null } },
    { type: 'attempt.ended', actor: 'scheduler', jobId: 'j2', job: 'api', deployment: 1, attempt: 3, instance: null },
    { type: 'job.deleted', actor: 'scheduler', data: { message: null } },
  ];
  expect(linesOfPass(world, ...others).slice(-3)).toEqual([
    { message: 'job.recovered', jobId: 'j1', job: 'web' },
    { message: 'attempt.ended', jobId: 'j2', job: 'api', attempt: 3 },
    { message: 'job.deleted', jobId: null, job: undefined },
  ]);
});
