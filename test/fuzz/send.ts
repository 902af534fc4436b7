import { Agent, type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import type { Draw } from './draw.ts';
import { type FuzzRequest, mayPark } from './request.ts';

export type Outcome =
  | { readonly kind: 'answer'; readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }
  /** Headers came and the body goes on: we left. */
  | { readonly kind: 'stream'; readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }
  /** A request that may wait did: we left. */
  | { readonly kind: 'parked' }
  | { readonly kind: 'cut'; readonly detail: string }
  | { readonly kind: 'silent'; readonly detail: string };

export type Timed = { readonly outcome: Outcome; readonly ms: number };

/** What streams and parked requests are given before we leave. */
const PATIENCE_MS = [20, 400] as const;

export type Sender = { send(request: FuzzRequest, draw: Draw): Promise<Timed>; close(): void };

/** @param limitMs an answer that takes longer is none */
export function createSender(url: string, limitMs: number): Sender {
  const { hostname, port } = new URL(url);
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  return {
    close: () => agent.destroy(),
    send: async (request, draw) => {
      const startedAt = performance.now();
      const patienceMs = draw.between(...PATIENCE_MS);
      const outcome = await exchange(request, { hostname, port, agent, limitMs, patienceMs });
      return { outcome, ms: performance.now() - startedAt };
    },
  };
}

type Line = {
  readonly hostname: string;
  readonly port: string;
  readonly agent: Agent;
  readonly limitMs: number;
  readonly patienceMs: number;
};

function exchange(request: FuzzRequest, line: Line): Promise<Outcome> {
  const { hostname, port, agent, limitMs, patienceMs } = line;
  return new Promise((done) => {
    const { method, path, headers, body } = request;
    const all = [['host', `${hostname}:${port}`] as const, ...headers, ...lengthOf(request)].flat();
    const sent = httpRequest({ hostname, port, agent, method, path, headers: all });
    const finish = (outcome: Outcome): void => {
      clearTimeout(timer);
      done(outcome);
      if (outcome.kind !== 'answer') sent.destroy();
    };
    const isParkable = mayPark(request);
    const timer = setTimeout(
      () => finish(isParkable ? { kind: 'parked' } : { kind: 'silent', detail: `no answer in ${limitMs} ms` }),
      isParkable ? patienceMs : limitMs,
    );
    sent.on('error', (error) => finish({ kind: 'cut', detail: String(error) }));
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      const status = response.statusCode ?? 0;
      const result = () => ({ status, headers: response.headers, body: Buffer.concat(chunks) });
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => finish({ kind: 'answer', ...result() }));
      response.on('error', (error) => finish({ kind: 'cut', detail: `within the answer: ${String(error)}` }));
      if (isEndless(response.headers, isParkable)) {
        setTimeout(() => finish({ kind: 'stream', ...result() }), patienceMs);
      }
    });
    sent.end(body);
  });
}

function isEndless({ 'content-type': type = '' }: IncomingHttpHeaders, isParkable: boolean): boolean {
  return isParkable || type.startsWith('text/event-stream');
}

/** As a proper client frames its body; what an improper one does is tried over raw sockets. */
function lengthOf({ method, headers, body }: FuzzRequest): [string, string][] {
  if (headers.some(([name]) => name === 'transfer-encoding')) return [];
  if (body !== undefined) return [['content-length', String(body.length)]];
  return ['POST', 'PUT', 'PATCH'].includes(method) ? [['content-length', '0']] : [];
}
