import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:net';
import { refusalOf, refuse } from './front-door.ts';
import type { CloudInstance } from './instance.ts';
import { metadataAnswer, type MetadataSource } from './metadata.ts';

/** IMDSv2 on each running instance's own address, at the cloud's port. */
export type MetadataService = {
  /** @returns the endpoint without a trailing slash */
  readonly open: (instance: CloudInstance) => Promise<string>;
  readonly close: (instance: CloudInstance) => void;
  /** `/_imds/<a secret of the instance>/latest/…` on the cloud's own address, for systems with one loopback address only. */
  handleShared(request: IncomingMessage, response: ServerResponse): void;
  closeAll(): void;
};

export function createMetadataService(port: number, source: MetadataSource): MetadataService {
  const open = new Map<string, { listener: Server | undefined; secret: string }>();
  const byAddress = new Map<string, CloudInstance>();
  // Where all instances share an address, any container that reaches it could otherwise pose as any instance.
  const bySecret = new Map<string, CloudInstance>();
  const key = randomBytes(32);

  const http = createHttpServer((request, response) => {
    // The address that was called identifies the instance: nothing else can be reached on it.
    const instance = byAddress.get(request.socket.localAddress ?? '');
    if (instance === undefined) {
      request.socket.destroy();
      return;
    }
    const refusal = refusalOf(request, (host) => host === instance.privateIp);
    if (refusal === undefined) respond(request, response, instance, request.url ?? '/');
    else refuse(response, refusal);
  });

  const respond = (request: IncomingMessage, response: ServerResponse, instance: CloudInstance, path: string): void => {
    const answer = answerRequest(request, path, instance, { key, source });
    // Addresses are used again: a connection must not outlive the instance it was opened to.
    response.writeHead(answer.status, { 'content-type': 'text/plain', connection: 'close', ...answer.headers });
    response.end(answer.body);
  };

  return {
    open: async (instance) => {
      const listener = createServer((socket) => http.emit('connection', socket));
      const isListening = await listen(listener, instance.privateIp, port);
      const secret = randomBytes(32).toString('hex');
      open.set(instance.id, { listener: isListening ? listener : undefined, secret });
      if (!isListening) {
        bySecret.set(secret, instance);
        return `http://127.0.0.1:${port}${SHARED_PREFIX}${secret}`;
      }
      byAddress.set(instance.privateIp, instance);
      return `http://${instance.privateIp}:${port}`;
    },
    close: (instance) => {
      const { listener, secret = '' } = open.get(instance.id) ?? {};
      listener?.close();
      open.delete(instance.id);
      bySecret.delete(secret);
      byAddress.delete(instance.privateIp);
    },
    handleShared: (request, response) => {
      const [secret = '', ...path] = (request.url ?? '').slice(SHARED_PREFIX.length).split('/');
      const instance = bySecret.get(secret);
      if (instance === undefined) request.socket.destroy();
      else respond(request, response, instance, `/${path.join('/')}`);
    },
    closeAll: () => {
      for (const { listener } of open.values()) listener?.close();
      open.clear();
      byAddress.clear();
      bySecret.clear();
      http.closeAllConnections();
    },
  };
}

export const SHARED_PREFIX = '/_imds/';

type Answer = { readonly status: number; readonly body: string | Buffer; readonly headers?: Record<string, string> };

const LONGEST_TOKEN_SECONDS = 21_600;

function answerRequest(
  request: IncomingMessage,
  path: string,
  instance: CloudInstance,
  { key, source }: { key: Buffer; source: MetadataSource },
): Answer {
  if (!instance.spec.metadata.isEnabled) return { status: 403, body: 'Forbidden' };
  if (request.method === 'PUT' && path === '/latest/api/token') {
    // Through a proxy the caller is not the instance itself; AWS refuses the token for the same reason.
    if (request.headers['x-forwarded-for'] !== undefined) return { status: 403, body: 'Forbidden' };
    const header = request.headers['x-aws-ec2-metadata-token-ttl-seconds'];
    const seconds = typeof header === 'string' && /^\d{1,5}$/.test(header) ? Number(header) : 0;
    if (seconds < 1 || seconds > LONGEST_TOKEN_SECONDS) return { status: 400, body: 'Bad Request' };
    const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': String(seconds) };
    return { status: 200, body: writeToken(key, instance.id, Date.now() + seconds * 1000), headers };
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return { status: 405, body: 'Method Not Allowed' };
  const token = request.headers['x-aws-ec2-metadata-token'];
  if (typeof token !== 'string' || !isValid(key, instance.id, token)) return { status: 401, body: 'Unauthorized' };
  const body = metadataAnswer(path, instance, source);
  return body === undefined ? { status: 404, body: 'Not Found' } : { status: 200, body };
}

function writeToken(key: Buffer, instanceId: string, expiresAtMs: number): string {
  const expiry = expiresAtMs.toString(36);
  return `${Buffer.from(expiry).toString('base64url')}-${proof(key, instanceId, expiry)}`;
}

function isValid(key: Buffer, instanceId: string, token: string): boolean {
  const [head = '', ...tail] = token.split('-');
  const expiry = Buffer.from(head, 'base64url').toString();
  const given = Buffer.from(tail.join('-'));
  const expected = Buffer.from(proof(key, instanceId, expiry));
  return (
    given.length === expected.length && timingSafeEqual(given, expected) && Number.parseInt(expiry, 36) > Date.now()
  );
}

function proof(key: Buffer, instanceId: string, expiry: string): string {
  return createHmac('sha256', key).update(`${instanceId} ${expiry}`).digest('base64url');
}

async function listen(server: Server, host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRNOTAVAIL' || error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen({ host, port, exclusive: true }, () => resolve(true));
  });
}
