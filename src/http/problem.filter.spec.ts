import { type ArgumentsHost, HttpException, Logger, NotFoundException } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HandClock } from '../../test/support/hand-clock.js';
import { ADMIN, rememberCaller } from './caller.js';
import { Problem } from './problem.js';
import { ProblemFilter } from './problem.filter.js';

describe('the answer to an error', () => {
  let clock: HandClock;
  let logged: unknown[][];
  let filter: ProblemFilter;
  beforeEach(() => {
    clock = new HandClock();
    logged = [];
    Logger.overrideLogger({
      log: () => undefined,
      warn: (...parts: unknown[]) => logged.push(['warn', ...parts]),
      error: (...parts: unknown[]) => logged.push(['error', ...parts]),
    });
    filter = new ProblemFilter();
  });
  afterEach(() => {
    clock.restore();
    Logger.overrideLogger(true);
  });

  type Called = { readonly url?: string; readonly route?: string | null };

  function exchange({ url = '/v1/jobs?token=secret', route = '/v1/jobs' }: Called = {}) {
    const request = {
      id: 'x',
      method: 'GET',
      url,
      routeOptions: { url: route ?? undefined },
    } as unknown as FastifyRequest;
    const answer = { status: 0, headers: {} as object, body: undefined as unknown, isCutOff: false };
    const reply = {
      sent: false,
      raw: { headersSent: false, destroy: () => (answer.isCutOff = true) },
      code: (status: number) => Object.assign(reply, void (answer.status = status)),
      headers: (headers: object) => Object.assign(reply, void (answer.headers = headers)),
      send: (body: Buffer) => Object.assign(reply, void (answer.body = JSON.parse(body.toString()))),
    };
    return { request, reply: reply as unknown as FastifyReply, answer };
  }

  function answerTo(error: unknown, one = exchange()) {
    const switchToHttp = () => ({ getRequest: () => one.request, getResponse: () => one.reply });
    filter.catch(error, { switchToHttp } as unknown as ArgumentsHost);
    return one.answer;
  }

  it('is its problem, with the id of the request', () => {
    const answer = answerTo(new Problem('too-many-requests', 'Slower.', { retryAfterSeconds: 3 }));
    expect(answer).toEqual({
      status: 429,
      headers: { 'retry-after': '3', 'x-request-id': 'x', 'content-type': 'application/problem+json' },
      body: expect.objectContaining({
        type: '/problems/too-many-requests',
        detail: 'Slower.',
        instance: 'urn:request:x',
      }),
      isCutOff: false,
    });
    expect(logged).toEqual([]);
  });

  it.each<[string, unknown, number, string]>([
    ['a route that there is none of', new NotFoundException('Cannot GET /x'), 404, '/problems/not-found'],
    ['what Nest rejects otherwise', new HttpException('I’m a teapot', 418), 418, 'about:blank'],
    ['a status that nobody knows', new HttpException('x', 499), 499, 'about:blank'],
    ['a fault that Nest tells of', new HttpException('x', 503), 503, '/problems/unavailable'],
    ['a bug', new TypeError('x is undefined'), 500, 'about:blank'],
    ['a bug that Nest tells of', new HttpException('x', 500), 500, 'about:blank'],
    ['what is no error', 'oops', 500, 'about:blank'],
  ])('is of its status for %s', (_what, error, status, type) => {
    const answer = answerTo(error);
    expect(answer).toMatchObject({ status, body: { status, type } });
    expect(JSON.stringify(answer.body)).not.toContain('undefined');
    // The operator learns of what is no fault of a client's.
    expect(logged).toHaveLength(status >= 500 ? 1 : 0);
  });

  it('has the title of its status', () => {
    expect(answerTo(new HttpException('x', 418)).body).toMatchObject({ title: "I'm a Teapot" });
    expect(answerTo(new HttpException('x', 499)).body).toMatchObject({ title: 'Error' });
  });

  it('breaks off where a part of another is sent already', () => {
    for (const [sent, headersSent] of [
      [true, false],
      [false, true],
    ]) {
      const one = exchange();
      Object.assign(one.reply, { sent });
      Object.assign(one.reply.raw, { headersSent });
      expect(answerTo(new Error('late'), one)).toMatchObject({ status: 0, body: undefined, isCutOff: true });
    }
  });

  it('challenges a caller whose token does not allow it, and nobody without a token', () => {
    const one = exchange();
    rememberCaller(one.request, ADMIN);
    const problem = new Problem('forbidden', 'no');
    expect(answerTo(problem, one).headers).toMatchObject({
      'www-authenticate': 'Bearer error="insufficient_scope"',
    });
    expect(answerTo(problem).headers).not.toHaveProperty('www-authenticate');
    expect(answerTo(new Problem('conflict', 'no'), one).headers).not.toHaveProperty('www-authenticate');
    // A rule that knows more says more.
    const headers = { 'www-authenticate': 'Bearer scope="admin"' };
    expect(answerTo(new Problem('forbidden', 'no', { headers }), one).headers).toMatchObject(headers);
  });

  it('is logged of a bug, once a second for each route, with how many there were, and never with the query', async () => {
    const bug = new Error('bug');
    for (let n = 0; n < 3; n += 1) answerTo(bug);
    answerTo(bug, exchange({ url: '/x', route: null }));
    answerTo(bug, exchange({ url: '/v1/events', route: '/v1/events' }));
    const fields = { requestId: 'x', method: 'GET', path: '/v1/jobs' };
    expect(logged.splice(0)).toEqual([
      ['error', 'request failed', fields, bug, 'Http'],
      ['error', 'request failed', { ...fields, path: '/x' }, bug, 'Http'],
      ['error', 'request failed', { ...fields, path: '/v1/events' }, bug, 'Http'],
    ]);
    await clock.pass(1_000);
    answerTo(bug);
    answerTo(bug);
    await clock.pass(1_000);
    answerTo(bug);
    expect(logged.map(([, message]) => message)).toEqual([
      'request failed, and 2 before it',
      'request failed, and 1 before it',
    ]);
  });

  it('is logged of what the program is not at fault for, once a second for all of it', async () => {
    const cause = new Error('away');
    const away = new Problem('unavailable', 'no', { cause });
    answerTo(away);
    answerTo(away, exchange({ route: '/v1/events' }));
    expect(logged).toEqual([
      [
        'warn',
        'request not served, and 0 before it',
        { requestId: 'x', method: 'GET', path: '/v1/jobs' },
        cause,
        'Http',
      ],
    ]);
    await clock.pass(1_000);
    answerTo(away);
    expect(logged[1]).toContain('request not served, and 1 before it');
    // Nothing of what is meant, or of the client's own.
    answerTo(new Problem('shutting-down', 'no'));
    answerTo(new Problem('malformed-request', 'no', { cause }));
    await clock.pass(1_000);
    answerTo(new Problem('shutting-down', 'no'));
    answerTo(new Problem('malformed-request', 'no', { cause }));
    expect(logged).toHaveLength(2);
  });
});
