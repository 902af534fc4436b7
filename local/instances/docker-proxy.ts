import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { LONGEST_HEADERS } from './agent-http.ts';
import { isObject, ownName, rewriteCreate, rule, type ContainerOwner } from './container-policy.ts';
import { callEngine } from './docker-engine.ts';
import type { Gate } from './gate.ts';
import { extraHosts, type PrivateNames } from './private-names.ts';

export type DockerProxyOptions = {
  /** Where the instance finds "its" engine; at most 107 bytes, as all Unix sockets. */
  readonly socket: string;
  readonly engineSocket: string;
  readonly owner: ContainerOwner;
  readonly gate: Gate;
  /** Of jobs, for the container; none = it knows none. */
  readonly names?: PrivateNames | undefined;
};

export type DockerProxy = {
  /** Broken, it cuts every connection and answers nothing. */
  setBroken(isBroken: boolean): void;
  close(): Promise<void>;
};

/** A registry that does not answer must not hold up the start of an image that is here already. */
const PULL_PATIENCE_MS = 10_000;

/** The Docker socket of one instance: the real engine, narrowed to this instance's container. */
export async function openDockerProxy(options: DockerProxyOptions): Promise<DockerProxy> {
  let isBroken = false;
  const server = http.createServer({ maxHeaderSize: LONGEST_HEADERS }, (request, response) => {
    if (isBroken) {
      request.socket.destroy();
      return;
    }
    void answer(options, request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else json(response, 502, `the engine of this machine does not answer: ${String(error)}`);
    });
  });
  const hijacked = new Set<Duplex>();
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    hijacked.add(socket);
    socket.on('close', () => hijacked.delete(socket));
    hijack(options, request, socket, head);
  });
  server.listen(options.socket);
  await once(server, 'listening');
  return {
    setBroken(isIt) {
      isBroken = isIt;
      if (isBroken) server.closeAllConnections();
    },
    async close() {
      server.close();
      server.closeAllConnections();
      for (const socket of hijacked) socket.destroy();
      await once(server, 'close');
    },
  };
}

async function answer(options: DockerProxyOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  await options.gate.pass();
  const { method = 'GET', url = '/' } = request;
  const ruling = rule(method, url, options.owner);
  switch (ruling.kind) {
    case 'refuse':
      json(response, 403, ruling.why);
      return;
    case 'forward':
      await forward(options, request, response, { path: ruling.path });
      return;
    case 'create': {
      const given = parse(await text(request));
      const hosts = options.names && isObject(given) ? await extraHosts(given, options.names) : [];
      const body = rewriteCreate(given, options.owner, hosts);
      if (typeof body === 'string') {
        json(response, 403, body);
        return;
      }
      ruling.query.set('name', ownName(ruling.name, options.owner));
      await forward(options, request, response, { path: `/containers/create?${ruling.query.toString()}`, body });
      return;
    }
    case 'pull':
      await pull(options, request, response, ruling);
  }
}

/** Streams both ways, so that logs and waits behave as on the real socket. */
async function forward(
  { engineSocket, gate }: DockerProxyOptions,
  request: IncomingMessage,
  response: ServerResponse,
  { path, body }: { path: string; body?: unknown },
): Promise<void> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const length = text !== undefined && { 'content-length': String(Buffer.byteLength(text)) };
  const { 'transfer-encoding': encoding, ...rest } = request.headers;
  const headers = { ...rest, ...(text === undefined ? encoding && { 'transfer-encoding': encoding } : length) };
  const upstream = http.request({ socketPath: engineSocket, method: request.method, path, headers });
  // `once` below rejects with the first error; a later one must not end the process.
  upstream.on('error', () => undefined);
  response.on('close', () => upstream.destroy());
  if (text === undefined) request.pipe(upstream);
  else upstream.end(text);
  const [reply] = (await once(upstream, 'response')) as [IncomingMessage];
  // The answer of a long wait must not slip out of a frozen instance.
  await gate.pass();
  response.writeHead(reply.statusCode ?? 502, reply.headers);
  // Sent at once: the client of a wait looks at the status long before there is a body.
  response.flushHeaders();
  reply.on('error', () => response.destroy());
  reply.pipe(response);
}

/** A pull that fails is a success when the image is here: trying something needs no push to a registry. */
async function pull(
  { engineSocket, gate }: DockerProxyOptions,
  request: IncomingMessage,
  response: ServerResponse,
  { path, reference }: { path: string; reference: string },
): Promise<void> {
  const isHere = async () =>
    (await callEngine(engineSocket, { path: `/images/${encodeURI(reference)}/json` })).status === 200;
  const auth = request.headers['x-registry-auth'];
  const patienceMs = (await isHere()) ? PULL_PATIENCE_MS : undefined;
  const upstream = http.request({
    socketPath: engineSocket,
    method: 'POST',
    path,
    headers: { host: 'docker', 'content-length': '0', ...(auth !== undefined && { 'x-registry-auth': auth }) },
    ...(patienceMs !== undefined && { signal: AbortSignal.timeout(patienceMs) }),
  });
  upstream.on('error', () => undefined);
  response.on('close', () => upstream.destroy());
  upstream.end();
  const outcome = await whole(upstream).catch((error: unknown) => ({ status: 500, text: errorBody(String(error)) }));
  await gate.pass();
  const hasFailed = outcome.status >= 400 || /"error(Detail)?":/.test(outcome.text.trimEnd().split('\n').at(-1) ?? '');
  const { status, text } =
    hasFailed && (await isHere().catch(() => false))
      ? {
          status: 200,
          text: `${JSON.stringify({ status: `Status: Image is present on this machine for ${reference}` })}\r\n`,
        }
      : outcome;
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(text);
}

/** `attach` takes the connection over; bytes then go both ways. */
function hijack(options: DockerProxyOptions, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const ruling = rule(request.method ?? '', request.url ?? '', options.owner);
  if (ruling.kind !== 'forward') {
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    return;
  }
  const { method, headers } = request;
  const upstream = http.request({ socketPath: options.engineSocket, method, path: ruling.path, headers });
  const end = () => {
    socket.destroy();
    upstream.destroy();
  };
  upstream.on('error', end);
  socket.on('error', end).on('close', end);
  upstream.on('response', (reply) => {
    socket.end(`HTTP/1.1 ${reply.statusCode ?? 502} refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  });
  upstream.on('upgrade', (reply: IncomingMessage, engine: Duplex, first: Buffer) => {
    const lines = Object.entries(reply.headers).map(([name, value]) => `${name}: ${String(value)}\r\n`);
    socket.write(`HTTP/1.1 101 UPGRADED\r\n${lines.join('')}\r\n`);
    socket.write(first);
    engine.write(head);
    engine.on('error', end).on('close', end);
    engine.pipe(socket).pipe(engine);
  });
  upstream.end();
}

async function whole(request: http.ClientRequest): Promise<{ status: number; text: string }> {
  const [reply] = (await once(request, 'response')) as [IncomingMessage];
  return { status: reply.statusCode ?? 502, text: await text(reply) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function json(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(errorBody(message));
}

function errorBody(message: string): string {
  return `${JSON.stringify({ message })}\n`;
}
