import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocketServer } from 'ws';

/** Where a port of a container can be reached; `port` differs from `host` when `host` may not be bound. */
export type BoundPort = {
  readonly container: number;
  readonly host: number;
  readonly port: number;
  /**
   * Orderly is what a web server does on SIGTERM: requests under way are finished, at most for a second.
   * @param lingerMs it takes new ones for so long before that, as programs do that look for signals now and then
   */
  close(how: 'orderly' | 'abrupt', lingerMs?: number): Promise<void>;
};

export type WebRequest = {
  readonly path: string;
  /** Bytes of the body, of which nothing is kept. */
  readonly received: number;
};

/** @param isLate it came between SIGTERM and the end of listening */
export type WebAnswer = (request: WebRequest, isLate: boolean) => { status: number; body: string };

const LONGEST_WAIT_SECONDS = 3_600;
const LARGEST_MESSAGE_BYTES = 1_048_576;
const FORCED_AFTER_MS = 1_000;
/** RFC 6455: the end goes away, as when a server is shut down. */
const GOING_AWAY = 1001;

/**
 * Answers HTTP on the instance's own address, as a published port does: once the body is there, `/wait/<seconds>` after that
 * time; to a WebSocket it sends what it gets. Ports below 1024 need a privilege that a developer's machine may refuse: then
 * host + 20000 is taken, or any free one.
 * @throws Error with `code` EADDRINUSE when another process listens there.
 */
export async function publish(
  address: string,
  { container, host }: { container: number; host: number },
  pass: () => Promise<void>,
  answer: WebAnswer,
): Promise<BoundPort> {
  let isStopping = false;
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isLate = isStopping;
    await pass();
    const path = request.url ?? '/';
    const received = await bytesOf(request);
    await delay(waitOf(path) * 1_000);
    const { status, body } = answer({ path, received }, isLate);
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }
  const server = createServer((request, response) => {
    // Its caller went away.
    void serve(request, response).catch(() => response.destroy());
  });
  const sockets = new WebSocketServer({ server, maxPayload: LARGEST_MESSAGE_BYTES });
  sockets.on('error', () => undefined);
  sockets.on('connection', (socket) => {
    socket.on('error', () => socket.terminate());
    socket.on('message', (data, isBinary) => void pass().then(() => socket.send(data, { binary: isBinary })));
  });
  const port = await listenSomewhere(server, address, host);
  return {
    container,
    host,
    port,
    close: async (how, lingerMs = 0) => {
      isStopping = true;
      if (how === 'orderly') await delay(lingerMs);
      await close(server, sockets, how);
    },
  };
}

async function bytesOf(request: IncomingMessage): Promise<number> {
  let received = 0;
  for await (const chunk of request) received += (chunk as Buffer).length;
  return received;
}

function waitOf(path: string): number {
  const seconds = Number(/^\/wait\/(\d{1,4}(?:\.\d{1,3})?)(?:[/?]|$)/.exec(path)?.[1] ?? 0);
  return Math.min(seconds, LONGEST_WAIT_SECONDS);
}

async function listenSomewhere(server: Server, address: string, host: number): Promise<number> {
  const candidates = host < 1024 ? [host, host + 20_000, 0] : [host];
  for (const [index, port] of candidates.entries()) {
    const error = await listen(server, address, port);
    if (error === undefined) break;
    const mayMove = host < 1024 && index < candidates.length - 1 && (index > 0 || error.code === 'EACCES');
    if (!mayMove) throw error;
  }
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : host;
}

function listen(server: Server, address: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once('error', resolve);
    server.listen({ host: address, port, exclusive: true }, () => {
      server.off('error', resolve);
      resolve(undefined);
    });
  });
}

function close(server: Server, sockets: WebSocketServer, how: 'orderly' | 'abrupt'): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(
      () => {
        server.closeAllConnections();
        for (const socket of sockets.clients) socket.terminate();
      },
      how === 'orderly' ? FORCED_AFTER_MS : 0,
    );
    server.close(() => {
      clearTimeout(force);
      resolve();
    });
    server.closeIdleConnections();
    for (const socket of sockets.clients) socket.close(GOING_AWAY);
  });
}
