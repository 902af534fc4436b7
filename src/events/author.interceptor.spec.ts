import type { ExecutionContext } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import type { FastifyRequest } from 'fastify';
import { defer, lastValueFrom, of, throwError } from 'rxjs';
import type { Signals } from '../database/signals.js';
import { ADMIN, type Caller, rememberCaller } from '../http/caller.js';
import { type Author, currentAuthor } from './author.js';
import { AuthorInterceptor } from './author.interceptor.js';

const TOKEN: Caller = { ...ADMIN, id: '0000000a', name: 'ci' };
const SCHEDULER: Author = { actor: 'scheduler', cause: {} };

type Call = { readonly caller?: Caller; readonly method?: string; readonly headers?: Record<string, string> };

/** Serves one call. `order`: who was its author, and when its events were made known. */
async function serve({ caller, method = 'POST', headers = {} }: Call, fails = false) {
  const order: unknown[] = [];
  const request = { id: headers['x-request-id'] ?? 'ours', method, headers } as unknown as FastifyRequest;
  if (caller) rememberCaller(request, caller);
  const context = { switchToHttp: () => ({ getRequest: () => request }) } as unknown as ExecutionContext;
  const interceptor = new AuthorInterceptor({ eventsWritten: () => order.push('written') } as unknown as Signals);
  const handle = () =>
    defer(() => {
      order.push(currentAuthor());
      return fails ? throwError(() => new Error('no')) : of('answer');
    });
  const answer = await lastValueFrom(interceptor.intercept(context, { handle })).catch(String);
  return { answer, order };
}

describe('a call that changes something', () => {
  it.each<[string, Call, Author]>([
    ['of a token', { caller: TOKEN }, { actor: 'token:0000000a', cause: { requestId: 'ours', tokenName: 'ci' } }],
    ['of the administrator', { caller: ADMIN }, { actor: 'admin', cause: { requestId: 'ours' } }],
    [
      'that may be repeated',
      { caller: ADMIN, method: 'DELETE', headers: { 'idempotency-key': '' } },
      { actor: 'admin', cause: { requestId: 'ours', isKeyed: true } },
    ],
  ])('%s is done in the name of its caller, and its events are known once it is done', async (_what, call, author) => {
    expect(await serve(call)).toEqual({ answer: 'answer', order: [author, 'written'] });
  });

  it('has an id of our own beside the one that its caller chose', async () => {
    const { order } = await serve({ caller: ADMIN, headers: { 'x-request-id': 'theirs' } });
    expect(order[0]).toEqual({
      actor: 'admin',
      cause: { requestId: 'theirs', ownRequestId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    });
  });

  it('that failed has written nothing to tell of', async () => {
    const { answer, order } = await serve({ caller: TOKEN }, true);
    expect([answer, order]).toMatchObject(['Error: no', [{ actor: 'token:0000000a' }]]);
    expect(order).toHaveLength(1);
  });
});

it.each<[string, Call]>([
  ['that only reads', { caller: TOKEN, method: 'GET' }],
  ['of nobody, as of agents', { method: 'POST' }],
])('a call %s is done in nobody’s name', async (_what, call) => {
  expect(await serve(call)).toEqual({ answer: 'answer', order: [SCHEDULER] });
});
