import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { randomUUID } from 'node:crypto';
import { CloudError } from './errors.ts';
import { answerEc2, ec2ErrorBody } from './ec2/dispatch.ts';
import type { FaultPlan } from './faults.ts';
import { answerEcr, ecrActionOf, ecrErrorBody } from './ecr.ts';
import type { CallLog, CallRecord } from './ledger.ts';
import { readS3Request, s3ErrorBody } from './s3/requests.ts';
import type { ObjectStore } from './s3/store.ts';
import type { World } from './world.ts';

export type ServerOptions = {
  readonly world: World;
  readonly store: ObjectStore;
  readonly faultPlan: FaultPlan;
  readonly calls: CallLog;
  /** Everything the call changed is on disk. */
  readonly flush: () => void;
  /** The cloud's own paths; true when it took the request. */
  readonly handleOwn: (request: IncomingMessage, response: ServerResponse) => boolean;
};

/** EC2 Query, ECR and S3 (path style) on one port: ECR names a target, EC2 an Action at `/`. */
export function createRequestListener(options: ServerOptions): RequestListener {
  return (request, response) => {
    if (options.handleOwn(request, response)) return;
    void answer(options, request, response).catch(() => request.socket.destroy());
  };
}

/** @throws CloudError when it is longer than `mostBytes` */
export async function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > mostBytes) throw new CloudError('EntityTooLarge', `The body is longer than ${mostBytes} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

type Answer = {
  readonly service: CallRecord['service'];
  readonly action: string;
  readonly status: number;
  readonly outcome: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  readonly clientToken?: string | undefined;
  readonly instanceIds?: readonly string[];
};

const LONGEST_FORM = 1024 * 1024;
const LONGEST_OBJECT = 256 * 1024 * 1024;

async function answer(options: ServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const requestId = randomUUID();
  const [path = '/', queryText = ''] = (request.url ?? '/').split('?');
  const query = new URLSearchParams(queryText);
  const isEc2 = path === '/' && (request.method === 'POST' || query.has('Action'));
  const ecrAction = ecrActionOf(request.headers['x-amz-target']);
  const given =
    ecrAction !== undefined
      ? await answerEcrCall(options, request, ecrAction, requestId)
      : isEc2
        ? await answerEc2Call(options, request, query, requestId)
        : await answerS3Call(options, request, { path, query }, requestId);

  const isEffective = given.outcome === 'ok';
  const { isAnswerLost, delayMs } = isEffective
    ? options.faultPlan.afterCall(given.action)
    : { isAnswerLost: false, delayMs: 0 };
  options.calls.add({
    at: new Date().toISOString(),
    service: given.service,
    action: given.action,
    outcome: isAnswerLost ? 'answer-lost' : given.outcome,
    status: given.status,
    requestId,
    ...(given.clientToken !== undefined && { clientToken: given.clientToken }),
    ...(given.instanceIds !== undefined &&
      given.instanceIds.length > 0 && { instanceIds: given.instanceIds.slice(0, 1000) }),
  });
  options.flush();
  if (isAnswerLost) {
    request.socket.destroy();
    return;
  }
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs).unref());
  const isHead = request.method === 'HEAD';
  response.writeHead(given.status, {
    'content-length': Buffer.byteLength(given.body),
    ...given.headers,
    server: SERVERS[given.service],
  });
  response.end(isHead ? undefined : given.body);
}

const SERVERS = { ec2: 'AmazonEC2', ecr: 'AmazonECR', s3: 'AmazonS3' } as const;

async function answerEcrCall(
  { world, faultPlan }: ServerOptions,
  request: IncomingMessage,
  action: string,
  requestId: string,
): Promise<Answer> {
  const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': requestId };
  try {
    await readBody(request, LONGEST_FORM);
    if (!isSigned(request.headers, new URLSearchParams())) {
      throw new CloudError('MissingAuthenticationToken', 'Request is missing Authentication Token');
    }
    faultPlan.beforeCall(action);
    return { service: 'ecr', action, status: 200, outcome: 'ok', headers, body: answerEcr(world, action) };
  } catch (error) {
    const cause = toCloudError(error);
    return { service: 'ecr', action, status: cause.status, outcome: cause.code, headers, body: ecrErrorBody(cause) };
  }
}

async function answerEc2Call(
  { world, faultPlan }: ServerOptions,
  request: IncomingMessage,
  query: URLSearchParams,
  requestId: string,
): Promise<Answer> {
  const headers = { 'content-type': 'text/xml;charset=UTF-8', 'x-amzn-requestid': requestId };
  let action = query.get('Action') ?? 'unknown';
  let clientToken: string | undefined;
  try {
    const form = await readBody(request, LONGEST_FORM);
    const pairs =
      request.method === 'POST' ? new URLSearchParams([...query, ...new URLSearchParams(form.toString())]) : query;
    action = pairs.get('Action') ?? action;
    clientToken = pairs.get('ClientToken') ?? undefined;
    faultPlan.beforeCall(action);
    const { body, instances } = answerEc2(world, { pairs, isSigned: isSigned(request.headers, query), requestId });
    const instanceIds = instances.map(({ id }) => id);
    return { service: 'ec2', action, status: 200, outcome: 'ok', headers, body, clientToken, instanceIds };
  } catch (error) {
    const cause = toCloudError(error);
    const body = ec2ErrorBody(cause, requestId);
    return { service: 'ec2', action, status: cause.status, outcome: cause.code, headers, body, clientToken };
  }
}

async function answerS3Call(
  { world, store, faultPlan }: ServerOptions,
  request: IncomingMessage,
  { path, query }: { path: string; query: URLSearchParams },
  requestId: string,
): Promise<Answer> {
  const common = { 'x-amz-request-id': requestId, 'x-amz-id-2': 'local-cloud' };
  const method = request.method ?? 'GET';
  let action = `${method} object`;
  try {
    const operation = readS3Request({ method, path, query, headers: request.headers, region: world.region });
    action = operation.action;
    const raw = await readBody(request, LONGEST_OBJECT);
    if (!isSigned(request.headers, query)) throw new CloudError('AccessDenied', 'Access Denied');
    faultPlan.beforeCall(action);
    const isWrite = method !== 'GET' && method !== 'HEAD';
    const given = await (isWrite ? inTurn(store, () => operation.run(store, raw)) : operation.run(store, raw));
    const headers = { ...common, ...given.headers };
    return { service: 's3', action, status: given.status, outcome: 'ok', headers, body: given.body ?? '' };
  } catch (error) {
    // What is left of a refused body must be read, or the client meets a reset instead of the answer.
    request.resume();
    const cause = toCloudError(error);
    const headers = { ...common, 'content-type': 'application/xml' };
    const body = method === 'HEAD' ? '' : s3ErrorBody(cause, path, requestId);
    return { service: 's3', action, status: cause.status, outcome: cause.code, headers, body };
  }
}

const turns = new WeakMap<ObjectStore, Promise<unknown>>();

/** One write after the other: a condition (If-None-Match) and its write must not be parted, nor a file and its description. */
async function inTurn<T>(store: ObjectStore, write: () => T | Promise<T>): Promise<T> {
  const before = turns.get(store) ?? Promise.resolve();
  const turn = before.then(write, write);
  turns.set(store, turn);
  return turn;
}

function isSigned(headers: IncomingHttpHeaders, query: URLSearchParams): boolean {
  return (
    /^AWS4-(HMAC-SHA256|ECDSA-P256-SHA256) .*Signature=/.test(headers.authorization ?? '') ||
    query.has('X-Amz-Signature')
  );
}

function toCloudError(error: unknown): CloudError {
  if (error instanceof CloudError) return error;
  return new CloudError('InternalError', error instanceof Error ? error.message : 'An internal error has occurred');
}
