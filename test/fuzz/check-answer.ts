import type { IncomingHttpHeaders } from 'node:http';
import type { ApiDocument } from './document.ts';
import type { FuzzRequest } from './request.ts';
import type { Outcome } from './send.ts';

export const PROBLEM_TYPE = 'application/problem+json';
const PROBLEM = { $ref: '#/components/schemas/Problem' };

/** What may meet a request before it has met its route: wire, address, method, media type, size, origin. */
const BEFORE_ROUTES = new Set([400, 403, 404, 408, 413, 414, 415, 431]);
/** Beyond these the API stops reading: a client that still writes may see the connection end before the answer. */
const BODY_LIMIT = 32 * 1024;
const HEADER_LIMIT = 16 * 1024;

/** What is wrong with an answer; undefined: nothing. */
export function checkAnswer(document: ApiDocument, request: FuzzRequest, outcome: Outcome): string | undefined {
  switch (outcome.kind) {
    case 'silent':
      return outcome.detail;
    case 'cut':
      return isBeyondLimits(request) ? undefined : `cut off without an answer: ${outcome.detail}`;
    case 'parked':
      return undefined;
    case 'stream':
      return checkStatus(request, outcome.status) ?? (outcome.status < 400 ? undefined : 'a problem that does not end');
    case 'answer':
      return checkStatus(request, outcome.status) ?? checkBody(document, request, outcome);
  }
}

/** Nor is it known by then that the answer to a HEAD has no body. */
function isBeyondLimits({ path, headers, body }: FuzzRequest): boolean {
  const head = headers.reduce((sum, [name, value]) => sum + name.length + value.length, path.length);
  return head > HEADER_LIMIT || (body?.length ?? 0) > BODY_LIMIT;
}

function checkStatus({ operation, method }: FuzzRequest, status: number): string | undefined {
  if (status >= 500 && status !== 503) return `status ${status}`;
  if (!operation) return undefined;
  if (String(status) in operation.answers || BEFORE_ROUTES.has(status)) return undefined;
  return method === operation.method ? `status ${status} is not declared for ${operation.id}` : undefined;
}

type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer };

function checkBody(document: ApiDocument, request: FuzzRequest, answer: Answer): string | undefined {
  const { status, headers, body } = answer;
  if (request.method === 'HEAD') return body.length > 0 ? 'an answer to HEAD with a body' : checkHeaders(answer);
  const declared = request.operation?.answers[String(status)];
  const type = typeOf(headers);
  if (status >= 400 && !(declared && type in declared && type !== PROBLEM_TYPE)) {
    return checkProblem(document, answer) ?? checkHeaders(answer) ?? checkChallenge(request, answer);
  }
  if (!declared) return undefined;
  if (body.length === 0 && !isJson(type)) return undefined;
  const schema = declared[type];
  if (schema === undefined) return `${status} with a body of ${type || 'no type'}, which is not declared`;
  if (!isJson(type)) return undefined;
  // An order's body may be empty, and is Docker's.
  if (Object.keys(schema).length === 0) return undefined;
  const value = parse(body);
  if (value === undefined) return `${status} with a body that is not JSON: ${startOf(body)}`;
  const fault = document.check(schema, value);
  if (fault !== undefined) return `${status} with a body that is not as declared: ${fault}`;
  return status < 300 ? checkMaps(request, value) : undefined;
}

/** What was accepted is there: a map whose names users choose is kept to the letter, or refused, and never in part. */
function checkMaps({ operation, body }: FuzzRequest, answered: unknown): string | undefined {
  if (!/^(POST \/v1\/jobs(\/\{name\}\/deployments)?|PATCH \/v1\/jobs\/\{name\})$/.test(operation?.id ?? ''))
    return undefined;
  const sent = recordOf(body && parse(body));
  const answer = recordOf(answered);
  const env = recordOf(answer['env'] ?? recordOf(answer['definition'])['env']);
  const secrets = new Set(answer['secrets'] as string[]);
  for (const [name, value] of Object.entries(recordOf(sent['env']))) {
    const kept = Object.hasOwn(env, name) ? env[name] : null;
    if (kept !== value) return `accepted env ${JSON.stringify(name)}, and answered ${JSON.stringify(kept)}`;
  }
  for (const [name, value] of Object.entries(recordOf(sent['secrets']))) {
    if (secrets.has(name) === (value === null)) return `accepted the secret ${JSON.stringify(name)}, and lost it`;
  }
  return undefined;
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function checkProblem(document: ApiDocument, { status, headers, body }: Answer): string | undefined {
  const type = headers['content-type'] ?? '';
  if (type !== PROBLEM_TYPE) return `${status} is no problem, but ${type || 'of no type'}: ${startOf(body)}`;
  const problem = parse(body) as { status?: number; instance?: string; detail?: unknown; type?: string } | undefined;
  if (problem === undefined) return `${status} with a problem that is not JSON: ${startOf(body)}`;
  const fault = document.check(PROBLEM, problem);
  if (fault !== undefined) return `${status} with a problem that is not valid: ${fault}`;
  if (problem.status !== status) return `${status} with a problem of status ${problem.status}`;
  if (problem.instance !== `urn:request:${String(headers['x-request-id'])}`) {
    return `a problem of ${problem.instance} in the answer to ${String(headers['x-request-id'])}`;
  }
  return undefined;
}

function checkHeaders({ status, headers }: Answer): string | undefined {
  if (status === 401 && !headers['www-authenticate']) return '401 without WWW-Authenticate';
  if ((status === 429 || status === 503) && !headers['retry-after']) return `${status} without Retry-After`;
  if (headers['x-injected'] !== undefined || headers['set-cookie'] !== undefined) return 'a header was injected';
  return undefined;
}

/** A known caller without access gets 403; a rejection because of the origin has nothing to do with a token. */
function checkChallenge({ operation, headers: sent }: FuzzRequest, { status, headers }: Answer): string | undefined {
  const needsRole = operation && operation.access !== 'agent' && operation.access !== 'public';
  if (status !== 403 || !needsRole || headers['www-authenticate'] !== undefined) return undefined;
  return sent.some(([name]) => name === 'origin' || name === 'sec-fetch-site')
    ? undefined
    : '403 without WWW-Authenticate';
}

function typeOf({ 'content-type': type = '' }: IncomingHttpHeaders): string {
  return type.split(';')[0]?.trim() ?? '';
}

function isJson(type: string): boolean {
  return type.endsWith('json');
}

export function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

function startOf(body: Buffer): string {
  return JSON.stringify(body.subarray(0, 120).toString());
}
