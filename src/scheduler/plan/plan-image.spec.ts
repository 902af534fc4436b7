import { describe, expect, it } from '@jest/globals';
import { DIGEST, PlannerWorld, type WorldDeployment } from '../../../test/support/planner-world.js';

const ID = `sha256:${'b'.repeat(64)}`;
const OTHER = `sha256:${'c'.repeat(64)}`;

describe('the image of a deployment', () => {
  it.each<[string, string, readonly string[], string]>([
    ['of its name', 'web:1', [`web@${DIGEST}`], `web@${DIGEST}`],
    ['of its own name, not of another', 'web:1', [`other.example/app@${OTHER}`, `web@${DIGEST}`], `web@${DIGEST}`],
    ['of its name as Docker writes it', 'docker.io/library/web:1', [`web@${DIGEST}`], `web@${DIGEST}`],
    ['it was deployed by', `web@${OTHER}`, [`web@${DIGEST}`, `web@${OTHER}`], `web@${OTHER}`],
    ['is its id, where only another name was pushed', 'web:1', [`localhost:5000/web@${DIGEST}`], ID],
    ['is its id, where nothing was pushed', 'web:1', [], ID],
  ])('is recorded by the digest %s', (_what, image, RepoDigests, recorded) => {
    const { deployment } = inspected(image, { Id: ID, RepoDigests });
    expect(deployment.imageDigest).toBe(recorded);
  });

  it.each([
    { Id: 'x', RepoDigests: ['web@evil'] },
    { Id: ID, RepoDigests: ['web@evil'] },
    { Id: ID, RepoDigests: 'web' },
    {},
    [],
    'x',
  ])('is never what Docker would not take: %j', (description) => {
    const { world, deployment } = inspected('web:1', description);
    expect([null, ID]).toContain(deployment.imageDigest);
    world.cooperate();
    expect(specOf(deployment, 'create')).toMatchObject({ body: { Image: 'web:1' } });
  });

  it.each(['nginx@evil…', 'web@sha256:1', '', 'x'.repeat(5_000), 'Web:1', `web:1@${DIGEST}`])(
    'of a row that holds what Docker would not take is the one that was deployed: %.30s',
    (imageDigest) => {
      const world = new PlannerWorld();
      const deployment = world.deploy({}, 'web:1');
      deployment.imageDigest = imageDigest;
      world.run(30);
      expect(deployment).toMatchObject({ status: 'active', imageDigest: `web@${DIGEST}` });
    },
  );

  it('known by its id only is run by that: its name is pulled, and may stand for another one', () => {
    const { world, deployment } = inspected('web:1', { Id: ID, RepoDigests: [] });
    world.run(30);
    world.lose(deployment.attempts[0]!);
    world.cooperate();
    expect(specOf(deployment, 'pull', 1)).toMatchObject({ path: '/images/create?fromImage=web&tag=1' });
    expect(specOf(deployment, 'inspect-image', 1)).toMatchObject({ path: `/images/${ID}/json` });
    expect(specOf(deployment, 'create', 1)).toMatchObject({ body: { Image: ID } });
  });

  it('stays the digest that was recorded first, whatever other instances know its name by', () => {
    const { world, deployment } = inspected('web:1', { Id: ID, RepoDigests: [`web@${DIGEST}`] });
    world.lose(deployment.attempts[0]!);
    world.settle();
    const attempt = deployment.attempts[1]!;
    world.assign(attempt);
    world.settle();
    world.answer(world.openOrder(attempt, 'pull')!);
    world.settle();
    const RepoDigests = [`web@${OTHER}`, `web@${DIGEST}`];
    world.answer(world.openOrder(attempt, 'inspect-image')!, 200, JSON.stringify({ Id: OTHER, RepoDigests }));
    world.settle();
    expect(deployment.imageDigest).toBe(`web@${DIGEST}`);
    expect(specOf(deployment, 'create', 1)).toMatchObject({ body: { Image: `web@${DIGEST}` } });
  });

  it('known by its id only fails where it is not any more, and says so', () => {
    const world = new PlannerWorld();
    const deployment = world.deploy({}, 'web:1');
    deployment.imageDigest = ID;
    world.settle();
    world.assign(deployment.attempts[0]!);
    world.settle();
    world.answer(world.openOrder(deployment.attempts[0]!, 'pull')!);
    world.settle();
    world.answer(world.openOrder(deployment.attempts[0]!, 'inspect-image')!, 404, '{"message":"No such image"}');
    world.settle();
    expect(deployment).toMatchObject({ status: 'failed', reason: 'image-not-found' });
    expect(deployment.message).toContain(`web:1 was ${ID}`);
  });

  function inspected(image: string, description: unknown): { world: PlannerWorld; deployment: WorldDeployment } {
    const world = new PlannerWorld();
    const deployment = world.deploy({}, image);
    world.settle();
    const attempt = deployment.attempts[0]!;
    world.assign(attempt);
    world.settle();
    world.answer(world.openOrder(attempt, 'pull')!);
    world.settle();
    world.answer(world.openOrder(attempt, 'inspect-image')!, 200, JSON.stringify(description));
    world.settle();
    return { world, deployment };
  }

  function specOf(deployment: WorldDeployment, purpose: string, attempt = 0): unknown {
    return deployment.attempts[attempt]?.orders.find((order) => order.purpose === purpose)?.spec;
  }
});
