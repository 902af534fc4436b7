import { describe, expect, it } from '@jest/globals';
import { active, deployed, HEALTH, order, purposes } from '../../../test/support/planner-steps.js';
import type { PlannerWorld, WorldAttempt, WorldDeployment } from '../../../test/support/planner-world.js';

const SPOT = { instance: { market: 'spot' } };

/** The second is active, and the first drains for ten minutes. */
function draining(definition: object = {}, stableSeconds = 5) {
  const { world, deployment: first } = active({ ...HEALTH, ...definition });
  const second = world.deploy({ ...HEALTH, ...definition, rollout: { drainSeconds: 600, stableSeconds } });
  world.run(stableSeconds + 1);
  expect([first.status, second.status]).toEqual(['draining', 'active']);
  return { world, first, second, old: first.attempts[0]!, fresh: second.attempts[0]! };
}

const serves = ({ status, attempts }: WorldDeployment) => [status, ...attempts.map(({ phase }) => phase)];

describe('a service that loses its new deployment while the old one drains', () => {
  it.each<[string, (world: PlannerWorld, old: WorldAttempt) => void]>([
    ['lost its instance at the same moment', (world, old) => world.lose(old)],
    ['fails its health check as well', (world, old) => world.probe(old, 'unhealthy')],
  ])('is healed, not handed back, where the old one %s', (_, spoil) => {
    const { world, first, second, old, fresh } = draining();
    spoil(world, old);
    world.lose(fresh);
    world.settle();
    expect(first.status).not.toBe('active');
    expect(second).toMatchObject({ status: 'active', reason: 'instance-terminated' });
    expect(serves(second)).toEqual(['active', 'ended', 'waiting']);
    expect(world).toMatchObject({ status: 'degraded', activeDeploymentId: second.id });
  });

  it('is healed where the container of the old one was told to stop already', () => {
    const { world, first, second, old, fresh } = draining();
    world.nowMs += 600_000;
    world.settle();
    expect([first.status, old.phase]).toEqual(['draining', 'stopping']);
    world.lose(fresh);
    world.settle();
    expect(serves(second)).toEqual(['active', 'ended', 'waiting']);
  });

  it('is handed back where one of two attempts of the old one serves, and EC2 takes the other back', () => {
    const { world, deployment: first } = active({ ...HEALTH, ...SPOT, rollout: { drainSeconds: 600 } });
    world.answer(order(first.attempts[0]!, 'watch-spot'), 200, '{"action":"terminate"}');
    world.run(12);
    const second = world.deploy({ ...HEALTH, rollout: { drainSeconds: 600 } });
    world.run(6);
    expect(serves(first)).toEqual(['draining', 'healthy', 'healthy']);
    world.lose(second.attempts[0]!);
    world.settle();
    expect([first.status, second.status, world.activeDeploymentId]).toEqual(['active', 'deploying', first.id]);
  });

  it('is handed back as soon as the old one has not crashed for a while, though nothing else happens', () => {
    const { world, deployment: first } = active(HEALTH);
    const [old] = first.attempts;
    for (let exits = 0; exits < 5; exits++) {
      world.answer(world.openOrder(old!, 'wait')!, 200, '{"StatusCode":1}');
      world.settle();
    }
    const crashedAt = world.nowMs;
    first.attempts[1]!.verdict = { reason: 'insufficient-capacity', message: 'none', at: world.now, isFinal: false };
    const second = world.deploy({ ...HEALTH, rollout: { drainSeconds: 600 } });
    world.run(6);
    expect([serves(first), serves(second)]).toEqual([
      ['draining', 'healthy', 'ended'],
      ['active', 'healthy'],
    ]);
    world.lose(second.attempts[0]!);
    world.settle();
    expect(serves(second)).toEqual(['active', 'ended', 'waiting']);
    while (world.nextPassAt && first.status !== 'active') {
      world.nowMs = world.nextPassAt.getTime();
      world.settle();
    }
    expect([first.status, second.status, world.nowMs - crashedAt]).toEqual(['active', 'deploying', 90_000]);
  });

  it('says of the new one that its predecessor serves until that has its next instance', () => {
    const { world, second, fresh } = draining();
    world.lose(fresh);
    world.settle();
    const said = { reason: 'predecessor-serves', message: 'it was lost while its predecessor still served' };
    world.advance(30);
    expect(serves(second)).toEqual(['deploying', 'ended', 'waiting']);
    expect(second).toMatchObject(said);
    const [, next] = second.attempts;
    next!.verdict = { reason: 'insufficient-capacity', message: 'none', at: world.now, isFinal: false };
    world.wake();
    world.settle();
    expect(second.reason).toBe('waiting-for-capacity');
    next!.verdict = null;
    world.assign(next!);
    world.settle();
    expect(second).toMatchObject({ reason: null, message: null });
  });

  it('ends what healed the new one, too, where the fault is its own', () => {
    const { world, first, second, old, fresh } = draining();
    world.probe(old, 'unhealthy');
    world.probe(fresh, 'unhealthy', 'HTTP 503');
    world.settle();
    expect(serves(second)).toEqual(['active', 'healthy', 'waiting']);
    expect(second).toMatchObject({
      reason: 'health-check-failed',
      message: expect.stringMatching(/answers GET \/ with HTTP 503; attempt 2 is waiting: an instance is on its way$/),
    });
    world.probe(old, 'healthy');
    world.settle();
    expect(first).toMatchObject({ status: 'active', reason: 'successor-lost' });
    expect(second).toMatchObject({
      status: 'failed',
      reason: 'health-check-failed',
      message: expect.stringMatching(/HTTP 503 \(while its predecessor drained\)$/),
    });
    expect(second.attempts).toMatchObject([
      { phase: 'stopping', reason: 'health-check-failed' },
      { phase: 'ended', reason: 'health-check-failed' },
    ]);
  });

  it('ends the old one at once when its instance is lost, and the new one serves', () => {
    const { world, first, old, fresh } = draining();
    world.lose(old);
    world.settle();
    expect(old).toMatchObject({ phase: 'ended', reason: 'instance-terminated' });
    expect(old.message).toMatch(/^instance i-1: /);
    expect([first.status, fresh.phase, world.status]).toEqual(['superseded', 'healthy', 'running']);
  });
});

