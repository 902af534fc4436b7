import { describe, expect, it } from '@jest/globals';
import { active, HEALTH, order, prepare, purposes, start } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt, type WorldDeployment } from '../../../test/support/planner-world.js';

type Case = { world: PlannerWorld; deployment: WorldDeployment; attempt: WorldAttempt };

function assigned(definition: object = HEALTH, isAdopted = false): Case {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition);
  world.settle();
  const attempt = deployment.attempts[0]!;
  world.assign(attempt);
  if (isAdopted) Object.assign(attempt.instance!, { isAdopted });
  world.settle();
  return { world, deployment, attempt };
}

function cancel({ world, deployment }: Case): void {
  deployment.cancelRequestedAt = world.now;
  world.wake();
  world.settle();
}

function take({ world, attempt }: Case, purpose: string): void {
  order(attempt, purpose).takenAt = world.now;
}

function takeAfterPull(it: Case, purpose: string): void {
  prepare(it.world, it.attempt);
  take(it, purpose);
}

describe('an attempt that is cancelled', () => {
  it.each<[string, boolean, (it: Case) => void]>([
    ['before its agent took an order', false, () => undefined],
    ['while it pulls its image', false, (it) => take(it, 'pull')],
    ['while its container is created', false, (it) => takeAfterPull(it, 'create')],
    ['when the agent is about to start its container', true, (it) => takeAfterPull(it, 'start')],
    ['when its container runs', true, (it) => start(it.world, it.attempt)],
    [
      'when its container runs, on an instance that was lost',
      false,
      ({ world, attempt }) => {
        start(world, attempt);
        world.lose(attempt);
      },
    ],
  ])('%s: whether it gets a SIGTERM and time to end: %s', (_, hasGrace, reach) => {
    const it = assigned();
    reach(it);
    cancel(it);
    const { attempt, deployment } = it;
    expect(attempt).toMatchObject({ phase: hasGrace ? 'stopping' : 'ended', reason: 'cancel-requested' });
    expect(purposes(attempt).filter((purpose) => purpose === 'stop')).toHaveLength(hasGrace ? 1 : 0);
    // The dead-man switch of an attempt that never served is still on.
    expect(purposes(attempt).filter((purpose) => purpose === 'dead-man')).toHaveLength(1);
    expect(deployment).toMatchObject({ status: 'cancelled', deadlineAt: null });
  });

  it('leaves the container of an adopted instance alone until its adoption has succeeded', () => {
    const it = assigned(HEALTH, true);
    start(it.world, it.attempt);
    cancel(it);
    expect([it.attempt.phase, purposes(it.attempt).includes('stop')]).toEqual(['ended', false]);

    const adopted = assigned(HEALTH, true);
    start(adopted.world, adopted.attempt);
    adopted.world.probe(adopted.attempt, 'healthy');
    adopted.world.settle();
    cancel(adopted);
    expect([adopted.attempt.phase, purposes(adopted.attempt).at(-1)]).toEqual(['stopping', 'stop']);
  });
});

describe('a container that is told to stop', () => {
  it.each([
    [0, 30, 16],
    [30, 60, 16],
    [31, 61, 17],
    [600, 630, 26],
  ])(
    'with %d s of grace: Docker has %d s for it, and the instance %d minutes',
    (stopGraceSeconds, seconds, minutes) => {
      const { world, deployment } = active({ rollout: { stopGraceSeconds } });
      const attempt = deployment.attempts[0]!;
      world.desiredState = 'stopped';
      world.wake();
      world.settle();
      expect(order(attempt, 'stop').spec).toMatchObject({
        path: expect.stringContaining(`/stop?t=${stopGraceSeconds}`),
        mode: 'background',
        timeoutSeconds: seconds,
      });
      expect(order(attempt, 'dead-man').spec).toEqual({ kind: 'dead-man', minutes });
      // No pass comes for nothing before.
      expect(world.nextPassAt).toEqual(new Date(world.nowMs + seconds * 1000));
      world.nowMs += seconds * 1000 - 1;
      world.wake();
      world.settle();
      expect(attempt.phase).toBe('stopping');
      world.advance(0.001);
      expect([attempt.phase, deployment.status]).toEqual(['ended', 'stopped']);
    },
  );

  it('is told so at once where its deployment has ended, whatever time that had left', () => {
    const { world, deployment } = active();
    Object.assign(deployment, { status: 'failed', endedAt: world.now, deadlineAt: new Date(world.nowMs + 600_000) });
    world.activeDeploymentId = null;
    world.wake();
    world.settle();
    expect(deployment.attempts[0]!.phase).toBe('stopping');
  });
});
