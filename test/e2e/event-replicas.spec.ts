import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { ATTEMPT_PHASES } from '../../src/deployments/attempt-status.ts';
import type { EventResponse } from '../../src/events/event.schema.ts';
import { EventSource } from '../support/event-source.ts';
import { settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

const JOBS = 8;
const QUICK = {
  ...WEB,
  image: 'hello-web:1',
  rollout: { stableSeconds: 0, drainSeconds: 0, stopGraceSeconds: 1, deadlineSeconds: 120 },
};

// Three processes with all roles: each writes, sequences and is followed, and one is killed in between.
describe('events of a whole stack', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), replicas: 3, cloud: { bootMs: [50, 400] } });
  }, 120_000);
  afterAll(() => stack.stop(), 60_000);

  it('reach every follower once and in order, from launch to termination, though a process is killed', async () => {
    const [one = '', two = '', three = ''] = stack.urls;
    const followers = [follow([one]), follow([two]), follow([three, two])];
    const names = Array.from({ length: JOBS }, (_, number) => `job-${number}`);
    await Promise.all(names.map((name) => stack.call('POST', '/v1/jobs', { name, ...QUICK })));
    await stack.kill(2);
    await Promise.all(names.map((name) => settled(stack, name, 1)));
    await Promise.all(names.map((name) => stack.call('POST', `/v1/jobs/${name}/restart`)));
    await Promise.all(names.map((name) => settled(stack, name, 2)));
    await Promise.all(names.map((name) => stack.call('DELETE', `/v1/jobs/${name}`)));
    for (const name of names) await until(async () => (await stack.status('GET', `/v1/jobs/${name}`)) === 404, 90_000);
    await until(async () => (await stack.query('SELECT 1 FROM events WHERE position IS NULL')).length === 0);

    const [{ last } = { last: 0 }] = await stack.query<{ last: number }>('SELECT last::int FROM event_positions');
    const seen = await Promise.all(followers.map((follower) => follower.through(last)));
    for (const events of seen) expect(events.map(({ position }) => position)).toEqual(range(last));
    const [events] = seen as [EventResponse[]];
    expect(seen[1]).toEqual(events);
    expect(seen[2]).toEqual(events);

    for (const name of names) {
      const types = events
        .filter(({ job }) => job === name)
        .map(({ type, deployment }) => `${type} ${deployment ?? ''}`);
      expectInOrder(types, [
        'job.created ',
        'deployment.created 1',
        'deployment.deploying 1',
        'deployment.active 1',
        'deployment.created 2',
        'deployment.active 2',
        'deployment.draining 1',
        'job.delete-requested ',
        'deployment.draining 2',
        'deployment.stopped 2',
        'job.deleted ',
      ]);
      // The job may be deleted before its predecessor's container has stopped.
      expectInOrder(types, ['deployment.draining 1', 'deployment.superseded 1', 'job.deleted ']);
      // None of these jobs has an address that callers would have to be led away from.
      expect(phasesOf(events, name, 2)).toEqual(ATTEMPT_PHASES.filter((phase) => phase !== 'unrouting'));
    }
    const instances = new Set(stack.cloud.ledger.instances().map(({ id }) => id));
    expect(instances.size).toBeGreaterThanOrEqual(2 * JOBS);
    for (const id of instances) {
      const types = events.filter(({ instance, type }) => instance === id && type.startsWith('instance.'));
      expect(types.map(({ type }) => type)).toEqual([
        'instance.launched',
        'instance.registered',
        'instance.retiring',
        'instance.terminated',
      ]);
      expect(types[2]).toMatchObject({ actor: 'fleet', cause: { reason: 'attempt-ended' } });
      expect(names).toContain(types[2]?.job);
    }
  }, 180_000);
});

/** Follows on the first replica that answers, and wherever one does when that breaks off. */
function follow(urls: readonly string[]): { through(position: number): Promise<EventResponse[]> } {
  const events: EventResponse[] = [];
  const end = new AbortController();
  let notify: () => void = () => undefined;
  const following = (async () => {
    for (let turn = 0; !end.signal.aborted; turn += 1) {
      try {
        const lastEventId = String(events.at(-1)?.position ?? 0);
        const source = await EventSource.open(`${urls[turn % urls.length] ?? ''}/v1/events`, { lastEventId });
        end.signal.addEventListener('abort', () => source.close());
        for (let event = await source.next(); event; event = await source.next()) {
          events.push(JSON.parse(event.data) as EventResponse);
          notify();
        }
      } catch {
        // The replica is gone: the next one goes on, a moment later.
        await new Promise((done) => setTimeout(done, 20));
      }
    }
  })();
  return {
    through: async (position) => {
      while ((events.at(-1)?.position ?? 0) < position) await new Promise<void>((done) => (notify = done));
      end.abort();
      await following;
      return events;
    },
  };
}

function phasesOf(events: readonly EventResponse[], job: string, deployment: number): string[] {
  return events
    .filter((event) => event.job === job && event.deployment === deployment && event.attempt === 1)
    .flatMap(({ type }) => (type.startsWith('attempt.') ? [type.slice('attempt.'.length)] : []));
}

function expectInOrder(all: readonly string[], some: readonly string[]): void {
  expect(all.filter((type) => some.includes(type))).toEqual(some);
}

function range(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1);
}
