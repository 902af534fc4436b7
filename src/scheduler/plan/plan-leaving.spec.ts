import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.js';
import { active, deployed, HEALTH, order, prepare, purposes, start } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.js';

describe('logs of an attempt', () => {
  const stopping = (definition: object = {}) => {
    const { world, deployment } = active(definition);
    const attempt = deployment.attempts[0]!;
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    return { world, attempt };
  };
  const flushes = (attempt: WorldAttempt) => purposes(attempt).filter((purpose) => purpose === 'flush-logs').length;

  it('are followed from the moment its container runs, once', () => {
    const { world, attempt } = deployed(HEALTH);
    world.run(60);
    world.answer(order(attempt, 'wait'));
    world.run(60);
    expect(purposes(attempt).filter((purpose) => purpose === 'follow-logs')).toHaveLength(1);
    expect(order(attempt, 'follow-logs').spec).toMatchObject({ kind: 'logs', follow: true });
  });

  it('are followed also where an earlier version of the scheduler started the container', () => {
    const { world, attempt } = deployed();
    world.run(12);
    attempt.orders = attempt.orders.filter(({ purpose }) => purpose !== 'follow-logs');
    world.wake();
    world.settle();
    expect(purposes(attempt).at(-1)).toBe('follow-logs');
  });

  it('are complete before it ends: the flush follows the stop, and its answer ends the attempt', () => {
    const { world, attempt } = stopping();
    expect([attempt.phase, flushes(attempt)]).toEqual(['stopping', 0]);
    world.answer(order(attempt, 'stop'));
    world.settle();
    expect([attempt.phase, purposes(attempt).at(-1)]).toEqual(['stopping', 'flush-logs']);
    expect(order(attempt, 'flush-logs').spec).toEqual({ kind: 'logs', follow: false, timeoutSeconds: 10 });
    world.nowMs += 3_000;
    world.answer(order(attempt, 'flush-logs'));
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', logsCompleteAt: world.now });
    expect(flushes(attempt)).toBe(1);
  });

  it.each([
    ['is too old to ship logs', 0],
    ['finds the container gone', 404],
  ])('hold nothing up when the agent %s', (_, status) => {
    const { world, attempt } = stopping();
    world.answer(order(attempt, 'stop'));
    world.settle();
    world.answer(order(attempt, 'flush-logs'), status, 'unknown order kind\n');
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', logsCompleteAt: null });
  });

  it('are waited for ten seconds, when the agent is silent', () => {
    const { world, attempt } = stopping();
    world.answer(order(attempt, 'stop'));
    world.settle();
    world.advance(9.9);
    expect(attempt.phase).toBe('stopping');
    world.advance(0.1);
    expect(attempt).toMatchObject({ phase: 'ended', logsCompleteAt: null });
  });

  it('do not put off the end of a stop that took all its time', () => {
    const { world, attempt } = stopping({ rollout: { stopGraceSeconds: 5 } });
    world.nowMs += 34_000;
    world.answer(order(attempt, 'stop'));
    world.settle();
    expect(flushes(attempt)).toBe(1);
    world.advance(1);
    expect(attempt.phase).toBe('ended');
  });

  it('are given up with the instance', () => {
    const { world, attempt } = stopping();
    world.answer(order(attempt, 'stop'));
    world.settle();
    world.lose(attempt);
    world.settle();
    expect(attempt.phase).toBe('ended');
  });

  it.each<[string, object, (world: PlannerWorld, attempt: WorldAttempt) => void]>([
    ['its container exits before it is active', {}, (world, attempt) => world.answer(order(attempt, 'wait'))],
    ['its health check does not pass', HEALTH, (world, attempt) => world.probe(attempt, 'unhealthy')],
    ['it is cancelled', {}, (world, { id }) => cancel(world, id)],
    ['its deadline passes', { ...HEALTH, rollout: { deadlineSeconds: 30 } }, (world) => (world.nowMs += 31_000)],
    ['a newer deployment takes its place', {}, (world) => void world.deploy()],
    ['the job is deleted', {}, (world) => (world.desiredState = 'deleted')],
  ])('are complete before it ends when %s', (_, definition, cause) => {
    const world = new PlannerWorld();
    const deployment = world.deploy(definition);
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    start(world, attempt);
    cause(world, attempt);
    world.wake();
    world.settle();
    for (const purpose of ['logs', 'inspect-exit', 'stop'] as const) {
      const open = world.openOrder(attempt, purpose);
      if (open) world.answer(open);
      world.settle();
    }
    expect([attempt.phase, purposes(attempt).at(-1)]).toEqual(['stopping', 'flush-logs']);
    world.answer(order(attempt, 'flush-logs'));
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', logsCompleteAt: world.now });
  });

  it('are complete before it ends when its container keeps crashing while its predecessor drains', () => {
    const { world } = active(HEALTH);
    const second = world.deploy({ ...HEALTH, rollout: { drainSeconds: 600 } });
    world.run(6);
    const attempt = second.attempts[0]!;
    for (let exits = 0; exits < 5; exits++) {
      world.answer(order(attempt, 'wait'));
      world.settle();
    }
    expect([second.status, attempt.phase]).toEqual(['failed', 'stopping']);
    world.run(1);
    expect(attempt).toMatchObject({ phase: 'ended', logsCompleteAt: expect.any(Date) });
  });

  it('are not asked for where nothing was started', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    prepare(world, attempt);
    world.answer(order(attempt, 'create'));
    world.answer(order(attempt, 'start'), 400, '{"message":"no"}');
    world.run(60);
    expect([attempt.phase, flushes(attempt)]).toEqual(['ended', 0]);
    expect(purposes(attempt)).not.toContain('follow-logs');
  });
});

