import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.js';
import { active, deployed, HEALTH, order, purposes, start } from '../../../test/support/planner-steps.js';

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

  it('on a spot instance with notice, while its predecessor still drains, hands back to that and begins anew', () => {
    const { world, deployment: first } = active({ rollout: { drainSeconds: 600 } });
    const second = world.deploy({ instance: { market: 'spot' }, rollout: { drainSeconds: 600 } });
    world.run(12);
    expect([first.status, second.status]).toEqual(['draining', 'active']);
    world.answer(order(second.attempts[0]!, 'watch-spot'), 200, '{"action":"terminate"}');
    world.settle();
    expect(first).toMatchObject({ status: 'active', reason: 'successor-lost' });
    expect(second).toMatchObject({ status: 'deploying', reason: 'predecessor-serves' });
    expect(second.attempts[0]).toMatchObject({ phase: 'stopping' });
    world.run(60);
    expect(second.attempts[0]).toMatchObject({ phase: 'ended', reason: 'predecessor-serves' });
    expect([first.status, second.status, second.attempts.length]).toEqual(['draining', 'active', 2]);
  });

  it.each([
    [0, 'exits-at-once'],
    [3, 'container-exited'],
  ])('whose fresh container exits with %d before it was stable says so: %s', (code, reason) => {
    const { world, deployment } = active(HEALTH);
    world.lose(deployment.attempts[0]!);
    world.settle();
    const healing = deployment.attempts[1]!;
    world.assign(healing);
    world.settle();
    start(world, healing);
    world.answer(order(healing, 'wait'), 200, `{"StatusCode":${code}}`);
    world.settle();
    world.advance(10);
    world.run(5);
    expect(healing).toMatchObject({ reason });
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

itShowsItsReasons('plan-active');
