import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.js';
import { deployed, HEALTH, order, prepare, start } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.js';

describe('a deployment fails by a cause of the user', () => {
  const cases: [string, string, (world: PlannerWorld, attempt: WorldAttempt) => void, object][] = [
    [
      'its image does not exist',
      'image-not-found',
      (world, attempt) =>
        world.answer(
          order(attempt, 'pull'),
          404,
          '{"message":"pull access denied for nope, repository does not exist"}',
        ),
      { failedPhase: 'pulling', retryable: false },
    ],
    [
      'the registry wants a login',
      'image-unauthorized',
      (world, attempt) =>
        world.answer(
          order(attempt, 'pull'),
          200,
          '{"errorDetail":{"message":"unauthorized: authentication required"},"error":"unauthorized: authentication required"}\n',
        ),
      {
        failedPhase: 'pulling',
        message: expect.stringMatching(/PUT \/v1\/registries\/docker\.io stores a login for it$/),
      },
    ],
    [
      'the registry wants a login, before there is any progress',
      'image-unauthorized',
      (world, attempt) =>
        world.answer(
          order(attempt, 'pull'),
          500,
          '{"message":"Head \\"http://private/v2/app/manifests/1\\": no basic auth credentials"}\n',
        ),
      { failedPhase: 'pulling' },
    ],
    [
      'the pull fails three times',
      'image-pull-failed',
      (world, attempt) => failPulls(world, attempt, 'write /var/lib/docker/tmp: no space left on device', 3),
      { failedPhase: 'pulling', retryable: true, message: expect.stringContaining('(3 tries)') },
    ],
    [
      'its registry is none',
      'registry-unreachable',
      (world, attempt) =>
        failPulls(world, attempt, 'Get "https://ngnix.example/v2/": dial tcp: lookup ngnix.example: no such host', 5),
      { failedPhase: 'pulling', message: expect.stringContaining('no such host') },
    ],
    [
      'the registry is busy until its deadline',
      'registry-busy',
      (world, attempt) => {
        const tries = failPulls(world, attempt, 'received unexpected HTTP status: 503 Service Unavailable', 100);
        // 2, 4, 8 … 60 seconds apart, 900 in all.
        expect(tries).toBeGreaterThan(15);
        expect(tries).toBeLessThan(25);
        expect(world.nowMs - Date.parse('2026-01-01T00:00:00Z')).toBeGreaterThan(800_000);
      },
      { failedPhase: 'pulling', retryable: true },
    ],
    [
      'Docker refuses to create the container',
      'container-create-failed',
      (world, attempt) => {
        prepare(world, attempt);
        world.answer(order(attempt, 'create'), 400, '{"message":"invalid reference"}');
      },
      { failedPhase: 'starting', message: 'invalid reference' },
    ],
    [
      'Docker cannot start the container',
      'container-start-failed',
      (world, attempt) => {
        prepare(world, attempt);
        world.answer(order(attempt, 'create'));
        world.answer(
          order(attempt, 'start'),
          400,
          '{"message":"exec: \\"nope\\": executable file not found in $PATH"}',
        );
      },
      { failedPhase: 'starting', message: expect.stringContaining('executable file not found') },
    ],
    [
      'the container exits, with its code and last lines',
      'container-exited',
      (world, attempt) => {
        start(world, attempt);
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":3}');
        world.settle();
        world.answer(order(attempt, 'logs'), 200, frame('2026-01-01T00:00:00Z no config\n'));
        world.answer(order(attempt, 'inspect-exit'));
      },
      { failedPhase: 'starting', exitCode: 3, lastLogLines: [expect.objectContaining({ line: 'no config' })] },
    ],
    [
      'the container exits and Docker gives no logs in time',
      'container-exited',
      (world, attempt) => {
        start(world, attempt);
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":3}');
        world.settle();
        world.advance(10);
      },
      { exitCode: 3, lastLogLines: null },
    ],
    [
      'the container exits with 137 by itself',
      'container-exited',
      (world, attempt) => {
        start(world, attempt);
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":137}');
        world.settle();
        world.answer(order(attempt, 'logs'));
        world.answer(order(attempt, 'inspect-exit'), 200, '{"Id":"c","State":{"OOMKilled":false}}');
      },
      { exitCode: 137, message: 'the container exited with code 137' },
    ],
    [
      'the container runs out of memory, with its limit and last lines',
      'out-of-memory',
      (world, attempt) => {
        world.deployments[0]!.definition = { ...world.deployments[0]!.definition, memoryMiB: 256 };
        start(world, attempt);
        // A shell or a server may exit with a code of its own when its child is killed.
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":1}');
        world.settle();
        world.answer(order(attempt, 'inspect-exit'), 200, '{"Id":"c","State":{"OOMKilled":true}}');
        world.settle();
        world.answer(order(attempt, 'logs'), 200, frame('2026-01-01T00:00:00Z big\n'));
      },
      {
        exitCode: 1,
        message: expect.stringContaining('its limit is 256 MiB (memoryMiB)'),
        lastLogLines: [expect.objectContaining({ line: 'big' })],
      },
    ],
    [
      'the container runs out of memory, and Docker’s last word of it does not come',
      'container-exited',
      (world, attempt) => {
        start(world, attempt);
        world.answer(order(attempt, 'wait'), 200, '{"StatusCode":137}');
        world.settle();
        world.answer(order(attempt, 'logs'));
        world.settle();
        world.advance(10);
      },
      { exitCode: 137 },
    ],
    [
      'the health check never passes',
      'health-check-failed',
      (world, attempt) => {
        start(world, attempt);
        world.probe(attempt, 'unhealthy', 'HTTP 500');
        world.settle();
        world.answer(order(attempt, 'logs'), 200, frame('2026-01-01T00:00:00Z oops\n'));
      },
      { failedPhase: 'starting', message: expect.stringMatching(/port \d+ .*answers GET \/\S* with HTTP 500$/) },
    ],
    [
      'EC2 refuses what the job asks for',
      'launch-refused',
      (world, attempt) => {
        attempt.verdict = { reason: 'subnet-not-found', message: 'no such subnet', at: world.now, isFinal: true };
        world.wake();
      },
      { failedPhase: 'waiting', message: 'subnet-not-found: no such subnet' },
    ],
  ];
  it.each(cases)('when %s', (_, reason, cause, expected) => {
    const world = new PlannerWorld();
    const deployment = world.deploy(HEALTH);
    world.settle();
    const attempt = deployment.attempts[0]!;
    if (reason !== 'launch-refused') {
      world.assign(attempt);
      world.settle();
    }
    cause(world, attempt);
    world.settle();
    expect(deployment).toMatchObject({ status: 'failed', reason, ...expected });
    expect(world.status).toBe('failed');
    world.run(60);
    expect(attempt.phase).toBe('ended');
    expect(deployment.attempts).toHaveLength(1);
    note(world);
  });

  it('when Docker says late that it never created the container, and the attempt already counted as healthy', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    expect(attempt.phase).toBe('healthy');
    world.answer(order(attempt, 'create'), 500, '{"message":"no space left on device"}');
    world.settle();
    expect(deployment).toMatchObject({ status: 'failed', reason: 'container-create-failed', failedPhase: 'healthy' });
  });

  it('when EC2 has no capacity for longer than it is willing to wait', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ onCapacity: { waitSeconds: 60 } });
    world.settle();
    deployment.attempts[0]!.verdict = {
      reason: 'insufficient-capacity',
      message: 'none',
      at: world.now,
      isFinal: false,
    };
    world.wake();
    world.settle();
    expect(deployment).toMatchObject({ status: 'deploying', reason: 'waiting-for-capacity' });
    note(world);
    world.run(61);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'capacity-unavailable', retryable: true });
    note(world);
  });

  it('at once when it does not want to wait for capacity, but not because EC2 is busy', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ onCapacity: 'fail' });
    world.settle();
    const verdict = (reason: string, isFinal = false) => {
      deployment.attempts[0]!.verdict = { reason, message: '', at: world.now, isFinal };
      world.wake();
      world.settle();
    };
    verdict('ec2-throttled');
    expect(deployment).toMatchObject({ status: 'deploying', reason: 'waiting-for-capacity' });
    verdict('insufficient-capacity');
    expect(deployment).toMatchObject({ status: 'failed', reason: 'capacity-unavailable' });
  });

  it('but not by a final verdict that is older than its attempt', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    const [attempt] = deployment.attempts;
    const at = new Date(attempt!.createdAt.getTime() - 1);
    attempt!.verdict = { reason: 'subnet-not-found', message: '', at, isFinal: true };
    world.wake();
    world.settle();
    expect(deployment.status).toBe('deploying');
  });

  it('when a pull takes longer than its phase may last', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ rollout: { deadlineSeconds: 7200 } });
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    order(attempt, 'pull').takenAt = world.now;
    world.wake();
    world.settle();
    expect(attempt.phase).toBe('pulling');
    world.advance(1800);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'pull-timed-out' });
    note(world);
  });

  it('when its deadline passes, with the last lines of what was started', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ ...HEALTH, rollout: { deadlineSeconds: 30 } });
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    start(world, attempt);
    world.advance(31);
    world.answer(order(attempt, 'logs'), 200, frame('2026-01-01T00:00:00Z still warming up\n'));
    world.settle();
    expect(deployment).toMatchObject({ status: 'failed', reason: 'deadline-exceeded', failedPhase: 'starting' });
    expect(deployment.lastLogLines).toHaveLength(1);
    expect(attempt.phase).toBe('stopping');
    note(world);
  });
});