describe('requests', () => {
  it('cancel wins in every phase before active', () => {
    for (const steps of [0, 1, 2, 3, 4]) {
      const world = new PlannerWorld();
      const deployment = world.deploy(HEALTH);
      if (steps > 0) world.settle();
      const attempt = deployment.attempts[0];
      if (attempt && steps > 1) world.assign(attempt);
      if (attempt && steps > 2) {
        world.settle();
        prepare(world, attempt);
      }
      if (attempt && steps > 3) {
        world.cooperate();
        // Stable in the very moment of the cancel.
        world.nowMs += 5_000;
      }
      deployment.cancelRequestedAt = world.now;
      world.wake();
      world.run(60);
      expect(deployment).toMatchObject({ status: 'cancelled', reason: 'cancel-requested' });
      expect(world.live()).toEqual([]);
      expect(world.status).toBe('idle');
      note(world);
    }
  });

  it('stop ends the active deployment with grace, start runs a new one', () => {
    const { world, deployment } = active();
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    expect(deployment).toMatchObject({ status: 'draining', reason: 'stop-requested' });
    expect(deployment.attempts[0]!.phase).toBe('stopping');
    // Its container still runs.
    expect(world.status).toBe('running');
    world.cooperate();
    expect(deployment.status).toBe('stopped');
    expect(world).toMatchObject({ status: 'stopped', activeDeploymentId: null });
    note(world);
    const again = world.deploy();
    world.run(20);
    expect(again.status).toBe('active');
  });

  it('a container that does not answer SIGTERM is given up after its grace', () => {
    const { world, deployment } = active({ rollout: { stopGraceSeconds: 5 } });
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    world.advance(34);
    expect(deployment.attempts[0]!.phase).toBe('stopping');
    world.advance(1);
    expect(deployment.attempts[0]!.phase).toBe('ended');
    expect(deployment.status).toBe('stopped');
  });

  it('delete ends everything, whatever was going on, and then the job is gone', () => {
    const { world } = active();
    world.deploy();
    world.settle();
    world.desiredState = 'deleted';
    world.wake();
    world.run(120);
    expect(world).toMatchObject({ isGone: true, status: 'deleting', nextPassAt: null });
    expect(world.live()).toEqual([]);
    expect(world.deployments.map(({ status }) => status)).toEqual(['stopped', 'cancelled']);
    note(world);
  });

  it('no pass comes to a job that is gone, whatever its deployments waited for', () => {
    const { world, deployment } = active();
    const second = world.deploy({ rollout: { drainSeconds: 600 } });
    for (let passes = 0; second.status !== 'active'; passes += 1) {
      expect(passes).toBeLessThan(60);
      world.cooperate();
      world.advance(1);
    }
    expect(deployment.status).toBe('draining');
    world.desiredState = 'deleted';
    world.wake();
    world.settle();
    // The predecessor is the last to go, long before its time to drain is over.
    world.lose(second.attempts[0]!);
    world.settle();
    expect([deployment.status, second.status, world.isGone]).toEqual(['draining', 'stopped', false]);
    world.run(60);
    expect(world).toMatchObject({ isGone: true, nextPassAt: null });
  });
});

itShowsItsReasons('plan-leaving');

function cancel(world: PlannerWorld, attemptId: string): void {
  const deployment = world.deployments.find(({ attempts }) => attempts.some(({ id }) => id === attemptId));
  if (deployment) deployment.cancelRequestedAt = world.now;
}
