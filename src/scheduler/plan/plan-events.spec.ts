import { describe, expect, it } from '@jest/globals';
import { PlannerWorld, type WorldDeployment } from '../../../test/support/planner-world.js';

const HEALTH = { health: { path: '/', port: 80 }, ports: [{ container: 8080, host: 80 }] };
const LIFE = ['attempt.assigned', 'attempt.pulling', 'attempt.starting', 'attempt.healthy'];

describe('events of a job', () => {
  it('tell the life of a deployment step by step, and each step once', () => {
    const { world } = active();
    expect(summaryOf(world)).toEqual([
      'deployment.deploying 1 waiting-for-instance',
      'attempt.waiting 1/1 waiting-for-instance',
      ...LIFE.map((type) => `${type} 1/1 i-1`),
      'deployment.active 1',
    ]);
    const count = world.events.length;
    world.run(3_600);
    expect(world.events).toHaveLength(count);
    for (const event of world.events) expect(event).toMatchObject({ actor: 'scheduler', jobId: 'j1', job: 'web' });
  });

  it('tell how the next one takes over, and why the old one went', () => {
    const { world } = active();
    world.deploy(HEALTH, 'web:2');
    const before = world.events.length;
    world.run(120);
    expect(summaryOf(world, before)).toEqual([
      'deployment.deploying 2 waiting-for-instance',
      'attempt.waiting 2/1 waiting-for-instance',
      ...LIFE.map((type) => `${type} 2/1 i-2`),
      'deployment.active 2',
      'deployment.draining 1 superseded-by-newer',
      'attempt.stopping 1/1 i-1 superseded-by-newer',
      'attempt.ended 1/1 i-1 superseded-by-newer',
      'deployment.superseded 1 superseded-by-newer',
    ]);
  });

  it('tell of a lost instance, that the job is degraded, and that it has recovered', () => {
    const { world, deployment } = active();
    const before = world.events.length;
    world.lose(deployment.attempts[0]!);
    world.run(60);
    const events = summaryOf(world, before);
    expect(events[0]).toBe('attempt.ended 1/1 i-1 instance-terminated');
    expect(events.filter((event) => event.startsWith('job.'))).toEqual([
      'job.degraded 1 instance-terminated',
      'job.recovered 1',
    ]);
    expect(events.filter((event) => event.startsWith('deployment.'))).toEqual([]);
  });

  it('tell why a deployment failed', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy(HEALTH);
    world.settle();
    world.assign(deployment.attempts[0]!);
    world.settle();
    world.answer(world.openOrder(deployment.attempts[0]!, 'pull')!, 404, '{"message":"manifest unknown"}');
    world.run(60);
    const failed = world.events.find(({ type }) => type === 'deployment.failed');
    expect(failed).toMatchObject({
      deployment: 1,
      cause: { reason: deployment.reason },
      data: { from: 'deploying', message: deployment.message, failedPhase: 'pulling' },
    });
    expect(deployment.reason).not.toBeNull();
  });

  it('tell when a job is gone', () => {
    const { world } = active();
    world.desiredState = 'deleted';
    world.wake();
    const before = world.events.length;
    world.run(120);
    expect(world.isGone).toBe(true);
    const events = summaryOf(world, before);
    expect(events.at(-1)).toBe('job.deleted');
    expect(events.some((event) => event.startsWith('deployment.stopped 1'))).toBe(true);
  });
});

function active(): { world: PlannerWorld; deployment: WorldDeployment } {
  const world = new PlannerWorld();
  const deployment = world.deploy(HEALTH);
  world.run(30);
  return { world, deployment };
}

/** Type, deployment/attempt, instance and reason of the events since the first `after`. */
function summaryOf({ events }: PlannerWorld, after = 0): string[] {
  return events.slice(after).map(({ type, deployment, attempt, instance, cause }) => {
    const about = attempt == null ? deployment : `${deployment ?? '?'}/${attempt}`;
    return [type, about, instance, cause?.reason].filter((part) => part != null).join(' ');
  });
}