describe('an attempt is lost by a cause of the infrastructure', () => {
  const cases: [string, string, (world: PlannerWorld, attempt: WorldAttempt) => void][] = [
    ['the instance is terminated', 'instance-terminated', (world, attempt) => world.lose(attempt)],
    ['the instance is stopped', 'instance-stopped', (world, attempt) => world.lose(attempt, 'stopped')],
    ['the instance is gone', 'instance-gone', (world, attempt) => world.lose(attempt, 'gone')],
    [
      'nobody hears of the instance',
      'instance-unreachable',
      (world, attempt) => {
        attempt.instance!.unreachableAt = world.now;
        world.wake();
      },
    ],
    [
      'EC2 takes the spot instance back',
      'spot-interrupted',
      (world, attempt) => world.answer(order(attempt, 'watch-spot'), 200, '{"action":"terminate"}'),
    ],
    [
      'Docker does not answer',
      'docker-unavailable',
      (world, attempt) => {
        for (let tries = 0; tries < 3; tries++) {
          world.answer(order(attempt, 'pull'), 0, '');
          world.settle();
        }
      },
    ],
  ];
  it.each(cases)('%s: a fresh instance is tried', (_, reason, cause) => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ instance: { market: 'spot' } });
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    cause(world, attempt);
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', reason, counted: true });
    expect(deployment.attempts[1]).toMatchObject({ number: 2, phase: 'waiting' });
    expect(deployment.status).toBe('deploying');
    note(world);
    world.run(30);
    expect(deployment.status).toBe('active');
  });

  it('an agent that takes no order in 15 s costs nothing', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    world.assign(deployment.attempts[0]!);
    world.settle();
    world.advance(15);
    expect(deployment.attempts[0]).toMatchObject({ phase: 'ended', reason: 'agent-unresponsive', counted: false });
    expect(deployment.attempts[1]).toMatchObject({ phase: 'waiting' });
    note(world);
  });

  it('an agent that our own outage kept from its first order has 25 s to come back', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    world.assign(deployment.attempts[0]!);
    world.settle();
    world.advance(60);
    const other = new PlannerWorld();
    const kept = other.deploy();
    other.settle();
    other.assign(kept.attempts[0]!);
    other.settle();
    other.nowMs += 60_000;
    other.listeningSince = other.now;
    other.settle();
    expect([deployment, kept].map(({ attempts: [first] }) => first!.phase)).toEqual(['ended', 'assigned']);
    other.advance(39);
    expect(kept.attempts[0]!.phase).toBe('assigned');
    other.advance(1);
    expect(kept.attempts[0]).toMatchObject({ phase: 'ended', reason: 'agent-unresponsive' });
  });

  it('a stop that our own outage kept from the agent has its whole grace', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ rollout: { stopGraceSeconds: 10 } });
    world.run(60);
    expect(deployment.status).toBe('active');
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    expect(deployment.attempts[0]!.phase).toBe('stopping');
    world.nowMs += 60_000;
    world.listeningSince = world.now;
    world.settle();
    world.advance(64);
    expect(deployment.attempts[0]!.phase).toBe('stopping');
    world.advance(1);
    expect(deployment.attempts[0]!.phase).toBe('ended');
  });

  it('a pass of ours that comes late is not blamed on the agent', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.nowMs += 20_000;
    world.settle();
    world.answer(order(attempt, 'dead-man'));
    world.settle();
    expect(attempt.phase).toBe('pulling');
    world.run(30);
    expect(deployment).toMatchObject({ status: 'active', attempts: [{ number: 1 }] });
  });

  it('a verdict that wakes nobody is seen within 30 s', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ onCapacity: 'fail' });
    world.settle();
    world.wake();
    world.settle();
    deployment.attempts[0]!.verdict = { reason: 'insufficient-capacity', message: '', at: world.now, isFinal: false };
    world.advance(30);
    expect(deployment.status).toBe('failed');
  });
});

