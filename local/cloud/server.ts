import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { randomUUID } from 'node:crypto';
import type { Authenticator, Service } from './authenticate.ts';
import { CloudError } from './errors.ts';
import { answerEc2, ec2ErrorBody } from './ec2/dispatch.ts';
import type { FaultPlan } from './faults.ts';
import { answerEcr, ecrActionOf, ecrErrorBody } from './ecr.ts';
import { refusalOf, refuse } from './front-door.ts';
import type { CallLog } from './ledger.ts';
import { checkPayload } from './s3/checksums.ts';
import { headersOfError, refuseWrongRegion, regionOf, regionToVerify } from './s3/elsewhere.ts';
import { refuseHidden, refuseListing } from './s3/hidden-keys.ts';
import { readS3Request, s3ErrorBody } from './s3/requests.ts';
import type { ObjectStore } from './s3/store.ts';
import type { World } from './world.ts';

export type ServerOptions = {
  readonly world: World;
  readonly store: ObjectStore;
  readonly faultPlan: FaultPlan;
  readonly calls: CallLog;
  readonly authenticate: Authenticator;
  /** Whether this cloud answers under a host name. */
  readonly isOurName: (host: string) => boolean;
  /** Everything the call changed is on disk. */
  readonly flush: () => void;
  /** The cloud's own paths; true when it handles the request. */
  readonly handleOwn: (request: IncomingMessage, response: ServerResponse) => boolean;
};

