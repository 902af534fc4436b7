import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createProxyServer } from 'httpxy';
import { isWithin } from '../src/config/host-name.ts';
import { type Bridge, within } from './instances/bridge.ts';

export type FrontOptions = {
  /** Where callers come, of the API and of the jobs. */
  readonly port: number;
  /** Where the API itself listens. */
  readonly apiUrl: string;
  /** `localhost`: jobs are at `<job>.localhost`. */
  readonly domain: string;
  /** Containers call jobs at `<job>.<privateDomain>`. */
  readonly privateDomain: string;
  /** Hosts of jobs' own are these, or below them. */
  readonly hostDomains: readonly string[];
  /** The network of containers, where this machine is in it; none: those that reach this machine do so at loopback. */
  readonly bridge?: Bridge | undefined;
};

export type Front = { stop(): Promise<void> };

/** `containers` call jobs by their private names, and nothing else: the API is at loopback alone. */
type Door = 'loopback' | 'containers';

type LocalRoute = { readonly target?: string; readonly isKnown: boolean; readonly isRefused: boolean };

const NOWHERE: LocalRoute = { isKnown: false, isRefused: false };

/** An agent's poll is parked for 25 s, a stream is open for as long as its client is. */
const NEVER = 0;
/** Above the longest holdSeconds of a job. */
const LONGEST_HOLD_MS = 65_000;
/** As the API's own: agents keep their connections. */
const KEEP_ALIVE_MS = 75_000;

/**
 * What nginx is elsewhere: the API and the jobs' addresses on one port of loopback. Whoever names a host below `domain` or
 * `privateDomain`, or one of a job's own, gets to the job's container, which the API looks up for each request and lets wait
 * for; all others get to the API. Containers have a door of their own where they do not reach loopback.
 */
export async function startFront(options: FrontOptions): Promise<Front> {
  const { port, apiUrl, domain, privateDomain, hostDomains, bridge } = options;
  const proxy = createProxyServer({ xfwd: true, proxyTimeout: NEVER, timeout: NEVER });

  function serverAt(door: Door): Server {
    const server = createServer({ requestTimeout: NEVER, keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      void serve(request, response, door).catch(() => refuse(response, 503, 'Nothing answers there now.'));
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // Node takes its own listener off: without one a caller who hangs up while this waits would end the process.
      socket.on('error', () => socket.destroy());
      void upgrade(request, socket, head, door).catch(() => socket.destroy());
    });
    return server;
  }

  async function serve(request: IncomingMessage, response: ServerResponse, door: Door): Promise<void> {
    const { target, isKnown, isRefused } = await routeOf(request, door);
    if (target !== undefined) await proxy.web(request, response, { target });
    else if (isRefused) refuse(response, 403, 'It may not be called from this address.');
    else if (isKnown) refuse(response, 503, 'Nothing serves there now.');
    else refuse(response, 404, 'No job has this address.');
  }

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, door: Door): Promise<void> {
    const { target } = await routeOf(request, door);
    if (target === undefined) socket.destroy();
    else await proxy.ws(request, socket as never, { target }, head);
  }

  function isOfJobs(host: string, door: Door): boolean {
    if (isWithin(host, privateDomain)) return true;
    if (door === 'containers') return false;
    return (host !== domain && isWithin(host, domain)) || hostDomains.some((one) => isWithin(host, one));
  }

  async function routeOf({ headers, socket }: IncomingMessage, door: Door): Promise<LocalRoute> {
    const host = hostOf(headers.host);
    if (!isOfJobs(host, door)) return door === 'containers' ? NOWHERE : { ...NOWHERE, target: apiUrl };
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

  const doors = [{ server: serverAt('loopback'), address: '127.0.0.1' }];
  if (bridge) doors.push({ server: forNeighbours(serverAt('containers'), bridge), address: bridge.address });
  await Promise.all(doors.map(({ server, address }) => listen(server, address, port)));
  return {
    stop: async () => {
      await Promise.all(doors.map(({ server }) => close(server)));
    },
  };
}

/** Linux takes connections to any of its addresses from any network, so that others than containers can come as well. */
function forNeighbours(server: Server, { subnet }: Bridge): Server {
  const isNeighbour = within(subnet);
  return server.on('connection', (socket: Socket) => {
    // One that is gone by now has no address.
    if (socket.remoteAddress === undefined || !isNeighbour(socket.remoteAddress)) socket.destroy();
  });
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen({ host, port }, resolve);
  });
}

async function close(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
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