it('a container says on its labels whose it is, by the names that people know', () => {
  const { world, attempt } = deployed();
  start(world, attempt);
  expect(order(attempt, 'create').spec).toMatchObject({
    body: {
      Labels: {
        'scheduler.cluster': 'test',
        'scheduler.job': 'web',
        'scheduler.deployment': '1',
        'scheduler.deployment-id': 'd1',
        'scheduler.attempt': '1',
      },
    },
  });
});

itShowsItsReasons('plan-attempt');

/** @returns how often it was tried */
function failPulls(world: PlannerWorld, attempt: WorldAttempt, message: string, most: number): number {
  for (let tries = 1; tries <= most; tries++) {
    world.answer(order(attempt, 'pull'), 200, `${JSON.stringify({ errorDetail: { message }, error: message })}\n`);
    world.settle();
    const before = attempt.orders.length;
    for (let left = 50; attempt.orders.length === before && attempt.phase !== 'ended' && world.nextPassAt; left--) {
      if (left === 0)
        throw new Error(`nothing happens after try ${tries}: ${JSON.stringify(world.deployments.at(-1)?.message)}`);
      world.advance(Math.max(0, (world.nextPassAt.getTime() - world.nowMs) / 1000));
    }
    if (attempt.phase === 'ended') return tries;
  }
  throw new Error(`it still goes on after ${most} tries`);
}

function frame(text: string): Uint8Array {
  const line = new TextEncoder().encode(text);
  const header = new Uint8Array(8);
  header[0] = 1;
  new DataView(header.buffer).setUint32(4, line.length);
  return new Uint8Array([...header, ...line]);
}
