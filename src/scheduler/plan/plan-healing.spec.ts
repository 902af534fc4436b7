import { describe, expect, it } from '@jest/globals';
import { PlannerWorld } from '../../../test/support/planner-world.js';
import { nextAttemptAt, type Try } from './plan-healing.js';

const NOW = new Date('2026-11-30T12:00:00Z');
const at = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);

/** So many that ended a minute apart, the last one now. */
const ended = (count: number, reason: string): Try[] =>
  Array.from({ length: count }, (_, index) => {
    const endedAt = at((index + 1 - count) * 60);
    const healthyAt = new Date(endedAt.getTime() - 20_000);
    return { number: index + 1, reason, message: null, counted: true, healthyAt, endedAt };
  });

const pauseAfter = (tries: readonly Try[]): number => (nextAttemptAt(tries, NOW).getTime() - NOW.getTime()) / 1000;

describe('the pause before a fresh instance', () => {
  it.each([
    [1, 0],
    [2, 10],
    [3, 20],
    [4, 40],
    [5, 80],
    [6, 160],
    [7, 300],
    [50, 300],
  ])('after %d that came to nothing is %d s', (count, seconds) => {
    expect(pauseAfter(ended(count, 'container-exited'))).toBe(seconds);
  });

  it.each([
    [4, 40],
    [5, 300],
    [6, 300],
  ])('after %d whose container ended well is %d s: from five on it looks like a task', (count, seconds) => {
    expect(pauseAfter(ended(count, 'exits-at-once'))).toBe(seconds);
  });

  it('is no task’s where one of the last five ended otherwise', () => {
    const tries = ended(5, 'exits-at-once');
    expect(pauseAfter([...tries.slice(0, 4), { ...tries[4]!, reason: 'instance-terminated' }])).toBe(80);
  });

  it('begins anew behind one that was good for ten minutes', () => {
    const tries = ended(6, 'container-exited');
    const isGood = { ...tries[4]!, healthyAt: new Date(tries[4]!.endedAt!.getTime() - 600_000) };
    expect(pauseAfter([...tries.slice(0, 4), isGood, tries[5]!])).toBe(10);
  });
});

describe('the watch for exits', () => {
  const active = (): PlannerWorld => {
    const world = new PlannerWorld();
    world.deploy();
    world.run(12);
    expect(world.deployments[0]!.status).toBe('active');
    return world;
  };

  it('has a pace of its own, however fast an agent tells of the next exit: each costs rows and a pass', () => {
    const world = active();
    // No fresh instance takes its place: it goes on without end.
    const attempt = world.deployments[0]!.attempts[0]!;
    for (let tenths = 0; tenths < 1_200; tenths += 1) {
      const wait = world.openOrder(attempt, 'wait');
      if (wait) world.answer(wait, 200, '{"StatusCode":137}');
      world.settle();
      world.advance(0.1);
    }
    const count = (purpose: string) => attempt.orders.filter((order) => order.purpose === purpose).length;
    expect(count('wait')).toBeLessThanOrEqual(5 * 8);
    expect(count('inspect-exit')).toBeLessThanOrEqual(5 * 8);
    expect(world.deployments[0]!.reason).toBe('crash-looping');
  });

  it('misses none of the exits that Docker makes at its fastest', () => {
    const world = active();
    const attempt = world.deployments[0]!.attempts[0]!;
    // Docker's pauses, and half a second to start and to fail.
    for (const pause of [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]) {
      const wait = world.openOrder(attempt, 'wait');
      expect(wait).toBeDefined();
      world.answer(wait!, 200, '{"StatusCode":1}');
      world.settle();
      world.advance(pause + 0.5);
    }
    expect(world.openOrder(attempt, 'wait')).toBeDefined();
  });
});
