import { describe, expect, it } from '@jest/globals';
import { active, deployed, HEALTH, order, prepare, purposes, start } from '../../../test/support/planner-steps.js';
import { PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.js';

function assigned(definition: object = {}, change: (attempt: WorldAttempt) => void = () => undefined) {
  const world = new PlannerWorld();
  const deployment = world.deploy(definition);
  world.settle();
  const attempt = deployment.attempts[0]!;
  world.assign(attempt);
  change(attempt);
  world.settle();
  return { world, deployment, attempt };
}

function started(definition: object = {}) {
  const all = assigned(definition);
  start(all.world, all.attempt);
  return all;
}

const adopt = (attempt: WorldAttempt) => Object.assign(attempt.instance!, { isAdopted: true });

describe('an instance that is lost', () => {
  it.each<[string, string, object]>([
    [
      'was terminated, with EC2’s words for it',
      'instance-terminated',
      { state: 'terminated', stateReason: 'Server.InternalError' },
    ],
    ['is being terminated', 'instance-terminated', { state: 'shutting-down' }],
    ['is being stopped', 'instance-stopped', { state: 'stopping' }],
    ['was retired by an operator', 'instance-terminated', { retireReason: 'requested' }],
  ])('as it %s costs its attempt, which says so', (_, reason, change) => {
    const { world, deployment, attempt } = started();
    Object.assign(attempt.instance!, change);
    world.wake();
    world.settle();
    expect(attempt).toMatchObject({ phase: 'ended', reason, counted: true });
    const text = reason === 'instance-stopped' ? 'was stopped' : 'was terminated';
    const detail = 'stateReason' in change ? ' (Server.InternalError)' : '';
    expect(attempt.message).toBe(`instance i-1: the instance ${text}${detail}`);
    expect(deployment).toMatchObject({ status: 'deploying', attempts: [{}, { phase: 'waiting' }] });
  });

  it('in the very moment in which its deployment would be active is no service', () => {
    const { world, deployment, attempt } = deployed(HEALTH);
    expect(attempt.phase).toBe('healthy');
    world.nowMs += 5_000;
    world.lose(attempt);
    world.settle();
    expect(deployment).toMatchObject({ status: 'deploying', attempts: [{ phase: 'ended' }, { phase: 'waiting' }] });
    expect(world.activeDeploymentId).toBeNull();
  });
});

describe('an agent that takes no order', () => {
  it.each([
    ['new', {}],
    ['adopted', { isAdopted: true }],
  ])('on a %s instance has 15 s from the first order, however late a pass of ours gave it', (_, change) => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    Object.assign(attempt.instance!, change);
    world.nowMs += 20_000;
    world.settle();
    expect(purposes(attempt)).toEqual('isAdopted' in change ? ['pull'] : ['dead-man', 'pull']);
    world.nowMs += 14_999;
    world.wake();
    world.settle();
    expect(attempt.phase).toBe('assigned');
    world.advance(0.001);
    expect(attempt).toMatchObject({ phase: 'ended', reason: 'agent-unresponsive' });
  });
});

describe('a pull', () => {
  it('may take 1800 s, and not a millisecond more', () => {
    const { world, deployment, attempt } = assigned({ rollout: { deadlineSeconds: 7200 } });
    expect(order(attempt, 'pull').spec).toMatchObject({ mode: 'background', timeoutSeconds: 1800, fill: 'registry' });
    order(attempt, 'pull').takenAt = world.now;
    world.wake();
    world.settle();
    world.nowMs += 1_799_999;
    world.wake();
    world.settle();
    expect([deployment.status, attempt.phase]).toEqual(['deploying', 'pulling']);
    world.advance(0.001);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'pull-timed-out', failedPhase: 'pulling' });
  });
});

describe('a pull that is made again', () => {
  it('may take 1800 s as well, and its end needs nobody’s word', () => {
    const { world, deployment, attempt } = assigned({ rollout: { deadlineSeconds: 7200 } });
    world.answer(order(attempt, 'pull'), 0, '');
    world.settle();
    world.advance(1799.999);
    expect([deployment.status, attempt.phase]).toEqual(['deploying', 'pulling']);
    world.advance(0.001);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'pull-timed-out' });
  });
});

