import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.js';
import { active, deployed, HEALTH, order, purposes } from '../../../test/support/planner-steps.js';
import { DIGEST, PlannerWorld, type WorldAttempt, type WorldDeployment } from '../../../test/support/planner-world.js';

describe('a deployment of a service', () => {
  it('becomes active after it was healthy for stableSeconds, and not before', () => {
    const { world, deployment, attempt } = deployed(HEALTH);
    expect(attempt.phase).toBe('healthy');
    expect(deployment.status).toBe('deploying');
    world.advance(4.9);
    expect(deployment.status).toBe('deploying');
    world.advance(0.2);
    expect(deployment).toMatchObject({
      status: 'active',
      imageDigest: `web@${DIGEST}`,
      imageId: 'ami-0123456789abcdef0',
    });
    expect(world).toMatchObject({ status: 'running', activeDeploymentId: deployment.id });
    expect(purposes(attempt).slice(-2)).toEqual(['restart-policy', 'dead-man']);
  });

  it('without a health block is healthy once it ran five seconds', () => {
    const { world, attempt, deployment } = deployed();
    expect(attempt.phase).toBe('starting');
    world.run(5);
    expect(attempt.phase).toBe('healthy');
    world.run(5);
    expect(deployment.status).toBe('active');
  });

  it('gives its orders in the sequence the container needs', () => {
    const { attempt } = deployed(HEALTH);
    expect(purposes(attempt)).toEqual([
      'dead-man',
      'pull',
      'inspect-image',
      'create',
      'start',
      'wait',
      'probe',
      'follow-logs',
    ]);
    expect(attempt.orders.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('pulls the recorded digest on later attempts', () => {
    const { world, deployment } = active();
    const [attempt] = deployment.attempts;
    world.lose(attempt!);
    world.cooperate();
    expect(deployment.attempts[1]!.orders.find(({ purpose }) => purpose === 'pull')?.spec).toMatchObject({
      path: expect.stringContaining(encodeURIComponent(DIGEST)),
    });
  });

  it('watches spot notices only on spot instances', () => {
    const { attempt } = deployed({ instance: { market: 'spot' } });
    expect(purposes(attempt)).toContain('watch-spot');
  });
});

describe('an attempt is lost by a cause of the infrastructure', () => {
  it('again and again: growing pauses between fresh instances, of which the deployment tells; the fifth fails it', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    const pauses = untilNoMore(world, deployment, (attempt) => world.lose(attempt));
    expect(pauses).toEqual([0, 10, 20, 40]);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'attempts-exhausted', retryable: true });
    expect(deployment.attempts).toHaveLength(5);
    note(world);
  });

  it('that costs nothing, again and again: growing pauses as well, and ten instances at most', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ rollout: { deadlineSeconds: 7200 } });
    const pauses = untilNoMore(world, deployment, () => world.advance(15));
    expect(pauses).toEqual([0, 10, 20, 40, 80, 160, 300, 300, 300]);
    expect(deployment.attempts.every(({ reason, counted }) => reason === 'agent-unresponsive' && !counted)).toBe(true);
    expect(deployment).toMatchObject({
      status: 'failed',
      reason: 'attempts-exhausted',
      message: expect.stringMatching(/10 attempts, the last one ended with agent-unresponsive$/),
    });
  });

  it('and the next pause would outlast the deadline: it fails at once, and not with the deadline', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ rollout: { deadlineSeconds: 120 } });
    const pauses = untilNoMore(world, deployment, () => world.advance(15));
    expect(pauses).toEqual([0, 10, 20]);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'attempts-exhausted' });
    expect(deployment.message).toMatch(/4 attempts, .* the next would begin after the deadline$/);
  });
});

describe('a new deployment of a running service', () => {
  it('leaves the old one serving until the new one is stable, drains it, then stops it with grace', () => {
    const { world, deployment: first } = active(HEALTH);
    const second = world.deploy(HEALTH);
    world.cooperate();
    expect([first.status, second.status]).toEqual(['active', 'deploying']);
    world.run(5);
    expect([first.status, second.status]).toEqual(['draining', 'active']);
    expect(first.reason).toBe('superseded-by-newer');
    expect(purposes(first.attempts[0]!)).not.toContain('stop');
    world.advance(9);
    expect(purposes(first.attempts[0]!)).not.toContain('stop');
    world.advance(1);
    expect(first.attempts[0]!.phase).toBe('stopping');
    world.cooperate();
    expect(first).toMatchObject({ status: 'superseded' });
    expect(first.attempts[0]!.phase).toBe('ended');
    note(world);
  });

  it('that fails never touches the old one', () => {
    const { world, deployment: first } = active();
    const second = world.deploy();
    world.settle();
    const attempt = second.attempts[0]!;
    world.assign(attempt);
    world.settle();
    world.answer(order(attempt, 'pull'), 404, '{"message":"not found"}');
    world.run(60);
    expect(second.status).toBe('failed');
    expect(first.status).toBe('active');
    expect(world.status).toBe('running');
    expect(first.attempts).toHaveLength(1);
    expect(purposes(first.attempts[0]!)).not.toContain('stop');
  });

  it('cancels an older one that was never active', () => {
    const { world, deployment: first, attempt } = deployed(HEALTH);
    world.deploy(HEALTH);
    world.settle();
    expect(first).toMatchObject({ status: 'cancelled', reason: 'superseded-by-newer' });
    expect(attempt.phase).toBe('stopping');
    world.cooperate();
    expect(attempt.phase).toBe('ended');
  });

  it('lost before the old one was stopped: the old one is active again, the new one tries again', () => {
    const { world, deployment: first } = active(HEALTH);
    const second = world.deploy(HEALTH);
    world.run(6);
    expect(second.status).toBe('active');
    world.lose(second.attempts[0]!);
    world.settle();
    expect(first).toMatchObject({ status: 'active', reason: 'successor-lost' });
    expect(second).toMatchObject({ status: 'deploying' });
    expect(world.activeDeploymentId).toBe(first.id);
    note(world);
    world.run(60);
    expect([first.status, second.status]).toEqual(['superseded', 'active']);
  });

  it('unhealthy before the old one was stopped: it fails, the old one is active again', () => {
    const { world, deployment: first } = active(HEALTH);
    const second = world.deploy(HEALTH);
    world.run(6);
    world.probe(second.attempts[0]!, 'unhealthy');
    world.run(60);
    expect(second).toMatchObject({ status: 'failed', reason: 'health-check-failed' });
    expect(first.status).toBe('active');
    expect(world.status).toBe('running');
  });
});

itShowsItsReasons('plan-candidate');

/**
 * Fails each attempt as soon as it has an instance, until there is none any more.
 * @returns the seconds before each next one
 */
function untilNoMore(
  world: PlannerWorld,
  deployment: WorldDeployment,
  spoil: (attempt: WorldAttempt) => void,
): number[] {
  const pauses: number[] = [];
  world.settle();
  for (;;) {
    const attempt = deployment.attempts.at(-1)!;
    world.assign(attempt);
    world.settle();
    spoil(attempt);
    const spoiltAtMs = world.nowMs;
    world.settle();
    while (deployment.attempts.at(-1) === attempt && deployment.status === 'deploying') {
      expect(deployment).toMatchObject({
        reason: attempt.reason,
        message: expect.stringMatching(/; attempt \d+ begins at 2026-.*Z$/),
      });
      world.advance(1);
    }
    if (deployment.attempts.at(-1) === attempt) return pauses;
    expect(deployment).toMatchObject({ status: 'deploying', reason: 'waiting-for-instance' });
    pauses.push((world.nowMs - spoiltAtMs) / 1000);
  }
}
