import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pinnedAgent, WrongKey } from './pinned-tls.ts';

export type HttpAnswer = { status: number; headers: http.IncomingHttpHeaders; body: Buffer };

export type HttpRequest = {
  method?: string;
  headers?: Record<string, string>;
  /** A stream is sent as it comes, until there is an answer; the request is then never repeated. */
  body?: Buffer | string | AsyncIterable<Buffer>;
  timeoutMs: number;
  signal: AbortSignal;
  /** One connection each time, as a fresh curl has. */
  isSingleUse?: boolean;
  /** A server with none of these keys is sent nothing; certificate authorities do not count. */
  pins?: readonly string[];
};

/** A thousand simulated agents live in one process: their polls share these and stay open between requests. */
const keptAlive = {
  'http:': new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 256 }),
  'https:': new https.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 256 }),
};

/** As long as curl accepts them, far below Docker's own limit: an order to pull may carry a key file. */
export const LONGEST_HEADERS = 300 * 1024;

/**
 * One request, its whole answer.
 * @throws Error with curl's exit code as `code` for anything but a complete answer in time: 7 refused, 28 timed out, 52 closed, 90 a
 * key that is none of the pins.
 */
export async function httpRequest(url: string, options: HttpRequest): Promise<HttpAnswer> {
  const { method = 'GET', headers = {}, body, timeoutMs, signal, isSingleUse = false, pins = [] } = options;
  const target = new URL(url);
  const isTls = target.protocol === 'https:';
  if (pins.length > 0 && !isTls) throw new CurlError(1);
  const kept = pins.length > 0 ? pinnedAgent(pins, isSingleUse) : keptAlive[isTls ? 'https:' : 'http:'];
  const agent = isSingleUse && pins.length === 0 ? false : kept;
  const stream = isStream(body) ? Readable.from(body, { objectMode: false }) : undefined;
  const content = body === undefined || isStream(body) ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  let timer: NodeJS.Timeout | undefined;
  const limit = { isOver: false };
  const send = isTls ? https.request : http.request;
  const maxHeaderSize = LONGEST_HEADERS;
  const request = send(target, { method, headers: { ...headers, ...content }, agent, signal, maxHeaderSize });
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => {
        limit.isOver = true;
        request.destroy();
        reject(new Error('timed out'));
      }, timeoutMs);
      request.on('error', reject);
      request.on('response', (response) => {
        const { statusCode: status = 0, headers: answered } = response;
        buffer(response).then((whole) => resolve({ status, headers: answered, body: whole }), reject);
      });
      if (stream) stream.on('error', () => request.destroy()).pipe(request);
      else request.end(body);
    });
  } catch (error) {
    if (limit.isOver) throw new CurlError(28);
    // The server closed a kept connection just as it was used again; every call here may be repeated.
    if (request.reusedSocket && !stream && !signal.aborted)
      return await httpRequest(url, { ...options, isSingleUse: true });
    throw new CurlError(exitCode(error));
  } finally {
    clearTimeout(timer);
    if (stream) {
      stream.destroy();
      request.destroy();
    }
  }
}

function isStream(body: HttpRequest['body']): body is AsyncIterable<Buffer> {
  return body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
}

export class CurlError extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`curl ${code}`);
    this.code = code;
  }
}

function exitCode(error: unknown): number {
  if (error instanceof WrongKey) return 90;
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 7;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 6;
  return code === 'ECONNRESET' ? 52 : 56;
}
