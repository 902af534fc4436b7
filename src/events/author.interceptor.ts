import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { findCaller } from '../http/caller.js';
import { Signals } from '../database/signals.js';
import { isChanging } from '../http/is-changing.js';
import { ownIdOf } from '../http/request-id.js';
import { actorOf, inNameOf } from './author.js';

/** Serves a changing call in the name of its caller, and has its events sequenced once it is committed. */
@Injectable()
export class AuthorInterceptor implements NestInterceptor {
  constructor(private readonly signals: Signals) {}

  intercept(context: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const caller = findCaller(request);
    if (!caller || !isChanging(request.method)) return next.handle();
    const isKeyed = request.headers['idempotency-key'] !== undefined;
    const ownRequestId = ownIdOf(request);
    const cause = {
      requestId: request.id,
      ...(ownRequestId !== request.id && { ownRequestId }),
      ...(caller.name !== null && { tokenName: caller.name }),
      ...(isKeyed && { isKeyed }),
    };
    const author = { actor: actorOf(caller.id), cause };
    return from(
      inNameOf(author, async () => {
        const answer = await lastValueFrom(next.handle());
        this.signals.eventsWritten();
        return answer;
      }),
    );
  }
}
