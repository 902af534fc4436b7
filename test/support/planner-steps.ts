import { expect } from '@jest/globals';
import { PlannerWorld, type WorldAttempt, type WorldDeployment } from './planner-world.ts';

export const HEALTH = { health: { path: '/', port: 80 }, ports: [{ container: 8080, host: 80 }] };

/** Deployed, and fleet and agents carry out all orders at once. */
export function deployed(definition: object = {}): {
  world: PlannerWorld;
  deployment: WorldDeployment;
  attempt: WorldAttempt;
} {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition);
  world.cooperate();
  return { world, deployment, attempt: deployment.attempts[0]! };
}

export function active(definition: object = {}): { world: PlannerWorld; deployment: WorldDeployment } {
  const { world, deployment } = deployed(definition);
  world.run(12);
  expect(deployment.status).toBe('active');
  return { world, deployment };
}

export function prepare(world: PlannerWorld, attempt: WorldAttempt): void {
  for (const purpose of ['pull', 'inspect-image'] as const) {
    world.answer(order(attempt, purpose));
    world.settle();
  }
}

export function start(world: PlannerWorld, attempt: WorldAttempt): void {
  prepare(world, attempt);
  world.answer(order(attempt, 'create'));
  world.answer(order(attempt, 'start'));
  world.settle();
}

export function order(attempt: WorldAttempt, purpose: string) {
  const found = attempt.orders.findLast((candidate) => candidate.purpose === purpose);
  if (!found) throw new Error(`${purpose} was not ordered, only ${purposes(attempt).join(', ')}`);
  return found;
}

export function purposes(attempt: WorldAttempt): string[] {
  return attempt.orders.map(({ purpose }) => purpose);
}
