import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** One request a receiver of webhooks got. */
export type Received = {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly id: string;
};

/** A status, or what a receiver does with the request by itself. */
export type Reply = number | { status: number; headers: Record<string, string> } | 'never' | 'cut';

export type Receiver = {
  readonly url: string;
  readonly port: number;
  readonly received: readonly Received[];
  /** Requests at the same time, at most. */
  readonly most: () => number;
  /** What it answers from now on. @param nth counts from 1 */
  answer(reply: (request: Received, nth: number) => Reply | Promise<Reply>): void;
  /** Resolves once so many have come, those before this call included. */
  until(count: number): Promise<void>;
  close(): Promise<void>;
};

export type ReceiverOptions = { readonly host?: string; readonly port?: number; readonly tls?: ServerOptions };

/** A receiver of webhooks on loopback; it answers 204. */
export async function startReceiver({ host = '127.0.0.1', port = 0, tls }: ReceiverOptions = {}): Promise<Receiver> {
  const received: Received[] = [];
  const waiting = new Set<() => void>();
  let reply: Parameters<Receiver['answer']>[0] = () => 204;
  let now = 0;
  let most = 0;
  const listener: RequestListener = (request, response) => {
    most = Math.max(most, ++now);
    response.once('close', () => (now -= 1));
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.once('end', () => {
      const { headers, url: path = '' } = request;
      const one = { path, headers, body, id: String(headers['webhook-id']) };
      const nth = received.push(one);
      for (const look of waiting) look();
      void Promise.resolve(reply(one, nth)).then((answer) => {
        if (answer === 'never') return;
        if (answer === 'cut') return void response.destroy();
        if (typeof answer === 'number') response.writeHead(answer).end();
        else response.writeHead(answer.status, answer.headers).end();
      });
    });
  };
  const server: Server = tls ? createTlsServer(tls, listener) : createServer(listener);
  // A client that refuses our certificate is no error of the receiver.
  server.on('tlsClientError', () => undefined).listen(port, host);
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  return {
    url: `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    received,
    most: () => most,
    answer: (next) => void (reply = next),
    until: (count) =>
      new Promise((done) => {
        const look = (): void => {
          if (received.length < count) return;
          waiting.delete(look);
          done();
        };
        waiting.add(look);
        look();
      }),
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
