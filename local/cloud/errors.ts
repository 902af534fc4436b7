/** An AWS error as it is sent. Callers classify by `code`; the message is for people. */
export class CloudError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status: number = statusOf(code)) {
    super(message);
    this.name = 'CloudError';
    this.code = code;
    this.status = status;
  }
}

/** EC2's HTTP status of an error code; SDKs retry by it, so a wrong one changes how often they call (docs/ec2.md). */
export function statusOf(code: string): number {
  return STATUS_BY_CODE[code] ?? 400;
}

const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  RequestLimitExceeded: 503,
  Unavailable: 503,
  ServiceUnavailable: 503,
  SlowDown: 503,
  InternalError: 500,
  InternalFailure: 500,
  InsufficientInstanceCapacity: 500,
  DryRunOperation: 412,
  PreconditionFailed: 412,
  AuthFailure: 401,
  MissingAuthenticationToken: 403,
  UnauthorizedOperation: 403,
  AccessDenied: 403,
  NoSuchKey: 404,
  NoSuchBucket: 404,
  MethodNotAllowed: 405,
  BucketAlreadyOwnedByYou: 409,
  InvalidRange: 416,
  NotImplemented: 501,
};
