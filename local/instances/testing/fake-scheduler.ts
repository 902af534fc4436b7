import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { EventEmitter, once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import type { Server } from 'node:net';
import { FakeLogStore } from './fake-log-store.ts';

export type Registration = Record<'document' | 'signature' | 'secret' | 'token' | 'agent' | 'publicIp', string>;
export type Result = { headers: IncomingHttpHeaders; body: string };
type Trouble = { status: number; headers?: Record<string, string> };

/** The API's side of the agent protocol, without a scheduler behind it. */
export class FakeScheduler {
  readonly registrations: Registration[] = [];
  /** Answered to the next registrations, polls and results, before the right answers. */
  readonly trouble = {
    register: [] as Trouble[],
    orders: [] as Trouble[],
    result: [] as Trouble[],
    stream: [] as Trouble[],
  };
  readonly streams: { number: number; since: string; type: string; lines: string[] }[] = [];
  /** The `after` of every poll. */
  readonly polls: number[] = [];
  readonly logs = new FakeLogStore();
  url = '';
  readonly #orders = new Map<number, { headers: Record<string, string>; body: string }>();
  readonly #results = new Map<number, Result[]>();
  readonly #news = new EventEmitter();
  /** Includes connections without a request. */
  connections = 0;
  readonly #open = new Set<Socket>();
  readonly #server: ReturnType<typeof createServer>;
  readonly #scheme: string;

  /** @param pem key and certificate, for TLS */
  constructor(pem?: string) {
    const listener = (request: IncomingMessage, response: ServerResponse) => void this.#answer(request, response);
    this.#scheme = pem === undefined ? 'http' : 'https';
    this.#server = pem === undefined ? createServer(listener) : createTlsServer({ key: pem, cert: pem }, listener);
    (this.#server as Server).on('connection', (socket) => {
      this.connections += 1;
      this.#open.add(socket);
      socket.once('close', () => this.#open.delete(socket));
    });
  }

  /** @param port default: any */
  async open(port = 0): Promise<this> {
    this.#news.setMaxListeners(0);
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.url = `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    // closeAllConnections() knows no connection whose TLS handshake goes on: a poll on it would be parked for 40 s.
    for (const socket of this.#open) socket.destroy();
    await once(this.#server, 'close');
  }

  order(headers: Record<string, string>, body = ''): number {
    const number = this.#orders.size + 1;
    this.#orders.set(number, { headers: { 'Order-Timeout': '20', 'Order-Mode': 'foreground', ...headers }, body });
    this.#news.emit('news');
    return number;
  }

  docker(
    method: string,
    path: string,
    { body, ...headers }: { body?: unknown; [header: string]: unknown } = {},
  ): number {
    const text = body === undefined ? '' : JSON.stringify(body);
    const call = { 'Order-Kind': 'docker', 'Docker-Method': method, 'Docker-Path': path };
    return this.order({ ...call, ...(headers as Record<string, string>) }, text);
  }

  /** Every result stored for an order so far. */
  results(number: number): Result[] {
    return this.#results.get(number) ?? [];
  }

  async result(number: number, count = 1): Promise<Result> {
    await this.until(() => this.results(number).length >= count);
    return this.results(number)[count - 1] ?? { headers: {}, body: '' };
  }

  /** Waits for something that a call of the agent brings about. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await once(this.#news, 'news');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://api');
    const streamed = Number(/^\/agent\/v1\/orders\/(\d+)\/stream$/.exec(url.pathname)?.[1]);
    if (streamed > 0 && this.#isKnown(request)) {
      await this.#receiveStream(streamed, url, request, response);
      return;
    }
    const shipped = Number(/^\/agent\/v1\/orders\/(\d+)\/logs$/.exec(url.pathname)?.[1]);
    if (shipped > 0 && this.#isKnown(request)) {
      await this.logs.receive(shipped, request, response, () => this.#news.emit('news'));
      return;
    }
    const body = await text(request);
    const number = Number(/^\/agent\/v1\/orders\/(\d+)\/result$/.exec(url.pathname)?.[1]);
    if (url.pathname === '/agent/v1/register') {
      this.registrations.push(Object.fromEntries(new URLSearchParams(body)) as Registration);
      end(response, this.trouble.register.shift() ?? { status: 204 });
    } else if (url.pathname === '/agent/v1/orders') {
      await this.#park(request, response, Number(url.searchParams.get('after')));
    } else if (number > 0) {
      const trouble = this.trouble.result.shift();
      if (trouble === undefined)
        this.#results.set(number, [...this.results(number), { headers: request.headers, body }]);
      end(response, trouble ?? { status: this.#isKnown(request) ? 204 : 401 });
    } else end(response, { status: 400 });
    this.#news.emit('news');
  }

  /** Each line begins with its time; every upload that ends is acknowledged, except for trouble. */
  async #receiveStream(number: number, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const trouble = this.trouble.stream.shift();
    const type = request.headers['content-type'] ?? '';
    const body = await text(request).catch(() => '');
    const since = url.searchParams.get('since') ?? '';
    const lines = body.split('\n').slice(0, -1);
    this.streams.push({ number, since, type, lines: trouble ? [] : lines });
    const next = lines.at(-1)?.split(' ')[0] ?? '';
    if (trouble) end(response, trouble);
    else response.writeHead(200, { 'Stream-Since': next.replace(/.$/, (digit) => String(Number(digit) + 1)) }).end();
    this.#news.emit('news');
  }

  async #park(request: IncomingMessage, response: ServerResponse, after: number): Promise<void> {
    this.polls.push(after);
    this.#news.emit('news');
    const trouble = this.trouble.orders.shift();
    if (trouble !== undefined || !this.#isKnown(request)) {
      end(response, trouble ?? { status: 401 });
      return;
    }
    const next = () => [...this.#orders.keys()].find((number) => number > after);
    while (next() === undefined && !response.destroyed) await once(this.#news, 'news');
    const number = next() ?? 0;
    const order = this.#orders.get(number);
    end(response, { status: 200, headers: { 'Order-Number': String(number), ...order?.headers } }, order?.body);
  }

  #isKnown(request: IncomingMessage): boolean {
    return this.registrations.some(({ token }) => request.headers.authorization === `Bearer ${token}`);
  }
}

function end(response: ServerResponse, { status, headers }: Trouble, body?: string): void {
  response.writeHead(status, headers);
  response.end(body);
}
