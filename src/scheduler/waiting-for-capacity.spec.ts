import { expect, it } from '@jest/globals';
import { PlannerWorld } from '../../test/support/planner-world.js';

const NONE = { reason: 'insufficient-capacity', message: 'none', isFinal: false };

it('says how long a deployment waits for capacity that was never active', () => {
  const world = new PlannerWorld();
  const deployment = world.deploy({ onCapacity: { waitSeconds: 60 } });
  world.settle();
  deployment.attempts[0]!.verdict = { ...NONE, at: world.now };
  world.wake();
  world.settle();
  expect(deployment.message).toMatch(/^insufficient-capacity: none \(waiting until 20\S+Z\)$/);
});

it('names no end for one that heals, since it waits for ever', () => {
  const world = new PlannerWorld();
  const deployment = world.deploy({ onCapacity: { waitSeconds: 60 } });
  world.run(60);
  world.lose(deployment.attempts[0]!);
  world.settle();
  deployment.attempts[1]!.verdict = { ...NONE, at: world.now };
  world.wake();
  world.settle();
  const waits = /attempt 2 is waiting: insufficient-capacity: none$/;
  expect(deployment).toMatchObject({ status: 'active', message: expect.stringMatching(waits) });
  world.run(3600);
  expect(deployment).toMatchObject({ status: 'active', message: expect.stringMatching(waits) });
});
