import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.js';
import { active, deployed, HEALTH, order, purposes } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.js';
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

describe('the attempts in a row that a pause counts', () => {
  it.each([
    [900, 4, 40],
    [901, 2, 10],
  ])('begin anew behind %d s in which none ended: of two and two it counts %d', (seconds, count, pause) => {
    const recent = ended(2, 'container-exited').map((one) => ({ ...one, number: one.number + 2 }));
    const old = ended(2, 'container-exited').map((one) => {
      const endedAt = new Date(one.endedAt!.getTime() - (seconds + 60) * 1000);
      return { ...one, endedAt, healthyAt: null };
    });
    expect(pauseAfter([...old, ...recent])).toBe(pause);
    expect(pauseAfter(ended(count, 'container-exited'))).toBe(pause);
  });

  it('reach back over many that were never healthy, and the pause is never longer than five minutes', () => {
    const tries = ended(21, 'agent-unresponsive').map((one) => ({ ...one, healthyAt: null }));
    expect(pauseAfter(tries)).toBe(300);
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

describe('an active service', () => {
  it('whose container calms down again is running as it was, and the fresh instance is not needed', () => {
    const { world, deployment } = active(HEALTH);
    const [first] = deployment.attempts;
    // Docker's pauses have grown to a minute: it is not calm yet.
    for (let exits = 0; exits < 8; exits++) {
      world.answer(order(first!, 'wait'));
      world.settle();
      world.advance(61);
      world.settle();
      expect([exits, world.status]).toEqual([exits, exits < 4 ? 'running' : 'degraded']);
    }
    world.advance(30);
    expect(world.status).toBe('running');
    expect(first).toMatchObject({ phase: 'healthy' });
    expect(deployment.attempts.slice(1)).toMatchObject([{ phase: 'ended', reason: 'not-needed' }]);
    note(world);
  });

  it('that keeps crashing on every instance is moved with growing pauses, and says when', () => {
    const { world, deployment } = active(HEALTH);
    const beganAt: number[] = [];
    for (let moves = 0; moves < 7; moves++) {
      const attempt = deployment.attempts.at(-1)!;
      for (let exits = 0; exits < 5; exits++) {
        world.answer(order(attempt, 'wait'));
        world.settle();
      }
      expect(world.status).toBe('degraded');
      while (deployment.attempts.at(-1) === attempt) {
        expect(deployment.message).toMatch(/attempt \d begins at 2026-.*Z$/);
        // As it would: it goes on exiting.
        world.answer(order(attempt, 'wait'));
        world.advance(5);
        world.settle();
      }
      beganAt.push(world.nowMs / 1000);
      world.run(5);
      expect(world.status).toBe('running');
    }
    const pauses = beganAt.slice(1).map((at, index) => at - (beganAt[index] ?? 0));
    expect(pauses).toEqual([15, 25, 45, 85, 165, 305]);
  });

  it('whose fresh instance fails while the ailing one still runs waits longer each time, too', () => {
    const { world, deployment } = active(HEALTH);
    world.nowMs += 3_600_000;
    world.probe(deployment.attempts[0]!, 'unhealthy');
    const pauses: number[] = [];
    for (let failures = 0; failures < 4; failures++) {
      const before = world.nowMs;
      world.settle();
      while (deployment.attempts.at(-1)!.phase === 'ended' || deployment.attempts.length === 1) world.advance(1);
      pauses.push((world.nowMs - before) / 1000);
      world.assign(deployment.attempts.at(-1)!);
      world.lose(deployment.attempts.at(-1)!);
    }
    expect(pauses).toEqual([0, 10, 20, 40]);
    expect(deployment.attempts[0]).toMatchObject({ phase: 'healthy' });
  });

  it('whose earlier trouble is long over is healed at once', () => {
    const { world, deployment } = active();
    for (let failures = 0; failures < 3; failures++) {
      world.nowMs += 1_000_000;
      world.lose(deployment.attempts.at(-1)!);
      world.settle();
      expect(deployment.attempts).toHaveLength(failures + 2);
      world.run(30);
    }
  });

  it('on spot instances that have their notice as soon as they serve is moved with growing pauses, and says when', () => {
    const { world, deployment } = deployed({ instance: { market: 'spot' } });
    const notice = (attempt: WorldAttempt) => {
      world.answer(order(attempt, 'watch-spot'), 200, '{"action":"terminate"}');
      world.settle();
      return world.nowMs;
    };
    const pauses: number[] = [];
    const endings: { attempt: WorldAttempt; atMs: number }[] = [];
    for (let notices = 0; notices < 8; notices++) {
      const attempt = deployment.attempts.at(-1)!;
      world.run(10);
      expect([world.status, attempt.phase]).toEqual(['running', 'healthy']);
      // Within the drainSeconds of the one before it.
      const noticedAtMs = notice(attempt);
      endings.push({ attempt, atMs: noticedAtMs + 120_000 });
      while (deployment.attempts.at(-1) === attempt) {
        expect(deployment).toMatchObject({
          status: 'active',
          reason: attempt.phase === 'healthy' ? 'spot-interrupted' : 'instance-terminated',
          message: expect.stringMatching(/; attempt \d begins at 2026-.*Z$/),
        });
        world.advance(1);
        for (const ending of endings.filter(({ atMs }) => atMs === world.nowMs)) world.lose(ending.attempt);
        world.settle();
      }
      pauses.push((world.nowMs - noticedAtMs) / 1000);
    }
    expect(pauses).toEqual([0, 10, 20, 40, 80, 160, 300, 300]);
    // Hours later it is as if nothing had been.
    world.run(3 * 3600);
    notice(deployment.attempts.at(-1)!);
    expect(deployment.attempts.at(-1)).toMatchObject({ phase: 'waiting' });
  });

  it('whose container ends well on one fresh instance after the other is no service: it pauses, and says so', () => {
    const { world, deployment } = active(HEALTH);
    const pauses: number[] = [];
    for (let instances = 0; instances < 8; instances++) {
      const attempt = deployment.attempts.at(-1)!;
      const count = deployment.attempts.length;
      for (let exits = 0; exits < 5; exits++) {
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":0}');
        world.settle();
        world.advance(1);
      }
      const since = world.nowMs;
      // Docker goes on starting it again meanwhile.
      for (let left = 200; deployment.attempts.length === count && left > 0; left--) {
        world.advance(5);
        const wait = world.openOrder(attempt, 'wait');
        if (wait && left % 6 === 0) world.answer(wait, 200, '{"StatusCode":0}');
        world.settle();
      }
      pauses.push((world.nowMs - since) / 1000);
      note(world);
      if (instances === 6) {
        expect(deployment).toMatchObject({
          status: 'active',
          reason: 'exits-at-once',
          message: expect.stringContaining('it looks like a task'),
        });
      }
      // It starts, is stable, and the one before is retired.
      world.run(30);
      expect(deployment.attempts.at(-2)).toMatchObject({ phase: 'ended', reason: 'exits-at-once' });
      expect(deployment).toMatchObject({ status: 'active', reason: null });
    }
    expect(Math.max(...pauses.slice(0, 5))).toBeLessThan(170);
    // The pause is counted from when the last of them was retired.
    for (const pause of pauses.slice(6)) expect(pause).toBeGreaterThan(250);
  });

  it('whose container ends with an error on one fresh instance after the other is said to be looping', () => {
    const { world, deployment } = active(HEALTH);
    for (let instances = 0; instances < 7; instances++) {
      const attempt = deployment.attempts.at(-1)!;
      const count = deployment.attempts.length;
      for (let exits = 0; exits < 5; exits++) {
        world.answer(order(attempt, 'wait'), 200, `{"StatusCode":${exits === 2 ? 1 : 0}}`);
        world.settle();
        world.advance(1);
      }
      expect(deployment.reason).toBe('crash-looping');
      for (let left = 200; deployment.attempts.length === count && left > 0; left--) world.advance(5);
      world.run(30);
    }
  });

  it('whose attempts keep failing is retried with growing pauses and never given up', () => {
    const { world, deployment } = active();
    const pauses: number[] = [];
    for (let failures = 0; failures < 8; failures++) {
      const attempt = deployment.attempts.at(-1)!;
      if (!attempt.instance) world.assign(attempt);
      world.lose(attempt);
      const lostAtMs = world.nowMs;
      world.settle();
      while (deployment.attempts.at(-1)!.phase === 'ended') world.advance(1);
      pauses.push((world.nowMs - lostAtMs) / 1000);
    }
    expect(pauses).toEqual([0, 10, 20, 40, 80, 160, 300, 300]);
    expect(deployment.status).toBe('active');
  });

  it('whose exit is told only after Docker keeps it up may have exited before that: it is started again', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    world.advance(5);
    expect(deployment.status).toBe('active');
    // Both while the agent could not reach us; of the answers the later one is of the earlier event.
    world.answer(order(attempt, 'restart-policy'));
    world.nowMs += 5_000;
    world.answer(order(attempt, 'wait'));
    world.settle();
    expect(purposes(attempt).slice(-2)).toEqual(['start', 'wait']);
    world.answer(order(attempt, 'start'), 304);
    world.settle();
    expect([world.status, deployment.attempts.length]).toEqual(['running', 1]);
    // From then on Docker starts it, not the API.
    world.answer(order(attempt, 'wait'));
    world.settle();
    expect(purposes(attempt).slice(-2)).toEqual(['wait', 'wait']);
  });

  it('whose container Docker cannot start again moves to a fresh instance', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    world.advance(5);
    world.answer(order(attempt, 'restart-policy'));
    world.nowMs += 5_000;
    world.answer(order(attempt, 'wait'));
    world.settle();
    world.answer(order(attempt, 'start'), 500, '{"message":"no"}');
    world.settle();
    expect(world.status).toBe('degraded');
    world.run(60);
    expect([world.status, deployment.attempts.length]).toEqual(['running', 2]);
  });

  it('whose container ran out of memory, and that Docker cannot start again, says so', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    world.advance(5);
    world.answer(order(attempt, 'restart-policy'));
    world.nowMs += 5_000;
    world.answer(order(attempt, 'wait'), 200, '{"StatusCode":137}');
    world.settle();
    world.answer(order(attempt, 'inspect-exit'), 200, '{"Id":"c","State":{"OOMKilled":true}}');
    world.settle();
    world.answer(order(attempt, 'start'), 500, '{"message":"no"}');
    world.settle();
    expect(deployment).toMatchObject({ status: 'active', reason: 'out-of-memory' });
  });

  it('that calms down at the very moment of its pass does not wake itself without end', () => {
    const { world, deployment } = active(HEALTH);
    for (let exits = 0; exits < 5; exits++) {
      world.answer(order(deployment.attempts[0]!, 'wait'));
      world.settle();
    }
    expect(world.status).toBe('degraded');
    world.nowMs += 90_000;
    world.settle(3);
    expect(world.status).toBe('running');
  });
});

itShowsItsReasons('plan-healing');
