import { describe, expect, it } from '@jest/globals';
import { order, prepare, purposes } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt, type WorldDeployment } from '../../../test/support/planner-world.js';

function pulling(definition: object = {}, image = 'web:1') {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition, image);
  world.settle();
  const attempt = deployment.attempts[0]!;
  world.assign(attempt);
  world.settle();
  return { world, deployment, attempt };
}

const BUSY = 'received unexpected HTTP status: 503 Service Unavailable';
const errorOf = (message: string) => `${JSON.stringify({ errorDetail: { message }, error: message })}\n`;

/** Answers each pull like that, until there is none any more. @returns the seconds between them */
function pauses(world: PlannerWorld, attempt: WorldAttempt, status: number, body: string, most = 30): number[] {
  const found: number[] = [];
  const pulls = () => purposes(attempt).filter((purpose) => purpose === 'pull').length;
  while (found.length < most) {
    const before = pulls();
    world.answer(order(attempt, 'pull'), status, body);
    const { nowMs } = world;
    world.settle();
    while (pulls() === before && attempt.phase !== 'ended') {
      world.nowMs = Math.max(world.nowMs, world.nextPassAt!.getTime());
      world.settle();
    }
    if (attempt.phase === 'ended') return found;
    found.push((world.nowMs - nowMs) / 1000);
  }
  return found;
}

describe('a pull that fails', () => {
  it.each<[string, number, string, number[]]>([
    ['for Docker’s own reason is made three times', 200, errorOf('no space left on device'), [2, 4]],
    ['as the name does not resolve is made five times', 200, errorOf('lookup no.example: no such host'), [2, 4, 8, 16]],
    ['as the image does not exist is made once', 404, '{"message":"manifest unknown"}', []],
    ['with nothing but Docker’s status is made three times', 500, '', [2, 4]],
    ['with nothing but a 404 is made once', 404, '', []],
    ['without an answer is made three times, at once', 0, '', [0, 0]],
  ])('%s', (_, status, body, expected) => {
    const { world, attempt } = pulling();
    expect(pauses(world, attempt, status, body)).toEqual(expected);
  });

  it('as the registry is busy is made with growing pauses, of a minute at most, until the deadline', () => {
    const { world, deployment, attempt } = pulling({ rollout: { deadlineSeconds: 300 } });
    expect(pauses(world, attempt, 200, errorOf(BUSY))).toEqual([2, 4, 8, 16, 32, 60, 60, 60]);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'registry-busy' });
    // 242 s: the next one would be later than the deadline.
    expect(deployment.message).toBe(`web:1: ${BUSY} (9 tries)`);
    expect(world.nowMs - deployment.createdAt.getTime()).toBe(242_000);
  });

  it.each([
    [63, 'again'],
    [62, 'failed'],
  ])('is not made again at the very deadline: with %d s in all it is %s after 30', (deadlineSeconds, outcome) => {
    const { world, deployment, attempt } = pulling({ rollout: { deadlineSeconds } });
    const found = pauses(world, attempt, 200, errorOf(BUSY), 4);
    expect(found).toEqual([2, 4, 8, 16]);
    world.answer(order(attempt, 'pull'), 200, errorOf(BUSY));
    world.settle();
    expect(deployment.status).toBe(outcome === 'again' ? 'deploying' : 'failed');
  });

  it('waits for as long as the registry says, where that is longer', () => {
    const { world, attempt } = pulling();
    expect(pauses(world, attempt, 200, errorOf(`toomanyrequests: retry-after: 30s`), 5)).toEqual([30, 30, 30, 30, 32]);
  });

  it('says meanwhile what the registry answered, and when it goes on', () => {
    const { world, deployment, attempt } = pulling();
    world.nowMs += 7_000;
    world.answer(order(attempt, 'pull'), 200, errorOf(BUSY));
    world.settle();
    expect(deployment).toMatchObject({
      status: 'deploying',
      reason: 'registry-busy',
      message: `web:1: ${BUSY}; the next pull is at 2026-01-01T00:00:09.000Z`,
    });
    world.advance(2);
    world.settle();
    world.answer(order(attempt, 'pull'));
    world.settle();
    expect(deployment).toMatchObject({ reason: null, message: null });
    expect(purposes(attempt).at(-1)).toBe('inspect-image');
  });

  it('of an attempt that heals is made again until the attempt has had its time', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ rollout: { deadlineSeconds: 60 } });
    world.run(60);
    world.lose(deployment.attempts[0]!);
    world.settle();
    const healing = deployment.attempts[1]!;
    world.nowMs += 1_000_000;
    world.assign(healing);
    world.settle();
    expect(pauses(world, healing, 200, errorOf(BUSY))).toEqual([2, 4, 8, 16]);
    expect(healing).toMatchObject({ phase: 'ended', reason: 'registry-busy' });
    expect(deployment.status).toBe('active');
  });

  it('counts its tries, where there were two or more', () => {
    const { world, deployment, attempt } = pulling();
    world.answer(order(attempt, 'pull'), 200, errorOf(BUSY));
    world.settle();
    world.advance(2);
    world.answer(order(attempt, 'pull'), 404, '{"message":"manifest unknown"}');
    world.settle();
    expect(deployment).toMatchObject({ reason: 'image-not-found', message: 'web:1: manifest unknown (2 tries)' });
  });

  it.each([
    ['once says nothing of tries', 'manifest unknown', 'web:1: manifest unknown'],
    [
      'for want of a login says where to store one',
      'no basic auth credentials',
      /^registry\.example:5000\/a\/b:1: .*\. PUT \/v1\/registries\/registry\.example:5000 stores a login for it$/,
    ],
  ])('%s', (_, text, message) => {
    const { world, deployment, attempt } = pulling(
      {},
      typeof message === 'string' ? 'web:1' : 'registry.example:5000/a/b:1',
    );
    world.answer(order(attempt, 'pull'), 500, JSON.stringify({ message: text }));
    world.settle();
    expect(deployment.status).toBe('failed');
    expect(deployment.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
  });
});