describe('a service that is stopped or deleted while the old deployment drains', () => {
  it.each([
    ['stopped', 'stop-requested'],
    ['deleted', 'delete-requested'],
  ] as const)('is %s in all its deployments at once', (state, reason) => {
    const { world, first, second, old, fresh } = draining();
    world.desiredState = state;
    world.wake();
    world.settle();
    expect([old, fresh]).toMatchObject([
      { phase: 'stopping', reason },
      { phase: 'stopping', reason },
    ]);
    expect([world.status, world.activeDeploymentId]).toEqual([state === 'stopped' ? 'running' : 'deleting', null]);
    world.cooperate();
    // A successor had taken the place of the first before.
    expect([first.status, second.status]).toEqual(['superseded', 'stopped']);
  });

  it('has one stop of each container, and what is left of its grace', () => {
    const { world, old } = draining();
    world.nowMs += 600_000;
    world.settle();
    const { stoppingAt } = old;
    world.nowMs += 1_000;
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    expect(old).toMatchObject({ phase: 'stopping', stoppingAt, reason: 'superseded-by-newer' });
    expect(purposes(old).filter((purpose) => purpose === 'stop')).toHaveLength(1);
  });

  it.each(['queued', 'deploying'])('cancels the next one that is %s', (status) => {
    const { world } = draining();
    const third = world.deploy();
    if (status === 'deploying') world.settle();
    expect(third.status).toBe(status);
    world.desiredState = 'stopped';
    world.wake();
    world.run(60);
    expect(third).toMatchObject({ status: 'cancelled', reason: 'stop-requested' });
    expect(world.status).toBe('stopped');
  });
});

describe('the status of a job', () => {
  it('is deploying while a new deployment is on its way, and running again when that is cancelled', () => {
    const { world } = active();
    const second = world.deploy();
    world.settle();
    expect(world.status).toBe('deploying');
    second.cancelRequestedAt = world.now;
    world.wake();
    world.settle();
    expect(world.status).toBe('running');
  });

  it('is failed from when its latest deployment failed, also while the container of one before it still stops', () => {
    const { world, deployment: first, attempt } = deployed(HEALTH);
    const second = world.deploy();
    world.settle();
    const [verdict] = second.attempts;
    verdict!.verdict = { reason: 'subnet-not-found', message: '', at: world.now, isFinal: true };
    for (const phase of ['stopping', 'stopping', 'ended']) {
      world.wake();
      world.settle();
      expect([first.status, attempt.phase, second.status, world.status]).toEqual([
        'cancelled',
        phase,
        'failed',
        'failed',
      ]);
      world.nowMs += 30_000;
    }
  });

  it.each([0, 1, 2])(
    'is deleting until EC2 shows the last of %d instances terminated, with a look every 2 s',
    (count) => {
      const { world } = active();
      world.lingeringInstances = count;
      world.desiredState = 'deleted';
      world.wake();
      world.settle();
      expect([world.status, world.isGone]).toEqual(['deleting', false]);
      world.cooperate();
      expect(world.live()).toEqual([]);
      for (; world.lingeringInstances > 0; world.lingeringInstances -= 1) {
        expect(world.isGone).toBe(false);
        expect(world.nextPassAt).toEqual(new Date(world.nowMs + 2_000));
        world.advance(2);
      }
      if (count > 0) world.advance(2);
      expect(world).toMatchObject({ status: 'deleting', isGone: true, nextPassAt: null });
    },
  );

  it('is deleting while one attempt of a cancelled deployment still stops', () => {
    const { world, deployment } = active();
    const second = world.deploy(HEALTH);
    world.cooperate();
    world.desiredState = 'deleted';
    world.wake();
    world.settle();
    world.lose(deployment.attempts[0]!);
    world.settle();
    expect([deployment.status, second.status, second.attempts[0]!.phase]).toEqual(['stopped', 'cancelled', 'stopping']);
    expect(world.isGone).toBe(false);
    world.run(5);
    expect(world.isGone).toBe(true);
  });
});
