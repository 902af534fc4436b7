import { createServer, type Server } from 'node:http';

/** Where a port of a container can be reached; `port` differs from `host` when `host` may not be bound. */
export type BoundPort = {
  readonly container: number;
  readonly host: number;
  readonly port: number;
  close(how: 'orderly' | 'abrupt'): Promise<void>;
};

export type WebAnswer = (path: string) => { status: number; body: string };

/**
 * Answers HTTP on the instance's own address, as a published port does. Ports below 1024 need a privilege that a
 * developer's machine may refuse: then host + 20000 is taken, or any free one.
 * @throws Error with `code` EADDRINUSE when another process listens there.
 */
export async function publish(
  address: string,
  { container, host }: { container: number; host: number },
  pass: () => Promise<void>,
  answer: WebAnswer,
): Promise<BoundPort> {
  const server = createServer((request, response) => {
    void pass().then(() => {
      request.resume();
      const { status, body } = answer(request.url ?? '/');
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    });
  });
  const port = await listenSomewhere(server, address, host);
  return { container, host, port, close: (how) => close(server, how) };
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

/** Orderly is what a web server does on SIGTERM: requests under way are finished, at most for a second. */
function close(server: Server, how: 'orderly' | 'abrupt'): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.closeAllConnections(), how === 'orderly' ? 1000 : 0);
    server.close(() => {
      clearTimeout(force);
      resolve();
    });
    server.closeIdleConnections();
  });
}
