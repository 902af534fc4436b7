import { describe, expect, it } from '@jest/globals';
import { PlannerWorld } from '../../../test/support/planner-world.js';

const WEB = { ports: [{ container: 8080, host: 80 }], rollout: { drainSeconds: 10, stopGraceSeconds: 5 } };
const HOST = 'web.jobs.test';
const RULES = { domains: ['own.test'], reserved: [] };
const withHosts = (...hosts: string[]) => ({ ...WEB, route: { hosts } });

function worldOf(definition: object = WEB): PlannerWorld {
  const world = new PlannerWorld();
  world.domain = 'jobs.test';
  world.hostRules = RULES;
  world.deploy(definition);
  return world;
}

/** Active, and its addresses lead to it. */
function routed(definition: object = WEB): PlannerWorld {
  const world = worldOf(definition);
  world.run(12);
  expect(routeEvents(world).at(-1)?.type).toBe('route.switched');
  return world;
}

function routeEvents({ events }: PlannerWorld, after = 0) {
  return events
    .slice(after)
    .filter(({ type }) => type.startsWith('route.'))
    .map(({ type, deployment, attempt, instance, cause, data }) => ({
      ...{ type, place: deployment == null ? null : `${deployment}/${attempt} ${instance}` },
      ...{ reason: cause?.reason, data },
    }));
}

/** What `change` and the time after it bring about. */
function eventsAfter(world: PlannerWorld, change: () => void, seconds = 60) {
  const before = world.events.length;
  change();
  world.wake();
  world.run(seconds);
  return routeEvents(world, before);
}

const FIRST = { deployment: 1, attempt: 1, instance: 'i-1' };

describe('events of a job’s addresses', () => {
  it('say that it has a host, and that this leads to the first container that serves', () => {
    const world = routed();
    expect(routeEvents(world)).toEqual([
      {
        ...{ type: 'route.hosts-changed', place: null, reason: undefined },
        data: { added: [HOST], removed: [], hosts: [HOST] },
      },
      {
        ...{ type: 'route.switched', place: '1/1 i-1', reason: undefined },
        data: { hosts: [HOST], port: 80, from: null },
      },
    ]);
    expect(eventsAfter(world, () => undefined, 3_600)).toEqual([]);
    for (const event of world.events) expect(event).toMatchObject({ actor: 'scheduler', jobId: 'j1', job: 'web' });
  });

  it('say from which deployment to which they go over, after the event that this one is active', () => {
    const world = routed();
    expect(eventsAfter(world, () => world.deploy(WEB))).toEqual([
      {
        ...{ type: 'route.switched', place: '2/1 i-2', reason: 'superseded-by-newer' },
        data: { hosts: [HOST], port: 80, from: FIRST },
      },
    ]);
    const types = world.events.map(({ type, deployment }) => `${type} ${deployment}`);
    expect(types.indexOf('route.switched 2')).toBeGreaterThan(types.indexOf('deployment.active 2'));
  });

  it('say from which attempt to which they go over where a container ails', () => {
    const definition = { ...WEB, health: { path: '/', port: 80 } };
    const world = routed(definition);
    const [attempt] = world.deployments[0]!.attempts;
    const events = eventsAfter(world, () => world.probe(attempt!, 'unhealthy'), 90);
    expect(events).toEqual([
      {
        ...{ type: 'route.switched', place: '1/2 i-2', reason: 'health-check-failed' },
        data: { hosts: [HOST], port: 80, from: FIRST },
      },
    ]);
  });

  it('say that nothing serves and why, and when something does again', () => {
    const world = routed();
    const events = eventsAfter(world, () => world.lose(world.deployments[0]!.attempts[0]!));
    expect(events).toEqual([
      {
        ...{ type: 'route.cleared', place: '1/1 i-1', reason: 'instance-terminated' },
        data: { hosts: [HOST], why: 'nothing-serves', message: world.deployments[0]!.attempts[0]!.message },
      },
      {
        ...{ type: 'route.switched', place: '1/2 i-2', reason: undefined },
        data: { hosts: [HOST], port: 80, from: null },
      },
    ]);
  });

  it.each([
    ['stopped', 'stop-requested', []],
    [
      'deleted',
      'delete-requested',
      [{ type: 'route.hosts-changed', place: null, data: { added: [], removed: [HOST], hosts: [] } }],
    ],
  ] as const)('say once that the job is %s', (desiredState, reason, more) => {
    const world = routed();
    const events = eventsAfter(world, () => (world.desiredState = desiredState), 300);
    expect(events).toEqual([
      ...more,
      {
        ...{ type: 'route.cleared', place: '1/1 i-1', reason },
        data: { hosts: [HOST], why: desiredState, message: null },
      },
    ]);
  });

  it('say that a deployment without an address took over', () => {
    const world = routed();
    expect(eventsAfter(world, () => world.deploy({ ...WEB, route: false }))).toMatchObject([
      { type: 'route.hosts-changed', place: null, data: { added: [], removed: [HOST], hosts: [] } },
      {
        ...{ type: 'route.cleared', place: '1/1 i-1', reason: 'superseded-by-newer' },
        data: { hosts: [HOST], why: 'no-address' },
      },
    ]);
  });

  it('say in one event which hosts were gained and lost, where they lead, and which there are', () => {
    const world = routed(withHosts('a.own.test', 'b.own.test'));
    expect(eventsAfter(world, () => world.deploy(withHosts('b.own.test', 'd.own.test', 'c.own.test')))).toMatchObject([
      {
        ...{ type: 'route.hosts-changed', place: '2/1 i-2' },
        data: {
          added: ['c.own.test', 'd.own.test'],
          removed: ['a.own.test'],
          hosts: ['b.own.test', 'c.own.test', 'd.own.test', HOST],
        },
      },
      { type: 'route.switched', data: { hosts: ['b.own.test', 'c.own.test', 'd.own.test', HOST] } },
    ]);
    // The operator takes one back: what serves goes on.
    const takeBack = () => (world.hostRules = { ...RULES, reserved: ['c.own.test'] });
    expect(eventsAfter(world, takeBack)).toMatchObject([
      { type: 'route.hosts-changed', place: '2/1 i-2', data: { added: [], removed: ['c.own.test'] } },
    ]);
  });

  it('say nothing of a host that is another job’s before this one gets it', () => {
    const world = worldOf();
    world.takenHosts.add(HOST);
    world.run(60);
    expect(world.deployments[0]!.attempts[0]!.routedPort).toBe(80);
    expect(routeEvents(world)).toEqual([]);
    const events = eventsAfter(world, () => world.takenHosts.clear());
    expect(events.map(({ type, place }) => [type, place])).toEqual([
      ['route.hosts-changed', '1/1 i-1'],
      ['route.switched', '1/1 i-1'],
    ]);
  });

  it('are two in all for a port that cannot be connected to, however often it is tried again', () => {
    const world = worldOf();
    world.reaches = 'nothing';
    world.run(3_600);
    expect(routeEvents(world).map(({ data }) => data)).toEqual([
      { added: [HOST], removed: [], hosts: [HOST] },
      { added: [], removed: [HOST], hosts: [] },
    ]);
    expect(eventsAfter(world, () => (world.reaches = 'http'), 120).map(({ type }) => type)).toEqual([
      'route.hosts-changed',
      'route.switched',
    ]);
  });
});
