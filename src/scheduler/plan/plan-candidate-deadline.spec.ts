import { describe, expect, it } from '@jest/globals';
import { active, HEALTH, order, prepare, purposes, start } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.js';

const OVERDUE = 'it was not active within rollout.deadlineSeconds';
const LATE = { ...HEALTH, rollout: { deadlineSeconds: 60 } };

function deploying(definition: object = LATE) {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition);
  world.settle();
  return { world, deployment, attempt: deployment.attempts[0]! };
}

function assign(world: PlannerWorld, attempt: WorldAttempt): void {
  world.assign(attempt);
  world.settle();
}

describe('a deployment at its deadline', () => {
  it.each<[string, (world: PlannerWorld, attempt: WorldAttempt) => void, string, string]>([
    ['waits for an instance', () => undefined, 'waiting', ' (attempt 1 was waiting): an instance is on its way'],
    [
      'waits for capacity',
      (world, attempt) => {
        attempt.verdict = { reason: 'insufficient-capacity', message: 'none', at: world.now, isFinal: false };
        world.wake();
        world.settle();
      },
      'waiting',
      ' (attempt 1 was waiting): insufficient-capacity: none (waiting until 2026-01-01T00:10:00.000Z)',
    ],
    [
      'pulls its image',
      (world, attempt) => {
        assign(world, attempt);
        order(attempt, 'pull').takenAt = world.now;
        world.wake();
        world.settle();
      },
      'pulling',
      ' (attempt 1 was pulling)',
    ],
    [
      'has not begun to start its container',
      (world, attempt) => {
        assign(world, attempt);
        prepare(world, attempt);
      },
      'starting',
      ' (attempt 1 was starting)',
    ],
  ])('that %s fails at once, and says how far it came', (_, reach, failedPhase, text) => {
    const { world, deployment, attempt } = deploying();
    reach(world, attempt);
    world.nowMs = deployment.createdAt.getTime() + 59_999;
    world.wake();
    world.settle();
    expect(deployment.status).toBe('deploying');
    world.advance(0.001);
    expect(deployment).toMatchObject({
      status: 'failed',
      reason: 'deadline-exceeded',
      message: `${OVERDUE}${text}`,
      failedPhase,
      retryable: true,
      deadlineAt: null,
    });
    expect(purposes(attempt)).not.toContain('logs');
    expect(attempt.phase).toBe('ended');
  });

  it('has ten more seconds for the last lines of what it started', () => {
    const { world, deployment, attempt } = deploying();
    assign(world, attempt);
    start(world, attempt);
    world.nowMs = deployment.createdAt.getTime() + 60_000;
    world.settle();
    expect([deployment.status, purposes(attempt).at(-1)]).toEqual(['deploying', 'logs']);
    world.advance(9.999);
    expect(deployment.status).toBe('deploying');
    world.advance(0.001);
    expect(deployment).toMatchObject({ status: 'failed', message: `${OVERDUE} (attempt 1 was starting)` });
  });

  it('that passed while no process of ours ran, between two attempts, fails by it', () => {
    const { world, deployment, attempt } = deploying();
    for (const lost of [attempt, undefined]) {
      const latest = lost ?? deployment.attempts.at(-1)!;
      assign(world, latest);
      world.lose(latest);
      world.settle();
    }
    expect(deployment.message).toMatch(/; attempt 3 begins at 2026-01-01T00:00:10.000Z$/);
    world.nowMs += 100_000;
    world.settle();
    expect(deployment).toMatchObject({ status: 'failed', reason: 'deadline-exceeded', failedPhase: null });
    expect(deployment.message).toBe(
      `${OVERDUE}: instance i-2: the instance was terminated; attempt 3 begins at 2026-01-01T00:00:10.000Z`,
    );
  });

  it('of which nothing was ever said fails with nothing more to say', () => {
    const { world, deployment, attempt } = deploying();
    Object.assign(deployment, { reason: null, message: null });
    world.nowMs += 60_000;
    world.wake();
    world.settle();
    expect([attempt.phase, deployment.message]).toEqual(['ended', `${OVERDUE} (attempt 1 was waiting)`]);
  });

  it.each([
    [70, 'failed'],
    [71, 'deploying'],
  ])(
    'that comes with the next attempt, 70 s after its beginning, is not waited for: of %d s it is %s',
    (seconds, status) => {
      const { world, deployment, attempt } = deploying({ rollout: { deadlineSeconds: seconds } });
      assign(world, attempt);
      world.lose(attempt);
      world.settle();
      const second = deployment.attempts[1]!;
      assign(world, second);
      world.nowMs += 60_000 - 15_000;
      order(second, 'pull').takenAt = world.now;
      world.wake();
      world.settle();
      world.nowMs += 15_000;
      world.lose(second, 'stopped');
      world.settle();
      expect(deployment).toMatchObject({
        status,
        message: expect.stringMatching(
          status === 'failed'
            ? /: 2 attempts, the last one ended with instance-stopped, and the next would begin after the deadline$/
            : /; attempt 3 begins at 2026-01-01T00:01:10.000Z$/,
        ),
      });
    },
  );
});