/** EC2 Query, ECR and S3 (path style) on one port: ECR names a target, EC2 an Action at `/`. */
export function createRequestListener(options: ServerOptions): RequestListener {
  return (request, response) => {
    const refusal = refusalOf(request, options.isOurName);
    if (refusal !== undefined) {
      refuse(response, refusal);
      return;
    }
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

type Call = {
  readonly service: Service;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly requestId: string;
  readonly request: IncomingMessage;
};

type Answer = {
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
  const call = readCall(request);
  const body = await admit(options, call).catch(toCloudError);
  if (body instanceof CloudError) {
    // Not in the ledger, which has only calls signed with the keys: otherwise any program could fill the disk.
    send(call, response, failure(call, 'refused', body));
    return;
  }
  const given = await ANSWERS[call.service](options, call, body);
  const { isAnswerLost, delayMs } =
    given.outcome === 'ok' ? options.faultPlan.afterCall(given.action) : { isAnswerLost: false, delayMs: 0 };
  options.calls.add({
    at: new Date().toISOString(),
    service: call.service,
    action: given.action,
    outcome: isAnswerLost ? 'answer-lost' : given.outcome,
    status: given.status,
    requestId: call.requestId,
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
  send(call, response, given);
}

function readCall(request: IncomingMessage): Call {
  const { method = 'GET', url = '/', headers } = request;
  const [, path = '/', queryText = ''] = /^([^?]*)\??(.*)$/s.exec(url) ?? [];
  const query = new URLSearchParams(queryText);
  const isEc2 = path === '/' && (method === 'POST' || query.has('Action'));
  const service = ecrActionOf(headers['x-amz-target']) !== undefined ? 'ecr' : isEc2 ? 'ec2' : 's3';
  return { service, method, path, query, requestId: randomUUID(), request };
}

/** Authenticates the caller and reads the body, which for S3, where it may be long, comes second. @throws CloudError */
async function admit({ authenticate, world }: ServerOptions, { service, request, ...call }: Call): Promise<Buffer> {
  const { headers } = request;
  if (service !== 's3') {
    const body = await readBody(request, LONGEST_FORM);
    await authenticate(service, { ...call, headers, body });
    return body;
  }
  await authenticate(service, { ...call, headers }, signedFor(world, call.path, request));
  const body = await readBody(request, LONGEST_OBJECT);
  checkPayload(headers, body);
  return body;
}

function send({ service, method, request }: Call, response: ServerResponse, given: Answer): void {
  // What is left of a refused body must be read, or the client meets a reset instead of the answer.
  request.resume();
  response.writeHead(given.status, {
    'content-length': Buffer.byteLength(given.body),
    ...given.headers,
    server: SERVERS[service],
  });
  response.end(method === 'HEAD' ? undefined : given.body);
}

const SERVERS = { ec2: 'AmazonEC2', ecr: 'AmazonECR', s3: 'AmazonS3' } as const;

const ANSWERS: Readonly<Record<Service, (options: ServerOptions, call: Call, body: Buffer) => Promise<Answer>>> = {
  ecr: async (options, call) => Promise.resolve(answerEcrCall(options, call)),
  ec2: async (options, call, body) => Promise.resolve(answerEc2Call(options, call, body)),
  s3: answerS3Call,
};

function answerEcrCall({ world, faultPlan }: ServerOptions, call: Call): Answer {
  const action = ecrActionOf(call.request.headers['x-amz-target']) ?? 'unknown';
  try {
    faultPlan.beforeCall(action);
    return { action, status: 200, outcome: 'ok', headers: headersOf(call), body: answerEcr(world, action) };
  } catch (error) {
    return failure(call, action, toCloudError(error));
  }
}

function answerEc2Call({ world, faultPlan }: ServerOptions, call: Call, form: Buffer): Answer {
  const { method, query, requestId } = call;
  const pairs = method === 'POST' ? new URLSearchParams([...query, ...new URLSearchParams(form.toString())]) : query;
  const action = pairs.get('Action') ?? 'unknown';
  const clientToken = pairs.get('ClientToken') ?? undefined;
  try {
    faultPlan.beforeCall(action);
    const { body, instances } = answerEc2(world, { pairs, requestId });
    const instanceIds = instances.map(({ id }) => id);
    return { action, status: 200, outcome: 'ok', headers: headersOf(call), body, clientToken, instanceIds };
  } catch (error) {
    return { ...failure(call, action, toCloudError(error)), clientToken };
  }
}

async function answerS3Call({ world, store, faultPlan }: ServerOptions, call: Call, raw: Buffer): Promise<Answer> {
  const { method, path, query, request } = call;
  let action = `${method} object`;
  const { elsewhere, listable } = world.s3;
  try {
    const region = regionOf(elsewhere, path, world.region);
    const operation = readS3Request({ method, path, query, headers: request.headers, region });
    action = operation.action;
    faultPlan.beforeCall(action);
    refuseWrongRegion(elsewhere, path, signedFor(world, path, request));
    if (action === 'ListObjectsV2') refuseListing(listable, path, query);
    const isWrite = method !== 'GET' && method !== 'HEAD';
    const given = await (isWrite ? inTurn(store, () => operation.run(store, raw)) : operation.run(store, raw));
    const headers = { ...headersOf(call), ...given.headers };
    return { action, status: given.status, outcome: 'ok', headers, body: given.body ?? '' };
  } catch (error) {
    return failure(call, action, refuseHidden(listable, path, toCloudError(error)));
  }
}

function signedFor(world: World, path: string, { headers: { authorization } }: IncomingMessage): string {
  return regionToVerify(world.s3.elsewhere, { path, authorization, ours: world.region });
}

const turns = new WeakMap<ObjectStore, Promise<unknown>>();

/** One write after the other: a condition (If-None-Match) and its write must not be parted, nor a file and its description. */
async function inTurn<T>(store: ObjectStore, write: () => T | Promise<T>): Promise<T> {
  const before = turns.get(store) ?? Promise.resolve();
  const turn = before.then(write, write);
  turns.set(store, turn);
  return turn;
}

function headersOf({ service, requestId }: Call): Record<string, string> {
  switch (service) {
    case 'ec2':
      return { 'content-type': 'text/xml;charset=UTF-8', 'x-amzn-requestid': requestId };
    case 'ecr':
      return { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': requestId };
    case 's3':
      return { 'x-amz-request-id': requestId, 'x-amz-id-2': 'local-cloud' };
  }
}

function failure(call: Call, action: string, cause: CloudError): Answer {
  const { service, method, path, requestId } = call;
  const common = { action, status: cause.status, outcome: cause.code };
  switch (service) {
    case 'ec2':
      return { ...common, headers: headersOf(call), body: ec2ErrorBody(cause, requestId) };
    case 'ecr':
      return { ...common, headers: headersOf(call), body: ecrErrorBody(cause) };
    case 's3': {
      const headers = { ...headersOf(call), ...headersOfError(cause), 'content-type': 'application/xml' };
      return { ...common, headers, body: method === 'HEAD' ? '' : s3ErrorBody(cause, path, requestId) };
    }
  }
}

function toCloudError(error: unknown): CloudError {
  if (error instanceof CloudError) return error;
  return new CloudError('InternalError', error instanceof Error ? error.message : 'An internal error has occurred');
}
