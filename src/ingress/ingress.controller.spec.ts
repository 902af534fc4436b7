import { describe, expect, it } from '@jest/globals';
import type { FastifyReply } from 'fastify';
import type { Shutdown } from '../process/shutdown.js';
import { IngressController } from './ingress.controller.js';
import { type Route, type RouteLookup, routeLookups } from './route-lookup.js';

const ROUTE: Route = {
  jobId: 'job',
  target: { address: '10.0.0.9:80', job: 'web', deployment: 1 },
  holdSeconds: 10,
  allow: [],
};
const LISTED: Route = { ...ROUTE, allow: ['10.0.0.0/8'] };
const WAITING: Route = { ...LISTED, target: null };

/** Status, and what the headers say of the host, with the target last. */
type Said = readonly [status: number, ...words: string[]];

describe('an ingress', () => {
  it.each<readonly [string, Route | undefined, Said]>([
    ['no job', undefined, [401]],
    ['a job without a list', ROUTE, [200, 'known', 'holds', '10.0.0.9:80']],
    // The answer is kept for all callers: nothing in it leads anywhere, and nobody is to wait by it.
    ['a job with a list', LISTED, [401, 'known', 'limited']],
    ['a job with a list that nothing serves', WAITING, [401, 'known', 'limited']],
  ])('is told of the host of %s what holds for all callers', async (_, route, said) => {
    const reply = new Reply();
    await controllerOf(route).route('web.jobs.test', reply.asFastify());
    expect([reply.said(), reply.headers['cache-control']]).toEqual([said, 'max-age=1, stale-if-error=44']);
  });

  it.each<readonly [string, Route | undefined, string, Said]>([
    ['no job', undefined, '10.0.0.1', [401]],
    ['a job whose list is gone', ROUTE, '11.0.0.1', [200, 'known', 'holds', '10.0.0.9:80']],
    ['a job that lists it', LISTED, '10.0.0.1', [200, 'known', 'holds', '10.0.0.9:80']],
    ['a job that lists it, and that nothing serves', WAITING, '10.0.0.1', [401, 'known', 'holds']],
    ['a job that does not list it', LISTED, '11.0.0.1', [401, 'known', 'refused']],
    ['a job that does not list it, and that nothing serves', WAITING, '11.0.0.1', [401, 'known', 'refused']],
  ])('is told of a caller of %s what holds for this one', async (_, route, address, said) => {
    const reply = new Reply();
    await controllerOf(route).caller('web.jobs.test', address, reply.asFastify());
    expect([reply.said(), reply.headers['cache-control']]).toEqual([said, 'max-age=1, stale-if-error=44']);

    const held = new Reply();
    await controllerOf(route).hold('web.jobs.test', { not: '', from: address }, held.asFastify());
    expect([held.said(), held.headers['cache-control']]).toEqual([said, 'no-store']);
  });

  it('that does not say who calls gets nobody to a job with a list', async () => {
    const reply = new Reply();
    await controllerOf(LISTED).hold('web.jobs.test', { not: '', from: '' }, reply.asFastify());
    expect(reply.said()).toEqual([401, 'known', 'refused']);
  });
});

describe('a lookup of an ingress', () => {
  it.each<readonly [string, Route | undefined, string, readonly string[]]>([
    ['no job', undefined, '10.0.0.1', ['unknown', 'unknown', 'unknown']],
    ['a job that serves', ROUTE, '10.0.0.1', ['target', 'target', 'target']],
    ['a job with a list', LISTED, '10.0.0.1', ['limited', 'target', 'target']],
    ['a job that does not list the caller', LISTED, '11.0.0.1', ['limited', 'refused', 'refused']],
    ['a job that nothing serves yet', { ...WAITING, allow: [] }, '10.0.0.1', ['waiting', 'waiting', 'waiting']],
    [
      ...(['a job that nothing serves', { ...WAITING, allow: [], holdSeconds: 0 }, '10.0.0.1'] as const),
      ['nowhere', 'nowhere', 'nowhere'],
    ],
  ])('of %s is counted by what it came to', async (_, route, address, outcomes) => {
    expect(await countedBy(controllerOf(route), address)).toEqual(outcomes);
  });

  it('is counted as failed where it had no answer, or too late; of one that waits the caller may leave', async () => {
    const away = () => Promise.reject(new Error('Postgres is away'));
    expect(await countedBy(controllerOf(away))).toEqual(['failed', 'failed', 'failed']);
    const isGone = true;
    expect(await countedBy(controllerOf(ROUTE), '10.0.0.1', isGone)).toEqual(['failed', 'failed', 'target']);
  });

  it('that another process is to answer is none that failed', async () => {
    const ending = controllerOf({ ...WAITING, allow: [] }, true);
    expect((await countedBy(ending)).at(-1)).toBe('handed-on');
  });

  /** Outcomes of a lookup of each kind. */
  async function countedBy(controller: IngressController, address = '10.0.0.1', isGone = false): Promise<string[]> {
    const counted: string[] = [];
    const leave = routeLookups.subscribe(({ kind, outcome }) => counted.push(`${kind} ${outcome}`));
    const reply = () => new Reply(isGone).asFastify();
    await controller.route('web.jobs.test', reply()).catch(() => undefined);
    await controller.caller('web.jobs.test', address, reply()).catch(() => undefined);
    await controller.hold('web.jobs.test', { not: '', from: address }, reply()).catch(() => undefined);
    leave();
    const kinds = ['route', 'caller', 'hold'];
    expect(counted.map((one) => one.split(' ')[0])).toEqual(kinds);
    return counted.map((one) => one.split(' ')[1] ?? '');
  }
});

function controllerOf(route: Route | undefined | (() => Promise<never>), hasBegun = false): IngressController {
  const find = typeof route === 'function' ? route : () => Promise.resolve(route);
  const lookup = { find, await: find } as unknown as RouteLookup;
  return new IngressController(lookup, { hasBegun } as unknown as Shutdown, { staleSeconds: 44 });
}

/** What is sent, as far as an ingress reads it. */
class Reply {
  readonly headers: Record<string, unknown> = {};
  readonly #raw: object;
  #status = 0;

  /** @param isGone who asked has ended the connection */
  constructor(isGone = false) {
    this.#raw = { once: () => undefined, destroyed: isGone };
  }

  asFastify(): FastifyReply {
    const reply = {
      raw: this.#raw,
      header: (name: string, value: unknown) => reply.headers({ [name]: value }),
      headers: (headers: object) => {
        Object.assign(this.headers, headers);
        return reply;
      },
      code: (status: number) => {
        this.#status = status;
        return reply;
      },
      send: () => undefined,
    };
    return reply as unknown as FastifyReply;
  }

  said(): (string | number)[] {
    const words = ['known', 'holds', 'limited', 'refused'].filter((word) => this.headers[`route-${word}`] === 'yes');
    const target = this.headers['route-target'];
    return [this.#status, ...words, ...(typeof target === 'string' ? [target] : [])];
  }
}