describe('a deployment', () => {
  it('began with its first pass, and no later one changes that', () => {
    const { world, deployment } = deploying();
    const { startedAt } = deployment;
    expect(startedAt).toEqual(world.now);
    world.run(30);
    expect(deployment).toMatchObject({ status: 'active', startedAt });
  });

  it('that was active, was handed back and is active again keeps its beginning, and has its deadline anew', () => {
    const { world } = active(HEALTH);
    const second = world.deploy({ ...HEALTH, rollout: { drainSeconds: 600, deadlineSeconds: 40 } });
    world.run(10);
    const { startedAt } = second;
    world.nowMs += 300_000;
    world.lose(second.attempts[0]!);
    world.settle();
    expect(second).toMatchObject({ status: 'deploying', startedAt, deadlineAt: new Date(world.nowMs + 40_000) });
  });
});

describe('a healing attempt', () => {
  it('whose container does not get healthy has deadlineSeconds from its instance on, then the next has its turn', () => {
    const { world, deployment } = active(LATE);
    world.lose(deployment.attempts[0]!);
    world.settle();
    const healing = deployment.attempts[1]!;
    world.nowMs += 500_000;
    assign(world, healing);
    start(world, healing);
    world.nowMs += 59_999;
    world.wake();
    world.settle();
    expect(healing.phase).toBe('starting');
    expect(deployment.message).toMatch(/attempt 2 is starting$/);
    world.advance(0.001);
    expect(healing).toMatchObject({ phase: 'stopping', reason: 'deadline-exceeded' });
    expect(deployment).toMatchObject({
      status: 'active',
      reason: 'deadline-exceeded',
      message: `${OVERDUE}; attempt 3 begins at ${new Date(world.nowMs + 10_000).toISOString()}`,
    });
    world.run(60);
    expect(world.status).toBe('running');
  });

  it('waits for its instance for as long as it takes', () => {
    const { world, deployment } = active(LATE);
    world.lose(deployment.attempts[0]!);
    world.settle();
    world.advance(100_000);
    expect(deployment.attempts).toMatchObject([{ phase: 'ended' }, { number: 2, phase: 'waiting' }]);
  });

  it('that is not needed any more ends for that, and not for what ails it', () => {
    const { world, deployment } = active(HEALTH);
    const first = deployment.attempts[0]!;
    world.probe(first, 'unhealthy');
    world.settle();
    const healing = deployment.attempts[1]!;
    assign(world, healing);
    start(world, healing);
    world.probe(healing, 'unhealthy');
    world.settle();
    expect(purposes(healing).at(-1)).toBe('logs');
    world.probe(first, 'healthy');
    world.settle();
    expect(healing).toMatchObject({ phase: 'stopping', reason: 'not-needed', message: null });
    expect(deployment).toMatchObject({ status: 'active', reason: null, message: null });
  });
});
