import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { findCaller } from './caller.js';
import { asError } from '../process/as-error.js';
import { LogThrottle } from '../process/log-throttle.js';
import { problemOfError, problemOfStatus } from './error-problem.js';
import { blankProblemBody, type Problem, PROBLEM_MEDIA_TYPE, type ProblemBody, problemBody } from './problem.js';
import { REQUEST_ID_HEADER } from './request-id.js';

/** Answers every error of every route, unknown routes and broken bodies included. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  readonly #logger = new Logger('Http');
  readonly #trouble = new LogThrottle();

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.answer(error, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }

  /** For errors the router answers before Nest sees them. */
  answer(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const { body, headers } = this.#describe(error, request);
    if (reply.sent || reply.raw.headersSent) {
      // Half of an answer is on the wire: the client must not take it for the whole.
      reply.raw.destroy();
      return;
    }
    // Bytes, as Fastify adds a charset to text, which this media type does not have.
    void reply
      .code(body.status)
      .headers({ ...headers, [REQUEST_ID_HEADER]: request.id, 'content-type': PROBLEM_MEDIA_TYPE })
      .send(Buffer.from(`${JSON.stringify(body)}\n`));
  }

  #describe(error: unknown, request: FastifyRequest): { body: ProblemBody; headers: Readonly<Record<string, string>> } {
    const problem = problemOfError(error) ?? problemOfHttpException(error);
    if (problem) {
      if (problem.status >= 500 && problem.cause !== undefined) this.#logTrouble(problem.cause, request);
      return {
        body: problemBody(problem, request.id),
        headers: { ...challengeOf(problem, request), ...problem.headers },
      };
    }
    if (error instanceof HttpException && error.getStatus() < 500) {
      const status = error.getStatus();
      return { body: blankProblemBody(status, STATUS_CODES[status] ?? 'Error', request.id), headers: {} };
    }
    // A bug, which any caller may trigger as often as it likes.
    const kind = `${request.method} ${request.routeOptions.url ?? 'unmatched'}`;
    this.#trouble.log(kind, (unlogged) =>
      this.#log('error', unlogged > 0 ? `request failed, and ${unlogged} before it` : 'request failed', error, request),
    );
    return { body: blankProblemBody(500, 'Internal Server Error', request.id), headers: {} };
  }

  /** While Postgres is away every poll of every agent ends here: one line a second says as much as thousands. */
  #logTrouble(error: unknown, request: FastifyRequest): void {
    this.#trouble.log('trouble', (unlogged) =>
      this.#log('warn', `request not served, and ${unlogged} before it`, error, request),
    );
  }

  #log(level: 'warn' | 'error', message: string, error: unknown, { id, method, url }: FastifyRequest): void {
    // A query may hold what must not be logged.
    const [path] = url.split('?');
    const cause = asError(error);
    this.#logger[level](message, { requestId: id, method, path }, cause);
  }
}

/** A caller whose token does not allow this gets a challenge (RFC 6750 section 3.1), whichever rule rejected it. */
function challengeOf({ code }: Problem, request: FastifyRequest): Readonly<Record<string, string>> {
  const isTokenAtFault = code === 'forbidden' && findCaller(request) !== undefined;
  return isTokenAtFault ? { 'www-authenticate': 'Bearer error="insufficient_scope"' } : {};
}

function problemOfHttpException(error: unknown): Problem | undefined {
  return error instanceof HttpException ? problemOfStatus(error.getStatus(), error) : undefined;
}
