import { createServer, request as forward, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

/** Between a program and the local cloud, or moto: what it stalls has left the one and never reaches the other. */
export type StallingProxy = {
  readonly url: string;
  /** The next request of this action goes nowhere. */
  stall(action: string): void;
  /** The next request of this action arrives, and the connection of its answer breaks. */
  loseAnswerOf(action: string): void;
  /** Requests stalled and answers lost so far. */
  stalled(): number;
  close(): Promise<void>;
};

/** @param target port on loopback of what is called; it may start later */
export async function startStallingProxy(target: number): Promise<StallingProxy> {
  let stalling: string | undefined;
  let losing: string | undefined;
  let stalled = 0;
  const server: Server = createServer((incoming, response) => {
    const parts: Buffer[] = [];
    incoming.on('data', (part: Buffer) => parts.push(part));
    incoming.once('end', () => {
      const body = Buffer.concat(parts);
      const isOf = (action: string | undefined): boolean => action !== undefined && body.includes(`Action=${action}&`);
      if (isOf(stalling)) {
        stalling = undefined;
        stalled += 1;
        return;
      }
      const lost = isOf(losing);
      if (lost) losing = undefined;
      const { method, url, headers } = incoming;
      const outgoing = forward({ host: '127.0.0.1', port: target, method, path: url, headers }, (answer) => {
        if (lost) {
          stalled += 1;
          answer.resume().once('end', () => response.destroy());
          return;
        }
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      outgoing.once('error', () => response.destroy());
      outgoing.end(body);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stall: (action) => void (stalling = action),
    loseAnswerOf: (action) => void (losing = action),
    stalled: () => stalled,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
