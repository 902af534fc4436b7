import { expect, it } from '@jest/globals';
import { PlannerWorld } from '../../../test/support/planner-world.js';
import { movedBy } from './plan-changes.js';

/** What the metrics count of the next passes: each status that was left, and each phase with its seconds. */
function countedOver(world: PlannerWorld, seconds: number): string[] {
  const counted: string[] = [];
  for (let passed = 0; passed <= seconds; passed++) {
    world.wake();
    const job = world.facts();
    const { now } = world;
    const { deployments, attempts } = movedBy(job, world.pass());
    for (const { before, after } of deployments) counted.push(`${before.number} ${before.status} → ${after.status}`);
    for (const { deployment, before, after, since } of attempts) {
      const ofIt = (now.getTime() - since.getTime()) / 1000;
      counted.push(`${deployment.number}/${before.number} ${before.phase} → ${after.phase} after ${ofIt} s`);
    }
    for (const attempt of world.live()) {
      if (!attempt.instance) {
        if (passed >= 2) world.assign(attempt);
      } else {
        for (const order of attempt.orders.filter(({ purpose }) => DOCKER.includes(purpose)))
          if (!order.answeredAt) world.answer(order);
      }
    }
    world.nowMs += 1000;
  }
  return counted;
}

const DOCKER = ['pull', 'inspect-image', 'create', 'start', 'restart-policy', 'stop', 'flush-logs'];

it('metrics count each status and phase that a job leaves, once, and how long each phase took', () => {
  const world = new PlannerWorld();
  world.deploy();
  expect(countedOver(world, 20)).toEqual([
    '1 queued → deploying',
    '1/1 waiting → assigned after 3 s',
    '1/1 assigned → pulling after 1 s',
    '1/1 pulling → starting after 1 s',
    '1/1 starting → healthy after 5 s',
    '1 deploying → active',
  ]);
  world.deploy();
  expect(countedOver(world, 40)).toEqual([
    '2 queued → deploying',
    '2/1 waiting → assigned after 3 s',
    '2/1 assigned → pulling after 1 s',
    '2/1 pulling → starting after 1 s',
    '2/1 starting → healthy after 5 s',
    '1 active → draining',
    '2 deploying → active',
    '1/1 healthy → stopping after 36 s',
    '1 draining → superseded',
    '1/1 stopping → ended after 2 s',
  ]);
});
