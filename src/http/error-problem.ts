import { isDatabaseAway } from '../database/database-away.js';
import { Problem, type ProblemCode } from './problem.js';

/** Other transactions held locks for too long; nothing was changed. */
const DATABASE_BUSY = new Set([
  '40P01', // deadlock_detected
  '55P03', // lock_not_available
  '57014', // query_canceled: statement_timeout
]);

/** A client may repeat at once after a fail-over; two seconds keep a crowd of them off a starting Postgres. */
const RETRY_AFTER_SECONDS = 2;

/** The problem for an error that is no bug; undefined for a bug. */
export function problemOfError(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error;
  if (isRouterError(error)) return problemOfStatus(error.statusCode, error);
  if (isDatabaseBusy(error)) {
    return new Problem('unavailable', 'Other work blocks this request.', { retryAfterSeconds: 1, cause: error });
  }
  if (!isDatabaseAway(error)) return undefined;
  return new Problem('unavailable', 'The database does not answer.', {
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: error,
  });
}

/** For what Fastify or Nest reject by themselves; undefined for a status without a row of its own. */
export function problemOfStatus(status: number, error: Error): Problem | undefined {
  const code = CODES[status];
  return code && new Problem(code, error.message, { cause: error });
}

const CODES: Readonly<Record<number, ProblemCode>> = {
  400: 'malformed-request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  413: 'payload-too-large',
  414: 'uri-too-long',
  415: 'unsupported-media-type',
  429: 'too-many-requests',
  503: 'unavailable',
};

/** An error of Fastify's router, which answers before Nest can map it: a URL it cannot decode, a parameter too long. */
function isRouterError(error: unknown): error is Error & { statusCode: number } {
  return (
    error instanceof Error && error.name === 'FastifyError' && 'statusCode' in error && Number(error.statusCode) < 500
  );
}

function isDatabaseBusy(error: unknown): boolean {
  return Error.isError(error) && 'code' in error && DATABASE_BUSY.has(String(error.code));
}
