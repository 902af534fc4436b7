import { describe, expect, it } from '@jest/globals';
import { DIGEST, PlannerWorld, type WorldAttempt, type WorldDeployment } from '../../../test/support/planner-world.js';
import { REASONS } from './plan-reasons.js';

const HEALTH = { health: { path: '/', port: 80 }, ports: [{ container: 8080, host: 80 }] };

/** Codes seen on rows by the tests of this file; the last test compares them with the union. */
const seen = new Set<string>();

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

describe('an active service', () => {
  it('that loses its instance stays active, degraded, and is healed at once', () => {
    const { world, deployment } = active();
    world.lose(deployment.attempts[0]!);
    world.settle();
    expect(deployment.status).toBe('active');
    expect(world.status).toBe('degraded');
    expect(deployment.attempts[1]).toMatchObject({ phase: 'waiting', reason: 'healing' });
    note(world);
    world.run(20);
    expect(world.status).toBe('running');
    expect(deployment.attempts).toHaveLength(2);
  });

  it('whose container exits five times in a row moves to a fresh instance; the old one serves until then', () => {
    const { world, deployment } = active(HEALTH);
    const [first] = deployment.attempts;
    for (let exits = 0; exits < 5; exits++) {
      world.answer(order(first!, 'wait'));
      world.settle();
      world.advance(20);
    }
    expect(world.status).toBe('degraded');
    // A probe that fails while it is down changes nothing.
    world.probe(first!, 'unhealthy', 'connection refused (curl 7)');
    world.settle();
    expect(deployment).toMatchObject({
      status: 'active',
      reason: 'crash-looping',
      message:
        'the container keeps exiting: 5 exits in a row, the last one code 1; attempt 2 is waiting: an instance is on its way',
    });
    expect(deployment.attempts[1]).toMatchObject({ phase: 'waiting' });
    expect(first!.phase).toBe('healthy');
    world.run(60);
    expect(world.status).toBe('running');
    expect(deployment).toMatchObject({ status: 'active', reason: null, message: null });
    expect(first).toMatchObject({ phase: 'ended', reason: 'crash-looping' });
    note(world);
  });

  it.each([
    ['that its memory ran out', true, 'out-of-memory', /more memory than there is for it: it has no limit of its own/],
    ['nothing of the kind', false, 'crash-looping', /the last one code 137/],
  ])('whose container is killed five times in a row says %s, if Docker did', (_, OOMKilled, reason, message) => {
    const { world, deployment } = active(HEALTH);
    const [first] = deployment.attempts;
    for (let exits = 0; exits < 5; exits++) {
      world.answer(order(first!, 'wait'), 200, '{"StatusCode":137}');
      world.settle();
      // Docker has started it again before the first looks.
      const State = { Running: true, OOMKilled: OOMKilled && exits > 2 };
      world.answer(order(first!, 'inspect-exit'), 200, JSON.stringify({ Id: 'c', State }));
      world.settle();
      world.advance(20);
    }
    expect(purposes(first!).filter((purpose) => purpose === 'inspect-exit')).toHaveLength(5);
    expect(deployment).toMatchObject({ status: 'active', reason, message: expect.stringMatching(message) });
    note(world);
  });

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

  it.each([
    ['was stopped by hand, or could not be started again', 200, '{"Id":"c","State":{"Running":false}}', true],
    ['was removed by hand', 404, '{"message":"No such container: job"}', true],
    ['runs again', 200, '{"Id":"c","State":{"Running":true}}', false],
  ])('whose container exited and %s', (_, status, body, isReplaced) => {
    const { world, deployment } = active();
    const [first] = deployment.attempts;
    world.answer(order(first!, 'wait'));
    world.settle();
    world.advance(89);
    expect(purposes(first!)).not.toContain('inspect-container');
    world.advance(1);
    world.answer(order(first!, 'inspect-container'), status, body);
    world.settle();
    expect(world.status).toBe(isReplaced ? 'degraded' : 'running');
    world.run(400);
    expect(world.status).toBe('running');
    expect(first).toMatchObject(isReplaced ? { phase: 'ended', reason: 'container-exited' } : { phase: 'healthy' });
    expect(purposes(first!).filter((purpose) => purpose === 'inspect-container')).toHaveLength(1);
  });

  it.each([
    ['exited', 200],
    ['may have exited while Docker was away', 0],
  ])('whose container %s is looked at until Docker says how it is', (_, status) => {
    const { world, deployment } = active();
    const [first] = deployment.attempts;
    const looks = () => purposes(first!).filter((purpose) => purpose === 'inspect-container').length;
    world.answer(order(first!, 'wait'), status);
    world.settle();
    world.advance(90);
    world.answer(order(first!, 'inspect-container'), 0);
    world.settle();
    world.advance(89);
    expect([world.status, looks()]).toEqual(['running', 1]);
    world.advance(1);
    world.answer(order(first!, 'inspect-container'), 200, '{"Id":"c","State":{"Running":false}}');
    world.settle();
    expect([world.status, looks()]).toEqual(['degraded', 2]);
    world.run(400);
    expect([world.status, looks()]).toEqual(['running', 2]);
    expect(first).toMatchObject({ phase: 'ended', reason: 'container-exited' });
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

  it('on a spot instance with notice: a successor at once, the old one serves until EC2 ends it', () => {
    const { world, deployment, attempt } = deployed({ instance: { market: 'spot' } });
    world.run(30);
    world.answer(order(attempt, 'watch-spot'), 200, '{"action":"terminate"}');
    world.settle();
    expect(world.status).toBe('degraded');
    expect(deployment).toMatchObject({ status: 'active', reason: 'spot-interrupted' });
    expect([attempt.phase, deployment.attempts[1]?.phase]).toEqual(['healthy', 'waiting']);
    world.run(10);
    expect(world.status).toBe('running');
    world.run(9);
    expect(attempt.phase).toBe('healthy');
    world.run(2);
    expect(attempt).toMatchObject({ phase: 'ended', reason: 'spot-interrupted' });
    expect(world.status).toBe('running');
    note(world);
  });

  it('on a spot instance whose older agent cannot watch for notices is left alone', () => {
    const { world, deployment, attempt } = deployed({ instance: { market: 'spot' } });
    world.answer(order(attempt, 'watch-spot'), 0, 'unknown order kind');
    world.run(60);
    expect([world.status, deployment.attempts.length]).toEqual(['running', 1]);
  });

  it('that lost its instance for a reason we have no words for names the reason', () => {
    const { world, deployment } = active();
    world.lose(deployment.attempts[0]!);
    world.settle();
    Object.assign(deployment.attempts[0]!, { reason: 'abducted', message: null });
    world.wake();
    world.settle();
    expect(deployment).toMatchObject({ reason: 'abducted', message: expect.stringMatching(/^abducted; attempt 2 is/) });
  });

  it('on a spot instance that EC2 ends before the successor serves keeps the one attempt it began', () => {
    const { world, deployment, attempt } = deployed({ instance: { market: 'spot' } });
    world.run(30);
    world.answer(order(attempt, 'watch-spot'), 200, '{"action":"terminate"}');
    world.settle();
    world.lose(attempt);
    world.settle();
    expect(deployment).toMatchObject({ status: 'active', reason: 'instance-terminated' });
    expect(deployment.attempts).toMatchObject([{ phase: 'ended' }, { phase: 'waiting' }]);
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

  it('has its dead-man switch on again from the moment its container is told to stop', () => {
    const { world, attempt } = deployed({ rollout: { stopGraceSeconds: 90 } });
    world.run(30);
    const spec = () => attempt.orders.findLast(({ purpose }) => purpose === 'dead-man')?.spec;
    expect(spec()).toMatchObject({ minutes: 0 });
    world.desiredState = 'stopped';
    world.wake();
    world.settle();
    expect(purposes(attempt).slice(-2)).toEqual(['dead-man', 'stop']);
    expect(spec()).toEqual({ kind: 'dead-man', minutes: 17 });
  });

  it('crash-looping while its predecessor still drains fails, and the predecessor serves again', () => {
    const { world, deployment: first } = active(HEALTH);
    const second = world.deploy({ ...HEALTH, rollout: { drainSeconds: 600 } });
    world.run(6);
    for (let exits = 0; exits < 5; exits++) {
      world.answer(order(second.attempts[0]!, 'wait'));
      world.settle();
      world.advance(1);
    }
    world.settle();
    expect(second).toMatchObject({ status: 'failed', reason: 'crash-looping' });
    expect(first.status).toBe('active');
    note(world);
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

  it('whose container exited before Docker was told to keep it up moves to a fresh instance', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    world.advance(5);
    expect(deployment.status).toBe('active');
    // The exit came between the decision and Docker's policy.
    world.answer(order(attempt, 'wait'));
    world.nowMs += 1;
    world.answer(order(attempt, 'restart-policy'));
    world.settle();
    expect(world.status).toBe('degraded');
    // It has ended for good: its instance goes, and would end itself without us.
    expect(attempt.phase).toBe('stopping');
    expect(order(attempt, 'dead-man').spec).toEqual({ kind: 'dead-man', minutes: 16 });
    world.run(60);
    expect(world.status).toBe('running');
    expect(attempt).toMatchObject({
      phase: 'ended',
      reason: 'container-exited',
      message: 'the container exited: code 1',
    });
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

  it('whose restart policy Docker refused moves to a fresh instance', () => {
    const { world, deployment, attempt } = deployed();
    world.run(6);
    world.advance(5);
    world.answer(order(attempt, 'restart-policy'), 500, '{"message":"no"}');
    world.settle();
    expect(world.status).toBe('degraded');
    world.run(60);
    expect([world.status, deployment.attempts.length]).toEqual(['running', 2]);
  });

  it('gives a healing attempt all its time from the moment it has an instance', () => {
    const { world, deployment } = active({ rollout: { deadlineSeconds: 7200 } });
    world.lose(deployment.attempts[0]!);
    world.settle();
    const healing = deployment.attempts[1]!;
    healing.verdict = { reason: 'insufficient-capacity', message: '', at: world.now, isFinal: false };
    world.advance(8000);
    healing.verdict = null;
    world.assign(healing);
    world.settle();
    expect(order(healing, 'dead-man').spec).toMatchObject({ minutes: 135 });
    world.run(60);
    expect(healing.phase).toBe('healthy');
    expect(world.status).toBe('running');
  });

  it('keeps the instance when it is silent, unless the job limits the silence', () => {
    const switches = (definition: object) =>
      active(definition)
        .deployment.attempts[0]!.orders.filter(({ purpose }) => purpose === 'dead-man')
        .at(-1)?.spec;
    expect(switches({})).toEqual({ kind: 'dead-man', minutes: 0 });
    expect(switches({ maxSilenceSeconds: 90 })).toEqual({ kind: 'dead-man', minutes: 2, renews: true });
  });
});

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
});

it('every reason of the union is seen on a row by a test above', () => {
  // Shown on an attempt only while nothing is wrong; the deployment shows it too.
  const { world } = deployed();
  note(world);
  const fresh = new PlannerWorld();
  fresh.deploy();
  fresh.settle();
  fresh.wake();
  fresh.settle();
  note(fresh);
  expect(Object.keys(REASONS).filter((reason) => !seen.has(reason))).toEqual([]);
});

/** Deployed, and fleet and agents carry out all orders at once. */
function deployed(definition: object = {}): {
  world: PlannerWorld;
  deployment: WorldDeployment;
  attempt: WorldAttempt;
} {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition);
  world.cooperate();
  return { world, deployment, attempt: deployment.attempts[0]! };
}

function active(definition: object = {}): { world: PlannerWorld; deployment: WorldDeployment } {
  const { world, deployment } = deployed(definition);
  world.run(12);
  expect(deployment.status).toBe('active');
  return { world, deployment };
}

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

function prepare(world: PlannerWorld, attempt: WorldAttempt): void {
  for (const purpose of ['pull', 'inspect-image'] as const) {
    world.answer(order(attempt, purpose));
    world.settle();
  }
}

function start(world: PlannerWorld, attempt: WorldAttempt): void {
  prepare(world, attempt);
  world.answer(order(attempt, 'create'));
  world.answer(order(attempt, 'start'));
  world.settle();
}

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

function order(attempt: WorldAttempt, purpose: string) {
  const found = attempt.orders.findLast((candidate) => candidate.purpose === purpose);
  if (!found) throw new Error(`${purpose} was not ordered, only ${purposes(attempt).join(', ')}`);
  return found;
}

function purposes(attempt: WorldAttempt): string[] {
  return attempt.orders.map(({ purpose }) => purpose);
}

function frame(text: string): Uint8Array {
  const line = new TextEncoder().encode(text);
  const header = new Uint8Array(8);
  header[0] = 1;
  new DataView(header.buffer).setUint32(4, line.length);
  return new Uint8Array([...header, ...line]);
}

function cancel(world: PlannerWorld, attemptId: string): void {
  const deployment = world.deployments.find(({ attempts }) => attempts.some(({ id }) => id === attemptId));
  if (deployment) deployment.cancelRequestedAt = world.now;
}

function note(world: PlannerWorld): void {
  for (const { reason, attempts } of world.deployments) {
    for (const code of [reason, ...attempts.map((attempt) => attempt.reason)]) if (code) seen.add(code);
  }
}
