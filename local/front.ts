import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { createProxyServer } from 'httpxy';

export type FrontOptions = {
  /** Where callers come, of the API and of the jobs. */
  readonly port: number;
  /** Where the API itself listens. */
  readonly apiUrl: string;
  /** `localhost`: jobs are at `<job>.localhost`. */
  readonly domain: string;
};

export type Front = { stop(): Promise<void> };

/** An agent's poll is parked for 25 s, a stream is open for as long as its client is. */
const NEVER = 0;

/**
 * What nginx is elsewhere: the API and the jobs' addresses on one port of loopback. Whoever names a host below `domain` gets
 * to the job's container, which the API looks up for each request; all others get to the API.
 */
export async function startFront({ port, apiUrl, domain }: FrontOptions): Promise<Front> {
  const proxy = createProxyServer({ xfwd: true, proxyTimeout: NEVER, timeout: NEVER });
  const server = createServer({ requestTimeout: NEVER }, (request, response) => {
    void serve(request, response).catch(() => refuse(response, 503, 'Nothing answers there now.'));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void upgrade(request, socket, head).catch(() => socket.destroy());
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = await targetOf(request);
    if (target === undefined) refuse(response, 404, 'No job has this name, or nothing serves it now.');
    else await proxy.web(request, response, { target });
  }

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const target = await targetOf(request);
    if (target === undefined) socket.destroy();
    else await proxy.ws(request, socket as never, { target }, head);
  }

  async function targetOf({ headers }: IncomingMessage): Promise<string | undefined> {
    const host = hostOf(headers.host);
    if (!host.endsWith(`.${domain}`)) return apiUrl;
    const answer = await fetch(`${apiUrl}/ingress/v1/routes/${encodeURIComponent(host)}`, {
      signal: AbortSignal.timeout(3_000),
    });
    await answer.body?.cancel();
    const address = answer.headers.get('route-target');
    return answer.status === 200 && address !== null ? `http://${address}` : undefined;
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen({ host: '127.0.0.1', port }, resolve);
  });
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function hostOf(header: string | undefined): string {
  return (header ?? '').toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
}

function refuse(response: ServerResponse, status: 404 | 503, detail: string): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status, { 'content-type': 'application/problem+json', 'retry-after': '2' });
  response.end(JSON.stringify({ status, detail }));
}
