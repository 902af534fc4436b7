import { describe, expect, it } from '@jest/globals';
import type { FastifyReply } from 'fastify';
import type { Shutdown } from '../process/shutdown.js';
import { IngressController } from './ingress.controller.js';
import type { Route, RouteLookup } from './route-lookup.js';

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
    expect([reply.said(), reply.headers['cache-control']]).toEqual([said, 'max-age=1, stale-if-error=22']);
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
    expect([reply.said(), reply.headers['cache-control']]).toEqual([said, 'max-age=1, stale-if-error=22']);

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

function controllerOf(route: Route | undefined): IngressController {
  const find = () => Promise.resolve(route);
  const lookup = { find, await: find } as unknown as RouteLookup;
  return new IngressController(lookup, { hasBegun: false } as unknown as Shutdown);
}

/** What is sent, as far as an ingress reads it. */
class Reply {
  readonly headers: Record<string, unknown> = {};
  readonly #raw = { once: () => undefined };
  #status = 0;

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
