import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { createProxyServer } from 'httpxy';
import { isWithin } from '../src/config/host-name.ts';

export type FrontOptions = {
  /** Where callers come, of the API and of the jobs. */
  readonly port: number;
  /** Where the API itself listens. */
  readonly apiUrl: string;
  /** `localhost`: jobs are at `<job>.localhost`. */
  readonly domain: string;
  /** Hosts of jobs' own are these, or below them. */
  readonly hostDomains: readonly string[];
};

export type Front = { stop(): Promise<void> };

type LocalRoute = { readonly target?: string; readonly isKnown: boolean; readonly isRefused: boolean };

/** An agent's poll is parked for 25 s, a stream is open for as long as its client is. */
const NEVER = 0;
/** Above the longest holdSeconds of a job. */
const LONGEST_HOLD_MS = 65_000;
/** As the API's own: agents keep their connections. */
const KEEP_ALIVE_MS = 75_000;

/**
 * What nginx is elsewhere: the API and the jobs' addresses on one port of loopback. Whoever names a host below `domain`, or
 * one of a job's own, gets to the job's container, which the API looks up for each request and lets wait for; all others
 * get to the API.
 */
export async function startFront({ port, apiUrl, domain, hostDomains }: FrontOptions): Promise<Front> {
  const proxy = createProxyServer({ xfwd: true, proxyTimeout: NEVER, timeout: NEVER });
  const server = createServer({ requestTimeout: NEVER, keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    void serve(request, response).catch(() => refuse(response, 503, 'Nothing answers there now.'));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void upgrade(request, socket, head).catch(() => socket.destroy());
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { target, isKnown, isRefused } = await routeOf(request);
    if (target !== undefined) await proxy.web(request, response, { target });
    else if (isRefused) refuse(response, 403, 'It may not be called from this address.');
    else if (isKnown) refuse(response, 503, 'Nothing serves there now.');
    else refuse(response, 404, 'No job has this address.');
  }

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { target } = await routeOf(request);
    if (target === undefined) socket.destroy();
    else await proxy.ws(request, socket as never, { target }, head);
  }

  function isOfJobs(host: string): boolean {
    return (host !== domain && isWithin(host, domain)) || hostDomains.some((one) => isWithin(host, one));
  }

  async function routeOf({ headers, socket }: IncomingMessage): Promise<LocalRoute> {
    const host = hostOf(headers.host);
    if (!isOfJobs(host)) return { target: apiUrl, isKnown: true, isRefused: false };
    // It answers at once where something serves. What a caller says of its own address counts for nothing.
    const from = encodeURIComponent(socket.remoteAddress ?? '');
    const answer = await fetch(`${apiUrl}/ingress/v1/holds/${encodeURIComponent(host)}?from=${from}`, {
      signal: AbortSignal.timeout(LONGEST_HOLD_MS),
    });
    await answer.body?.cancel();
    const address = answer.headers.get('route-target');
    return {
      isKnown: answer.headers.has('route-known'),
      isRefused: answer.headers.has('route-refused'),
      ...(address !== null && { target: `http://${address}` }),
    };
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

function refuse(response: ServerResponse, status: 403 | 404 | 503, detail: string): void {
  if (response.headersSent) return void response.destroy();
  const retry = status === 503 && { 'retry-after': '2' };
  response.writeHead(status, { 'content-type': 'application/problem+json', ...retry });
  response.end(JSON.stringify({ status, detail }));
}
