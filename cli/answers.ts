import type { Problem } from '../client/index.js';
import type { Exit } from './exit-codes.js';
import { Failure } from './failure.js';

/** Of a path the API does not have: a part too many in SCHEDULER_URL, or an API older than this command. */
const NO_SUCH_ROUTE = '/problems/not-found';

/** What a method of the client resolves with. */
type Result<T> = { readonly data?: T | undefined; readonly error?: unknown; readonly response?: Response | undefined };

/** The answer of a call. @throws Failure when there is none, or it is a problem */
export async function answerOf<T>(call: Promise<Result<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (!response) throw unreachable(error);
  if (!response.ok) throw refused(response, error);
  // A login page or a default site answers 200 to anything.
  if (typeof data !== 'object')
    throw new Failure('error', `${response.url} is no Scheduler API: its answer is no JSON`);
  return data;
}

/** As `answerOf`, but undefined where there is nothing. @throws Failure */
export async function findAnswer<T>(call: Promise<Result<T>>): Promise<T | undefined> {
  try {
    return await answerOf(call);
  } catch (error) {
    if (error instanceof Failure && error.exit === 'not-found') return undefined;
    throw error;
  }
}

/** An answer outside 2xx. @param body parsed where it is JSON */
export function refused({ status, statusText, headers, url }: Response, body: unknown): Failure {
  const location = headers.get('location');
  if (location !== null) return new Failure('error', `answered ${status}: SCHEDULER_URL should be that of ${location}`);
  if (!isProblem(body) || body.type === NO_SUCH_ROUTE) {
    // Another server’s 404 says nothing about a job: `wait --until gone` would take it for its end.
    const message = `${url} answered ${status} ${statusText}`.trimEnd();
    if (isWorthAnotherTry(status)) return new Failure('unreachable', message);
    return new Failure('error', message, {
      details: ['a Scheduler API does not answer so: is SCHEDULER_URL (or --url) right?'],
    });
  }
  const { title, detail, errors = [], instance } = body;
  const faults = errors.map(({ pointer, parameter, header, detail: fault }) =>
    `  ${pointer ?? parameter ?? header ?? ''} ${fault}`.trimEnd(),
  );
  // The detail of a problem with faults is a summary of them.
  const details = faults.length > 0 ? faults : detail === undefined ? [] : [detail];
  if (status === 401) details.push('the token is that of SCHEDULER_TOKEN, SCHEDULER_TOKEN_FILE or --token-file');
  return new Failure(exitOf(status), title, {
    details: [...details, instance.replace('urn:request:', 'request id ')],
    problem: body,
  });
}

export function unreachable(cause: unknown): Failure {
  return new Failure('unreachable', `no answer: ${reasonOf(cause)}`, { cause });
}

/** `fetch failed` says nothing; what Node found is in its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof AggregateError) return reasonOf(cause.errors[0]);
  return cause instanceof Error ? cause.message : error.message;
}

function exitOf(status: number): Exit {
  if (status === 401 || status === 403) return 'denied';
  if (status === 404) return 'not-found';
  if (status === 409 || status === 410 || status === 412) return 'conflict';
  if (isWorthAnotherTry(status)) return 'unreachable';
  return status >= 400 && status < 500 ? 'invalid' : 'error';
}

function isWorthAnotherTry(status: number): boolean {
  return status === 408 || status === 429 || (status >= 502 && status <= 504);
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'title' in body && 'instance' in body;
}
