import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Shutdown } from '../process/shutdown.js';

/** For a request that is on its way just then. */
const GRACE_MS = 1_000;

/**
 * Closes connections that never carried a request, once the shutdown begins: the server would wait for them until their
 * headers are too late, which takes as long as a supervisor waits. Browsers and pools open some in advance.
 */
export function releaseUnusedConnections(server: Server, shutdown: Pick<Shutdown, 'onBegin'>): void {
  const unused = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  server.on('request', ({ socket }) => unused.delete(socket));
  const leave = shutdown.onBegin(() => {
    const timer = setInterval(() => unused.forEach((socket) => socket.destroy()), GRACE_MS).unref();
    server.once('close', () => clearInterval(timer));
  });
  server.once('close', leave);
}