describe('the orders for a container', () => {
  it.each([
    ['with a health check', HEALTH, ['probe']],
    ['without one', {}, []],
  ])('%s are each waited for: a pass while one of them has no answer decides nothing', (_, definition, last) => {
    const { world, attempt } = assigned(definition);
    for (const purpose of ['dead-man', 'pull', 'inspect-image', 'create', 'start', ...last]) {
      order(attempt, purpose).takenAt = world.now;
      world.wake();
      world.settle();
      world.nowMs += 1_000;
      world.wake();
      expect(world.pass()).toMatchObject({ deployments: [], attempts: [], newAttempts: [], orders: [] });
      if (purpose !== 'probe') world.answer(order(attempt, purpose));
      world.settle();
    }
    expect(attempt.phase).toBe('starting');
    if (last.length > 0) world.probe(attempt, 'healthy');
    world.settle();
    world.advance(5);
    expect(attempt.phase).toBe('healthy');
  });

  it.each([
    ['with secrets has the agent fill them in', 3, { fill: 'secrets' }],
    ['without secrets has nothing to fill in', null, {}],
  ])('%s', (_, secretsVersion, fill) => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    deployment.secretsVersion = secretsVersion;
    world.settle();
    world.assign(deployment.attempts[0]!);
    world.settle();
    prepare(world, deployment.attempts[0]!);
    const { fill: given } = order(deployment.attempts[0]!, 'create').spec as { fill?: string };
    expect({ ...(given !== undefined && { fill: given }) }).toEqual(fill);
  });

  it.each([
    ['at the instance’s address', '10.0.0.1', 'http://10.0.0.1:80/'],
    ['on the instance itself, where EC2 gave none', null, 'http://127.0.0.1:80/'],
  ])('probe it %s', (_, privateIp, url) => {
    const { world, attempt } = assigned(HEALTH, (it) => (it.instance!.privateIp = privateIp));
    prepare(world, attempt);
    expect(order(attempt, 'probe').spec).toMatchObject({ kind: 'probe', url });
  });

  it.each([
    ['rounded up', 31, 16],
    ['exactly', 60, 16],
    ['and a minute more from the next second on', 61, 17],
  ])('keep its instance for 15 minutes beyond the deadline, %s', (_, deadlineSeconds, minutes) => {
    const { attempt } = assigned({ rollout: { deadlineSeconds } });
    expect(order(attempt, 'dead-man').spec).toEqual({ kind: 'dead-man', minutes });
  });

  it.each([
    [60, 1],
    [61, 2],
    [120, 2],
    [121, 3],
  ])('that serves renew its instance’s time when a silence of %d s is allowed: %d minutes', (seconds, minutes) => {
    const { deployment } = active({ maxSilenceSeconds: seconds });
    expect(order(deployment.attempts[0]!, 'dead-man').spec).toEqual({ kind: 'dead-man', minutes, renews: true });
  });

  it('end no instance whose container served before it was adopted', () => {
    expect(purposes(assigned({}, adopt).attempt)).toEqual(['pull']);
  });
});

