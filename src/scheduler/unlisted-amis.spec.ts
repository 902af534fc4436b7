import { expect, it } from '@jest/globals';
import { PlannerWorld } from '../../test/support/planner-world.js';
import { warningsOf } from './unlisted-amis.js';

const LISTED = { defaultAmi: 'ecs-al2023', allowedAmis: ['ami-0123456789abcdef0'] };
const UNLISTED = { defaultAmi: 'ecs-al2023', allowedAmis: [] };

it('heals what serves on an AMI that is not listed any more, with a warning', () => {
  const world = new PlannerWorld();
  const deployment = world.deploy({ instance: { ami: 'ami-0123456789abcdef0' } });
  world.run(60);
  expect(deployment.status).toBe('active');
  world.lose(deployment.attempts[0]!);
  const job = world.facts();
  const planned = [{ job, plan: world.pass() }];
  expect(planned[0]?.plan.newAttempts).toMatchObject([{ deploymentId: 'd1', number: 2 }]);
  expect(warningsOf(planned, LISTED)).toEqual([]);
  expect(warningsOf(planned, UNLISTED)).toMatchObject([
    { job: 'web', deployment: 1, attempt: 2, ami: 'ami-0123456789abcdef0' },
  ]);
});
