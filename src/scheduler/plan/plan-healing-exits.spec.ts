import { describe, expect, it } from '@jest/globals';
import { active, deployed, HEALTH, order, purposes } from '../../../test/support/planner-steps.js';
import type { PlannerWorld, WorldAttempt } from '../../../test/support/planner-world.js';

// Exits of a container that serves, what Docker says of it, and what follows.

const count = (attempt: WorldAttempt, purpose: string) => purposes(attempt).filter((one) => one === purpose).length;

/** Ends with these codes, a second between two; Docker starts it again. A negative one: its memory ran out. */
function exit(world: PlannerWorld, attempt: WorldAttempt, ...codes: number[]): void {
  for (const code of codes) {
    world.answer(order(attempt, 'wait'), 200, Number.isNaN(code) ? '{}' : `{"StatusCode":${Math.abs(code)}}`);
    world.settle();
    const look = world.openOrder(attempt, 'inspect-exit');
    if (look) world.answer(look, 200, JSON.stringify({ Id: 'c', State: { OOMKilled: code < 0 } }));
    world.settle();
    world.advance(1);
  }
}

/** 90 s after the last exit it is looked at. */
function findDown(world: PlannerWorld, attempt: WorldAttempt): void {
  world.advance(90);
  world.answer(order(attempt, 'inspect-container'), 200, '{"Id":"c","State":{"Running":false}}');
  world.settle();
}

const LIMIT = 'the container used more memory than there is for it: its limit is 64 MiB (memoryMiB)';
const WELL = 'the container ends by itself, with code 0';

describe('a container that serves and keeps exiting', () => {
  it.each<[string, number[], number[], string, string]>([
    [
      'with the code of its last exit',
      [],
      [1, 1, 1, 1, 3],
      'crash-looping',
      'the container keeps exiting: 5 exits in a row, the last one code 3',
    ],
    [
      'with no code, where Docker gave none',
      [],
      [1, 1, 1, 1, NaN],
      'crash-looping',
      'the container keeps exiting: 5 exits in a row, the last one ',
    ],
    [
      'by how it ends now, not long ago',
      [1],
      [0, 0, 0, 0, 0],
      'exits-at-once',
      `${WELL}: 5 exits in a row, the last one code 0`,
    ],
    [
      'by what ends it now, not long ago',
      [-137],
      [1, 1, 1, 1, 1],
      'crash-looping',
      'the container keeps exiting: 5 exits in a row, the last one code 1',
    ],
    [
      'by its memory, if that ran out at one of them',
      [],
      [1, 1, -137, 1, 1],
      'out-of-memory',
      `${LIMIT}; 5 exits in a row, the last one code 1`,
    ],
  ])('is described %s', (_, before, now, reason, message) => {
    const { world, deployment } = active({ memoryMiB: 64 });
    const attempt = deployment.attempts[0]!;
    exit(world, attempt, ...before);
    world.advance(200);
    exit(world, attempt, ...now.slice(0, -1));
    expect([world.status, deployment.reason]).toEqual(['running', null]);
    exit(world, attempt, ...now.slice(-1));
    expect(deployment).toMatchObject({
      reason,
      message: `${message}; attempt 2 is waiting: an instance is on its way`,
    });
    expect([world.status, attempt.phase]).toEqual(['degraded', 'healthy']);
  });

  it.each([
    [89_999, 'degraded'],
    [90_000, 'running'],
  ])('has calmed down %d ms after the last exit or is %s', (ms, status) => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    exit(world, attempt, 1, 1, 1, 1);
    world.answer(order(attempt, 'wait'));
    world.settle();
    world.nowMs += ms;
    world.wake();
    world.settle();
    expect(world.status).toBe(status);
  });
});

it('a container that calms down serves again 90 s after its last exit, also where Docker was away in between', () => {
  const { world, deployment } = active();
  const attempt = deployment.attempts[0]!;
  exit(world, attempt, 1, 1, 1, 1);
  world.answer(order(attempt, 'wait'));
  world.settle();
  const calmAtMs = world.nowMs + 90_000;
  expect(world.status).toBe('degraded');
  world.nowMs += 5_000;
  world.answer(order(attempt, 'wait'), 0, '');
  world.settle();
  while (world.nextPassAt!.getTime() <= calmAtMs) {
    expect(world.status).toBe('degraded');
    world.nowMs = world.nextPassAt!.getTime();
    world.settle();
  }
  expect([world.status, deployment.attempts[1]!.phase]).toEqual(['running', 'ended']);
});

