import { describe, expect, it } from '@jest/globals';
import { itShowsItsReasons, note } from '../../../test/support/planner-reasons.ts';
import { active, order, purposes } from '../../../test/support/planner-steps.ts';
import { LATE_CALLER_SECONDS, PlannerWorld, type WorldAttempt } from '../../../test/support/planner-world.ts';
import { lateCallerSecondsOf } from './plan-late-callers.js';

const DRAIN_SECONDS = 10;
const WEB = { ports: [{ container: 8080, host: 80 }], rollout: { drainSeconds: DRAIN_SECONDS, stopGraceSeconds: 5 } };
/** How long a container that callers were led to serves on. */
const LEAVING_SECONDS = LATE_CALLER_SECONDS + DRAIN_SECONDS;
const DOMAIN = 'jobs.test';

/** Active, and its address leads to it. */
function routed(definition: object = WEB) {
  const world = new PlannerWorld();
  world.domain = DOMAIN;
  const deployment = world.deploy(definition);
  world.run(12);
  expect(deployment.status).toBe('active');
  return { world, deployment, attempt: deployment.attempts[0]! };
}

function routedOf(world: PlannerWorld): string[] {
  return world.deployments
    .flatMap(({ attempts }) => attempts)
    .flatMap(({ id, routedPort }) => (routedPort === null ? [] : [id]));
}

const isAskedToStop = ({ orders }: WorldAttempt): boolean => orders.some(({ purpose }) => purpose === 'stop');