describe('a container before it is stable', () => {
  it.each([
    ['Docker does not answer', 0, ''],
    ['Docker knows no container', 404, '{"message":"No such container: job"}'],
  ])('has not exited because %s to its watch, and is watched again as soon as it serves', (_, status, body) => {
    const { world, deployment, attempt } = started();
    world.answer(order(attempt, 'wait'), status, body);
    world.run(60);
    expect([deployment.status, world.status]).toEqual(['active', 'running']);
    expect(purposes(attempt).filter((purpose) => purpose === 'wait')).toHaveLength(2);
  });

  it('that exits without a code of which Docker tells says no code', () => {
    const { world, deployment, attempt } = started();
    world.answer(order(attempt, 'wait'), 200, '{}');
    world.settle();
    world.advance(10);
    expect(deployment).toMatchObject({ status: 'failed', message: 'the container exited', exitCode: null });
  });

  it('that exits with 0 has failed with its last lines: nothing asks for its memory', () => {
    const { world, deployment, attempt } = started();
    world.answer(order(attempt, 'wait'), 200, '{"StatusCode":0}');
    world.settle();
    expect(deployment.status).toBe('deploying');
    world.answer(order(attempt, 'logs'), 500, '{"message":"no"}');
    world.settle();
    expect(deployment).toMatchObject({
      status: 'failed',
      reason: 'container-exited',
      message: 'the container exited with code 0',
      exitCode: 0,
      lastLogLines: null,
    });
    expect(purposes(attempt)).not.toContain('inspect-exit');
  });

  it.each([
    ['comes in time, after its last lines', 9_999, 'out-of-memory'],
    ['comes too late', 10_000, 'container-exited'],
  ])('that exits is out of memory if Docker’s word of it %s', (_, ms, reason) => {
    const { world, deployment, attempt } = started();
    world.answer(order(attempt, 'wait'), 200, '{"StatusCode":137}');
    world.settle();
    world.answer(order(attempt, 'logs'));
    world.settle();
    expect(deployment.status).toBe('deploying');
    world.nowMs += ms;
    world.wake();
    world.settle();
    if (reason === 'out-of-memory') {
      expect(deployment.status).toBe('deploying');
      world.answer(order(attempt, 'inspect-exit'), 200, '{"Id":"c","State":{"OOMKilled":true}}');
      world.settle();
    }
    expect(deployment).toMatchObject({ status: 'failed', reason });
  });

  it.each([0, 1])('that exits with %d never serves, however long its last lines take', (code) => {
    const { world, deployment, attempt } = started();
    world.run(5);
    expect(attempt.phase).toBe('healthy');
    world.answer(order(attempt, 'wait'), 200, `{"StatusCode":${code}}`);
    world.settle();
    world.nowMs += 9_999;
    world.wake();
    world.settle();
    expect(deployment.status).toBe('deploying');
    world.advance(0.001);
    expect(deployment).toMatchObject({ status: 'failed', reason: 'container-exited', failedPhase: 'healthy' });
  });

  it('that exits on a fresh instance is not what heals its job, however long its last lines take', () => {
    const { world, deployment } = active();
    world.lose(deployment.attempts[0]!);
    world.settle();
    const healing = deployment.attempts[1]!;
    world.assign(healing);
    world.settle();
    start(world, healing);
    world.advance(5);
    world.answer(order(healing, 'wait'));
    world.settle();
    world.nowMs += 9_999;
    world.wake();
    world.settle();
    expect([world.status, healing.phase]).toEqual(['degraded', 'healthy']);
    world.advance(0.001);
    expect([world.status, healing.phase]).toEqual(['degraded', 'stopping']);
  });

  it('that is healthy again after a failed probe counts its stable time anew', () => {
    const { world, deployment, attempt } = started(HEALTH);
    world.probe(attempt, 'healthy');
    world.settle();
    world.nowMs += 3_000;
    world.probe(attempt, 'unhealthy');
    world.settle();
    world.nowMs += 6_000;
    world.wake();
    world.settle();
    // Nine seconds after it was healthy first, and six after the failed probe.
    expect(deployment.status).toBe('deploying');
    world.probe(attempt, 'healthy');
    world.settle();
    world.nowMs += 4_999;
    world.wake();
    world.settle();
    expect(deployment.status).toBe('deploying');
    world.advance(0.001);
    expect(deployment.status).toBe('active');
  });
});

describe('EC2 without capacity', () => {
  it('that has some again is not what a deployment says any more', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy();
    world.settle();
    const attempt = deployment.attempts[0]!;
    attempt.verdict = { reason: 'insufficient-capacity', message: 'none', at: world.now, isFinal: false };
    world.wake();
    world.settle();
    expect(deployment.reason).toBe('waiting-for-capacity');
    attempt.verdict = null;
    world.wake();
    world.settle();
    expect(deployment).toMatchObject({ reason: 'waiting-for-instance', message: 'an instance is on its way' });
  });

  it.each([
    ['60 s from its beginning, where it waits for so long', { waitSeconds: 60 }, 'insufficient-capacity', 0, 60],
    ['two minutes, where EC2 only is busy', 'fail', 'ec2-busy', 0, 120],
    ['two minutes, where the verdict is older than the attempt', 'fail', 'insufficient-capacity', -1, 120],
    ['no time, where it does not want to wait', 'fail', 'insufficient-capacity', 0, 0],
  ])('has for a deployment %s', (_, onCapacity, reason, verdictMs, seconds) => {
    const world = new PlannerWorld();
    const deployment = world.deploy({ onCapacity });
    world.settle();
    const attempt = deployment.attempts[0]!;
    const at = new Date(attempt.createdAt.getTime() + verdictMs);
    attempt.verdict = { reason, message: 'none', at, isFinal: false };
    world.wake();
    world.settle();
    if (seconds > 0) {
      const until = new Date(attempt.createdAt.getTime() + seconds * 1000).toISOString();
      expect(deployment).toMatchObject({
        reason: 'waiting-for-capacity',
        message: `${reason}: none (waiting until ${until})`,
      });
      world.nowMs += seconds * 1000 - 1;
      world.wake();
      world.settle();
      expect(deployment.status).toBe('deploying');
      world.nowMs += 1;
      world.wake();
      world.settle();
    }
    expect(deployment).toMatchObject({ status: 'failed', reason: 'capacity-unavailable', message: `${reason}: none` });
  });
});
