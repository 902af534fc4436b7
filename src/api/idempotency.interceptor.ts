import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { findCaller } from '../http/caller.js';
import { isChanging } from '../http/is-changing.js';
import { IdempotencyKeys, type KeptAnswer } from './idempotency-keys.js';
import { Problem } from '../http/problem.js';

/** Anything a header can carry except spaces: clients send UUIDs, some in the quotes of a structured field. */
const KEY = /^[\x21-\x7e]{1,255}$/;
/** Headers of an answer that a handler sets, and a repeat must get again. */
const KEPT_HEADERS = ['location', 'etag', 'cache-control'] as const;

/** Carries out a changing call with an `Idempotency-Key` once, and answers its repeats in the same way. */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(private readonly keys: IdempotencyKeys) {}

  intercept(context: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const key = request.headers['idempotency-key'];
    const caller = findCaller(request);
    if (key === undefined || !caller || !isChanging(request.method)) return next.handle();
    return from(this.#answer(caller.id, checkKey(key), request, http.getResponse<FastifyReply>(), next));
  }

  async #answer(
    caller: string,
    key: string,
    request: FastifyRequest,
    reply: FastifyReply,
    next: CallHandler<unknown>,
  ): Promise<unknown> {
    const call = { caller, key, content: contentOf(request) };
    const { answer, isReplay } = await this.keys.once(call, async () => {
      const body = await lastValueFrom(next.handle());
      return answerOf(reply, body);
    });
    if (isReplay) void reply.code(answer.status).headers({ ...answer.headers, 'idempotency-replayed': 'true' });
    return answer.body === null ? undefined : (JSON.parse(answer.body) as unknown);
  }
}

function checkKey(key: string | string[]): string {
  if (typeof key === 'string' && KEY.test(key)) return key;
  const detail = 'must be 1 to 255 printable ASCII characters without spaces';
  throw new Problem('malformed-request', `Idempotency-Key ${detail}.`, {
    errors: [{ header: 'Idempotency-Key', detail }],
  });
}

function contentOf({ method, url, headers, body }: FastifyRequest): string {
  return JSON.stringify([method, url, headers['if-match'] ?? null, body ?? null]);
}

function answerOf(reply: FastifyReply, body: unknown): KeptAnswer {
  const headers = KEPT_HEADERS.flatMap((name) => {
    const value = reply.getHeader(name);
    return value === undefined ? [] : [[name, String(value)] as const];
  });
  return {
    status: reply.statusCode,
    headers: Object.fromEntries(headers),
    body: body === undefined ? null : JSON.stringify(body),
  };
}