describe('a container that served and is found down', () => {
  it.each<[string, number[], string, string]>([
    ['by its last exit', [0, 1], 'container-exited', 'the container exited: code 1'],
    ['as ended well, by its last exit', [1, 0], 'exits-at-once', `${WELL}: code 0`],
    ['without a code, where Docker gave none', [NaN], 'container-exited', 'the container exited'],
    ['by its memory, if that ran out last', [1, -137], 'out-of-memory', LIMIT],
    ['by its last exit, if memory ran out before', [-137, 2], 'container-exited', 'the container exited: code 2'],
  ])('is described %s, from then until a fresh instance serves', (_, codes, reason, message) => {
    const { world, deployment } = active({ memoryMiB: 64 });
    const attempt = deployment.attempts[0]!;
    exit(world, attempt, ...codes);
    findDown(world, attempt);
    expect(attempt).toMatchObject({ phase: 'stopping', reason, message });
    const shown = { reason, message: `${message}; attempt 2 is waiting: an instance is on its way` };
    expect(deployment).toMatchObject(shown);
    world.wake();
    world.settle();
    expect(deployment).toMatchObject(shown);
    world.answer(order(attempt, 'stop'));
    world.settle();
    world.answer(order(attempt, 'flush-logs'));
    world.settle();
    expect(attempt.phase).toBe('ended');
    expect(deployment).toMatchObject(shown);
  });

  it('is looked at after each exit, as a look before it shows nothing of it', () => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    for (const looks of [1, 2, 3]) {
      exit(world, attempt, 1);
      expect(count(attempt, 'inspect-container')).toBe(looks - 1);
      world.advance(89);
      expect(count(attempt, 'inspect-container')).toBe(looks);
      world.answer(order(attempt, 'inspect-container'));
      world.settle();
    }
    exit(world, attempt, 1);
    findDown(world, attempt);
    expect(world.status).toBe('degraded');
  });

  it('is looked at again when it exits in the very moment of a look', () => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    exit(world, attempt, 1);
    world.advance(89);
    expect(count(attempt, 'inspect-container')).toBe(1);
    world.answer(order(attempt, 'wait'));
    world.answer(order(attempt, 'inspect-container'), 200, '{"Id":"c","State":{"Running":false}}');
    world.settle();
    expect(world.status).toBe('running');
    findDown(world, attempt);
    expect([count(attempt, 'inspect-container'), world.status]).toEqual([2, 'degraded']);
  });

  it('that Docker was never told to keep up has ended with its first exit', () => {
    const { world, attempt } = deployed();
    world.run(6);
    world.advance(5);
    world.answer(order(attempt, 'restart-policy'), 500, '{"message":"no"}');
    world.nowMs += 1;
    world.answer(order(attempt, 'wait'));
    world.settle();
    expect(attempt).toMatchObject({ phase: 'stopping', reason: 'container-exited' });
  });
});

describe('the watch of a container that serves', () => {
  it('goes on without end: no time of an order ends it', () => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    const tenYears = 315_360_000;
    expect(order(attempt, 'wait').spec).toMatchObject({ mode: 'background', timeoutSeconds: tenYears });
    exit(world, attempt, 1);
    expect(order(attempt, 'wait').spec).toMatchObject({
      mode: 'background',
      timeoutSeconds: tenYears,
      path: expect.stringMatching(/next-exit$/),
    });
  });

  it('that Docker did not answer begins again ten seconds later, and nothing is started', () => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    const starts = count(attempt, 'start');
    world.answer(order(attempt, 'wait'), 0, '');
    world.settle();
    world.advance(9.999);
    expect(count(attempt, 'wait')).toBe(1);
    world.advance(0.001);
    expect([count(attempt, 'wait'), count(attempt, 'start')]).toEqual([2, starts]);
    expect(world.status).toBe('running');
  });

  it.each([
    ['three times in a row, also after an exit', [200, 0, 0, 0], true],
    ['four times in a row', [0, 0, 0, 0], true],
    ['twice', [0, 0], false],
    ['twice, then an exit, then twice', [0, 0, 200, 0, 0], false],
  ])('that Docker does not answer %s: the instance is given up if it is three', (_, statuses, isGivenUp) => {
    const { world, deployment } = active();
    const attempt = deployment.attempts[0]!;
    for (const status of statuses) {
      const wait = world.openOrder(attempt, 'wait');
      world.answer(wait!, status, status === 200 ? '{"StatusCode":1}' : '');
      world.settle();
      world.advance(10);
    }
    expect(world.status).toBe(isGivenUp ? 'degraded' : 'running');
    expect(deployment.message).toBe(
      isGivenUp ? 'Docker on the instance did not answer; attempt 2 is waiting: an instance is on its way' : null,
    );
  });

  it('that fails its health check says what the agent saw', () => {
    const { world, deployment } = active(HEALTH);
    world.probe(deployment.attempts[0]!, 'unhealthy', 'HTTP 502');
    world.settle();
    expect(deployment).toMatchObject({ reason: 'health-check-failed' });
    expect(deployment.message).toMatch(/ answers GET \/ with HTTP 502; attempt 2 is waiting: /);
  });

  it('begins with the pass that makes it active, and each of its orders is given once', () => {
    const { world, deployment } = deployed({ rollout: { stableSeconds: 0 } });
    const attempt = deployment.attempts[0]!;
    // The answer to its start comes late: logs, restart policy and the rest are ordered by one pass.
    attempt.orders = attempt.orders.filter(({ purpose }) => purpose !== 'follow-logs');
    world.nowMs += 60_000;
    world.settle();
    expect(deployment.status).toBe('active');
    const given = purposes(attempt);
    expect(given.slice(-3)).toEqual(['follow-logs', 'restart-policy', 'dead-man']);
    expect(given.filter((one) => one !== 'dead-man')).toEqual([...new Set(given)].filter((one) => one !== 'dead-man'));
    expect(attempt.orders.map(({ number }) => number).slice(-3)).toEqual([7, 8, 9]);
  });
});