describe('Docker that does not answer', () => {
  const words = 'Docker on the instance did not answer';
  it.each<[string, string | null, string]>([
    ['pull', null, `${words} (pull: no answer)`],
    ['pull', 'dial unix: no such file', `${words} (pull: dial unix: no such file)`],
    ['inspect-image', null, `${words} (inspect-image: no answer)`],
    ['create', null, `${words} (create: no answer)`],
    ['start', null, `${words} (start: no answer)`],
  ])('to a %s costs the instance, and the attempt says what was seen: %s', (purpose, error, message) => {
    const { world, deployment, attempt } = pulling();
    prepareUntil(world, attempt, purpose);
    for (let tries = 0; tries < (purpose === 'pull' ? 3 : 1); tries++) {
      const failed = order(attempt, purpose);
      world.answer(failed, 0, '');
      failed.error = error;
      world.settle();
    }
    expect(attempt).toMatchObject({ phase: 'ended', reason: 'docker-unavailable', message, counted: true });
    expectFresh(deployment);
  });

  it.each([
    ['with words of its own', '{"message":"no space left"}', 'no space left'],
    ['with nothing else', '', 'Docker answered 500'],
  ])('to the look at its image but with an error, %s, costs the instance as well', (_, body, detail) => {
    const { world, deployment, attempt } = pulling();
    prepareUntil(world, attempt, 'inspect-image');
    world.answer(order(attempt, 'inspect-image'), 500, body);
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', message: `${words} (inspect-image: ${detail})` });
    expectFresh(deployment);
  });

  function prepareUntil(world: PlannerWorld, attempt: WorldAttempt, purpose: string): void {
    if (purpose === 'inspect-image') {
      world.answer(order(attempt, 'pull'));
      world.settle();
    } else if (purpose !== 'pull') prepare(world, attempt);
    if (purpose === 'start') world.answer(order(attempt, 'create'));
  }

  function expectFresh(deployment: WorldDeployment): void {
    expect(deployment).toMatchObject({
      status: 'deploying',
      attempts: [{ number: 1 }, { number: 2, phase: 'waiting' }],
    });
  }
});