describe('the address of a job', () => {
  it('is its own from its first deployment on, and leads nowhere before that is active', () => {
    const world = new PlannerWorld();
    world.domain = DOMAIN;
    const deployment = world.deploy(WEB);
    world.cooperate();
    expect([world.hosts, routedOf(world)]).toEqual([['web.jobs.test'], []]);
    world.run(12);
    expect(deployment.attempts[0]).toMatchObject({ routedPort: 80, unroutedAt: null });
  });

  it.each([
    ['without a domain', null, WEB],
    ['with route false', DOMAIN, { ...WEB, route: false }],
    ['without a port', DOMAIN, {}],
    [
      'with several ports',
      DOMAIN,
      {
        ports: [
          { container: 1, host: 1 },
          { container: 2, host: 2 },
        ],
      },
    ],
  ])('is none %s', (_, domain, definition) => {
    const world = new PlannerWorld();
    world.domain = domain;
    world.deploy(definition);
    world.run(12);
    expect([world.hosts, routedOf(world)]).toEqual([[], []]);
  });

  it('is asked for again while it is still another job’s', () => {
    const world = new PlannerWorld();
    world.domain = DOMAIN;
    world.takenHosts.add('web.jobs.test');
    world.deploy(WEB);
    world.run(20);
    expect(world.hosts).toEqual([]);
    world.takenHosts.clear();
    world.run(2);
    expect(world.hosts).toEqual(['web.jobs.test']);
  });

  it('is not gained while a port that could not be connected to is only tried again', () => {
    const world = new PlannerWorld();
    world.domain = DOMAIN;
    world.reaches = 'nothing';
    const deployment = world.deploy(WEB);
    world.run(12);
    expect([deployment.status, world.hosts]).toEqual(['active', []]);
    world.reaches = null;
    world.run(120);
    expect([deployment.attempts[0]!.reachedAs, world.hosts]).toEqual([null, []]);
    world.reaches = 'http';
    world.run(1);
    expect([world.hosts, routedOf(world).length]).toEqual([['web.jobs.test'], 1]);
  });

  describe('with hosts of its own', () => {
    const RULES = { domains: ['own.test', 'example.test'], reserved: ['api.own.test'] };
    const withHosts = (...hosts: string[]) => ({ ...WEB, route: { hosts } });
    const worldOf = (definition: object, rules = RULES): PlannerWorld => {
      const world = new PlannerWorld();
      world.domain = DOMAIN;
      world.hostRules = rules;
      world.deploy(definition);
      return world;
    };

    it('has those that the operator allows, besides its name and once', () => {
      const world = worldOf(withHosts('own.test', 'a.b.own.test', 'web.jobs.test', 'shop.example.test'));
      world.run(12);
      expect(world.hosts).toEqual(['web.jobs.test', 'own.test', 'a.b.own.test', 'shop.example.test']);
      expect(routedOf(world)).toHaveLength(1);
    });

    it.each(['other.test', 'notown.test', 'jobs.test', 'other.jobs.test', 'x.web.jobs.test', 'api.own.test', 'test'])(
      'has none that is not its own to have, as %s',
      (host) => {
        const world = worldOf(withHosts(host, 'shop.own.test'));
        world.run(12);
        expect(world.hosts).toEqual(['web.jobs.test', 'shop.own.test']);
      },
    );

    it('gives up those that a deployment names no more once it is active, and those that the operator takes back', () => {
      const world = worldOf(withHosts('a.own.test', 'b.own.test'));
      world.run(12);
      const successor = world.deploy(withHosts('b.own.test', 'c.own.test'));
      while (successor.status !== 'active') {
        expect(world.hosts).toEqual(['web.jobs.test', 'a.own.test', 'b.own.test']);
        world.run(1);
      }
      expect(world.hosts).toEqual(['web.jobs.test', 'b.own.test', 'c.own.test']);
      world.hostRules = { ...RULES, reserved: ['c.own.test'] };
      world.wake();
      world.pass();
      expect(world.hosts).toEqual(['web.jobs.test', 'b.own.test']);
      world.deploy({ ...WEB, route: false });
      world.run(60);
      expect(world.hosts).toEqual([]);
    });

    it('asks for one that another job has every ten seconds, and serves by the others', () => {
      const world = worldOf(withHosts('shop.own.test'));
      world.takenHosts.add('shop.own.test');
      world.run(120);
      expect([world.hosts, routedOf(world).length]).toEqual([['web.jobs.test'], 1]);
      world.takenHosts.clear();
      world.run(10);
      expect(world.hosts).toEqual(['web.jobs.test', 'shop.own.test']);
    });

    it('leads there also where its name is kept for deployments', () => {
      const world = worldOf(withHosts('shop.own.test'));
      world.name = 'web--7';
      world.run(12);
      expect([world.hosts, routedOf(world).length]).toEqual([['shop.own.test'], 1]);
    });
  });

  it('goes over in the pass that makes the successor active, and whoever still comes to the old one is served', () => {
    const { world, attempt } = routed();
    const successor = world.deploy(WEB);
    while (successor.status !== 'active') world.run(1);
    expect(routedOf(world)).toEqual([successor.attempts[0]!.id]);
    expect(attempt).toMatchObject({ phase: 'healthy', routedPort: null, unroutedAt: successor.activeAt });
    world.run(LEAVING_SECONDS - 2);
    expect([attempt.phase, isAskedToStop(attempt)]).toEqual(['healthy', false]);
    world.run(2);
    expect([attempt.phase, isAskedToStop(attempt)]).toEqual(['ended', true]);
  });

  it.each([
    [70, 10],
    [10, 70],
  ])('serves those who come last for drainSeconds, its own %d and that of the next %d', (own, next) => {
    const withDrain = (drainSeconds: number) => ({ ...WEB, rollout: { ...WEB.rollout, drainSeconds } });
    const { world, attempt } = routed(withDrain(own));
    const successor = world.deploy(withDrain(next));
    while (successor.status !== 'active') world.run(1);
    world.run(LATE_CALLER_SECONDS + 70 - 2);
    expect(isAskedToStop(attempt)).toBe(false);
    world.run(3);
    expect(isAskedToStop(attempt)).toBe(true);
  });

  it('is kept by the old one for as long as an ingress may go by its last answer, and what a lookup takes', () => {
    expect(lateCallerSecondsOf(22)).toBe(LATE_CALLER_SECONDS);
    const { world, attempt } = routed();
    world.lateCallerSeconds = lateCallerSecondsOf(60);
    world.desiredState = 'stopped';
    world.wake();
    world.cooperate();
    world.run(71 + DRAIN_SECONDS - 1);
    expect([attempt.phase, isAskedToStop(attempt)]).toEqual(['unrouting', false]);
    world.run(1);
    expect(isAskedToStop(attempt)).toBe(true);
  });

  const stop = (world: PlannerWorld): void => {
    world.desiredState = 'stopped';
    world.wake();
  };
  it('leads nowhere once a stop was requested; the container is stopped when nobody can come any more', () => {
    const { world, attempt } = routed();
    stop(world);
    world.cooperate();
    expect(attempt).toMatchObject({ phase: 'unrouting', routedPort: null, reason: 'stop-requested' });
    expect(world.hosts).toEqual(['web.jobs.test']);
    world.run(LEAVING_SECONDS - 1);
    expect(isAskedToStop(attempt)).toBe(false);
    world.run(1);
    expect([isAskedToStop(attempt), attempt.phase, world.status]).toEqual([true, 'ended', 'stopped']);
  });

  it('is free once the job is gone', () => {
    const { world } = routed();
    world.desiredState = 'deleted';
    world.wake();
    world.run(LEAVING_SECONDS + 5);
    expect([world.isGone, world.hosts]).toEqual([true, []]);
  });

  it('leads back to the predecessor that still serves, in one pass', () => {
    const { world, attempt } = routed();
    const successor = world.deploy(WEB);
    while (successor.status !== 'active') world.run(1);
    world.lose(successor.attempts[0]!);
    world.pass();
    expect(attempt).toMatchObject({ phase: 'healthy', routedPort: 80, unroutedAt: null });
    expect(routedOf(world)).toEqual([attempt.id]);
  });

  it('leads nowhere while nothing serves, then to the instance that heals', () => {
    const { world, deployment, attempt } = routed();
    world.lose(attempt);
    world.pass();
    expect(routedOf(world)).toEqual([]);
    world.run(30);
    expect(routedOf(world)).toEqual([deployment.attempts[1]!.id]);
  });

  it('goes on leading to a container that ails until another serves', () => {
    const definition = { ...WEB, health: { path: '/', port: 80 } };
    const { world, deployment, attempt } = routed(definition);
    world.probe(attempt, 'unhealthy');
    world.pass();
    expect(routedOf(world)).toEqual([attempt.id]);
    const fresh = () => deployment.attempts[1]!;
    for (let seconds = 0; seconds < 60 && fresh().routedPort === null; seconds++) world.run(1);
    expect(routedOf(world)).toEqual([fresh().id]);
    expect([attempt.phase, isAskedToStop(attempt)]).toEqual(['unrouting', false]);
    world.run(LEAVING_SECONDS);
    expect(isAskedToStop(attempt)).toBe(true);
  });

  it('serves no longer than EC2 lets a spot instance live, and is stopped before', () => {
    const rollout = { drainSeconds: 300, stopGraceSeconds: 5 };
    const { world, deployment, attempt } = routed({ ...WEB, rollout, instance: { market: 'spot' } });
    world.answer(order(attempt, 'watch-spot'), 200, '{"action":"terminate"}');
    const noticedAt = world.now;
    const seconds = () => (world.now.getTime() - noticedAt.getTime()) / 1000;
    while (seconds() < 104) world.run(1);
    expect(routedOf(world)).toEqual([deployment.attempts[1]!.id]);
    expect(isAskedToStop(attempt)).toBe(false);
    while (seconds() < 106) world.run(1);
    expect(isAskedToStop(attempt)).toBe(true);
  });

  it('does not keep a dead container waiting for callers', () => {
    const { world, attempt } = routed();
    stop(world);
    world.cooperate();
    expect(attempt.phase).toBe('unrouting');
    world.lose(attempt);
    world.pass();
    expect(attempt).toMatchObject({ phase: 'ended', reason: 'stop-requested' });
  });

  it('starts no container on an address where callers of another job may still come', () => {
    const world = new PlannerWorld();
    world.addressFreeAt = new Date(world.now.getTime() + 20_000);
    const deployment = world.deploy(WEB);
    world.cooperate();
    const attempt = deployment.attempts[0]!;
    note(world);
    expect([attempt.phase, deployment.reason, purposes(attempt).includes('create')]).toEqual([
      'pulling',
      'address-draining',
      false,
    ]);
    world.run(19);
    expect(purposes(attempt)).not.toContain('create');
    world.run(1);
    expect(purposes(attempt)).toContain('start');
    expect(deployment.reason).toBeNull();
  });

  it('a job without an address stops at once', () => {
    const { world, deployment } = active(WEB);
    stop(world);
    world.cooperate();
    expect(order(deployment.attempts[0]!, 'stop')).toBeDefined();
  });

  itShowsItsReasons('plan-route');
});
