import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.ts';
import { PlannerWorld } from '../../../test/support/planner-world.ts';

const WEB = { ports: [{ container: 8080, host: 80 }], rollout: { drainSeconds: 0, stableSeconds: 2 } };
const ON_PURPOSE = { ...WEB, route: { port: 8080 } };

function deployedWith(reaches: PlannerWorld['reaches'], definition: object) {
  const world = new PlannerWorld();
  world.domain = 'jobs.test';
  world.reaches = reaches;
  return { world, deployment: world.deploy(definition) };
}

const routedOf = (world: PlannerWorld) =>
  world.deployments.flatMap(({ attempts }) => attempts).filter(({ routedPort }) => routedPort !== null).length;

describe('before callers are led to a container', () => {
  it('a process beside the ingress connects to its port, however long it has been healthy', () => {
    const { world, deployment } = deployedWith(null, ON_PURPOSE);
    world.run(30);
    expect([deployment.status, deployment.attempts[0]!.reachPort]).toEqual(['deploying', 80]);
    expect(deployment).toMatchObject({ reason: 'route-unreachable', message: expect.stringMatching(/, so far$/) });
    world.reaches = 'http';
    world.cooperate();
    expect([deployment.status, deployment.reason, routedOf(world)]).toEqual(['active', null, 1]);
  });

  it('waits for the check where the job names hosts of its own, too', () => {
    const world = new PlannerWorld();
    Object.assign(world, { domain: 'jobs.test', hostRules: { domains: ['own.test'], reserved: [] }, reaches: null });
    const deployment = world.deploy({ ...WEB, route: { hosts: ['shop.own.test'] } });
    world.run(12);
    expect([deployment.status, routedOf(world)]).toEqual(['deploying', 0]);
    world.reaches = 'http';
    world.cooperate();
    expect([deployment.status, routedOf(world)]).toEqual(['active', 1]);
  });

  it('one that takes its time to answer serves where the job names the port', () => {
    const { world, deployment } = deployedWith('silent', ON_PURPOSE);
    world.run(12);
    expect([deployment.status, routedOf(world)]).toEqual(['active', 1]);
  });

  it('a job that asked for no address is active without the check, and is led to once HTTP is spoken', () => {
    const { world, deployment } = deployedWith(null, WEB);
    world.run(12);
    expect([deployment.status, world.hosts, routedOf(world)]).toEqual(['active', ['web.jobs.test'], 0]);
    world.reaches = 'http';
    world.cooperate();
    expect(routedOf(world)).toBe(1);
  });

  it('a port that could not be connected to is tried again a minute later', () => {
    const { world } = deployedWith('nothing', WEB);
    world.run(12);
    world.reaches = 'http';
    world.run(40);
    expect([world.hosts, routedOf(world)]).toEqual([[], 0]);
    world.run(20);
    expect([world.hosts, routedOf(world)]).toEqual([['web.jobs.test'], 1]);
  });

  it('a job that serves when addresses are switched on gets one once HTTP is spoken', () => {
    const world = new PlannerWorld();
    world.deploy(WEB);
    world.run(12);
    world.domain = 'jobs.test';
    world.reaches = null;
    world.wake();
    world.run(5);
    expect(routedOf(world)).toBe(0);
    world.reaches = 'http';
    world.cooperate();
    expect(routedOf(world)).toBe(1);
  });

  it('nothing is asked of a job without an address', () => {
    const { world, deployment } = deployedWith(null, { ...WEB, route: false });
    world.run(12);
    expect([deployment.status, deployment.attempts[0]!.reachPort]).toEqual(['active', null]);
  });

  it.each([
    ['nothing', 'nothing', 12, /the API cannot connect to 10\.0\.0\.1:80: the instance’s security group/],
    ['what speaks no HTTP', 'other', 12, /what listens at 10\.0\.0\.1:80 does not answer HTTP/],
  ] as const)('fails where there is %s and the job names the port', (_, reaches, seconds, message) => {
    const { world, deployment } = deployedWith(reaches, ON_PURPOSE);
    world.run(seconds);
    note(world);
    expect(deployment).toMatchObject({
      status: 'failed',
      reason: 'route-unreachable',
      message: expect.stringMatching(message),
    });
  });

  it.each([
    ['nothing', 'nothing', 12],
    ['what speaks no HTTP', 'other', 12],
    ['what says nothing', 'silent', 12],
  ] as const)('goes on without an address where there is %s and the job asked for none', (_, reaches, seconds) => {
    const { world, deployment } = deployedWith(reaches, WEB);
    world.run(seconds);
    expect([deployment.status, world.hosts, routedOf(world)]).toEqual(['active', [], 0]);
  });

  it('a deployment fails that would take the address away from its callers, and the one before serves on', () => {
    const { world, deployment: first } = deployedWith('http', WEB);
    world.run(12);
    world.reaches = 'other';
    const second = world.deploy(WEB);
    world.run(12);
    expect([first.status, second.status, second.reason]).toEqual(['active', 'failed', 'route-unreachable']);
    expect([world.hosts, routedOf(world)]).toEqual([['web.jobs.test'], 1]);
  });

  it('what heals a job is led to in the end, also where nothing got there: it is better than none', () => {
    const { world, deployment } = deployedWith('http', ON_PURPOSE);
    world.run(12);
    world.reaches = null;
    world.lose(deployment.attempts[0]!);
    world.run(40);
    expect(routedOf(world)).toBe(0);
    world.run(30);
    expect([deployment.status, deployment.attempts[1]!.routedPort]).toEqual(['active', 80]);
  });

  itShowsItsReasons('plan-reach');
});
