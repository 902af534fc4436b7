/**
 * Every problem this API answers with, by code: the last part of `type`, and what a client may rely on. One table for
 * the answers, the documentation and the tests; a new code is a new row.
 */
export const PROBLEMS = {
  'malformed-request': { status: 400, title: 'The request could not be read' },
  'invalid-parameter': { status: 400, title: 'A parameter is not valid' },
  unauthorized: { status: 401, title: 'Credentials are missing or not valid' },
  forbidden: { status: 403, title: 'Not allowed' },
  'not-found': { status: 404, title: 'There is nothing here' },
  'job-not-found': { status: 404, title: 'Job not found' },
  'deployment-not-found': { status: 404, title: 'Deployment not found' },
  'attempt-not-found': { status: 404, title: 'Attempt not found' },
  'instance-not-found': { status: 404, title: 'Instance not found' },
  'token-not-found': { status: 404, title: 'Token not found' },
  'registry-not-found': { status: 404, title: 'Registry not found' },
  'webhook-not-found': { status: 404, title: 'Webhook not found' },
  'delivery-not-found': { status: 404, title: 'Delivery not found' },
  'order-not-found': { status: 404, title: 'Order not found' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'Not possible in the present state' },
  'job-name-taken': { status: 409, title: 'There is a job of this name' },
  'job-limit-reached': { status: 409, title: 'There may be no more jobs' },
  'instance-limit-reached': { status: 409, title: 'There may be no more instances' },
  'job-deleting': { status: 409, title: 'The job is being deleted' },
  'deployment-active': { status: 409, title: 'The deployment is active' },
  'deployment-draining': { status: 409, title: 'The deployment is being stopped' },
  'cannot-roll-back': { status: 409, title: 'There is nothing to roll back to' },
  'nothing-to-roll-back': { status: 409, title: 'The newest deployment does not serve' },
  'nothing-to-start': { status: 409, title: 'There is no deployment to start from' },
  'not-quarantined': { status: 409, title: 'The instance is not in quarantine' },
  'webhook-limit-reached': { status: 409, title: 'There may be no more webhooks' },
  'webhook-disabled': { status: 409, title: 'The webhook is disabled' },
  'idempotency-key-reused': { status: 409, title: 'The Idempotency-Key belongs to another request' },
  'request-in-progress': { status: 409, title: 'The same request is being carried out' },
  'already-registered': { status: 409, title: 'The instance is registered with another token' },
  'instance-retired': { status: 410, title: 'The instance is retired' },
  'precondition-failed': { status: 412, title: 'It has been changed meanwhile' },
  'payload-too-large': { status: 413, title: 'The body is too large' },
  'uri-too-long': { status: 414, title: 'The URL is too long' },
  'unsupported-media-type': { status: 415, title: 'The content type is not supported' },
  'invalid-request': { status: 422, title: 'The request is not valid' },
  'too-many-requests': { status: 429, title: 'Too many requests' },
  'headers-too-large': { status: 431, title: 'The headers are too large' },
  unavailable: { status: 503, title: 'Not available now' },
  'shutting-down': { status: 503, title: 'This process is shutting down' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** Where in the request a fault is: a JSON pointer into the body (`#/env/A`), or the name of a parameter or header. */
export type ProblemError =
  | { readonly pointer: string; readonly detail: string }
  | { readonly parameter: string; readonly detail: string }
  | { readonly header: string; readonly detail: string };

export type ProblemExtra = {
  readonly errors?: readonly ProblemError[];
  /** Becomes `Retry-After`. */
  readonly retryAfterSeconds?: number;
  /** Further headers of the answer. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
};

/** Thrown by services and controllers; the problem filter turns it into the answer. `detail` is read by the client. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly errors: readonly ProblemError[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    readonly code: ProblemCode,
    readonly detail: string,
    { errors = [], retryAfterSeconds, headers = {}, cause }: ProblemExtra = {},
  ) {
    super(detail, { cause });
    this.errors = errors;
    this.headers =
      retryAfterSeconds === undefined ? headers : { ...headers, 'retry-after': String(Math.ceil(retryAfterSeconds)) };
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }
}

/** Body of an answer as RFC 9457 wants it. */
export type ProblemBody = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  /** The request id as a URN: what an operator looks for in the log. */
  readonly instance: string;
  readonly errors?: readonly ProblemError[];
};

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export function problemBody({ code, detail, errors }: Problem, requestId: string): ProblemBody {
  return {
    type: `/problems/${code}`,
    ...PROBLEMS[code],
    detail,
    instance: `urn:request:${requestId}`,
    ...(errors.length > 0 && { errors }),
  };
}

/** For a status without a row of its own: RFC 9457's `about:blank` says no more than the status does. */
export function blankProblemBody(status: number, title: string, requestId: string): ProblemBody {
  return { type: 'about:blank', title, status, instance: `urn:request:${requestId}` };
}
