import * as http from 'node:http';
import * as https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { type Allowed, mayReach, plainHost } from './address-rules.js';
import type { Resolve } from './resolve-name.js';

/** Connecting, sending and the answer's headers. A receiver that works longer should answer first. */
const TIMEOUT_MS = 10_000;
/** Of an answer's body this much is read, and thrown away, so that a receiver is not cut off while it sends. */
const MOST_READ_BYTES = 16 * 1024;

/**
 * Why a try did not reach its end. `answered`: with a status that is no success. `redirected`: not followed, since only
 * the receiver named in the webhook was checked.
 */
export type Fault =
  'name-not-resolved' | 'address-refused' | 'not-connected' | 'tls-failed' | 'timed-out' | 'redirected' | 'answered';

/** `fault` null: delivered. */
export type Outcome = { readonly status: number | null; readonly fault: Fault | null; readonly latencyMs: number };

export type Post = (url: string, headers: Readonly<Record<string, string>>, body: string) => Promise<Outcome>;

export type PostOptions = {
  readonly allowed: Allowed;
  readonly resolve: Resolve;
  /** PEM, for tests; default: the authorities Node knows. */
  readonly ca?: string;
  readonly timeoutMs?: number;
};

/**
 * One POST, to an address that was checked: the connection is made to just the addresses the check has seen, whatever
 * the name resolves to a moment later. No redirect, no proxy, no connection kept. It never rejects.
 */
export function createPost({ allowed, resolve, ca, timeoutMs = TIMEOUT_MS }: PostOptions): Post {
  return async (text, headers, body) => {
    const startedAtMs = performance.now();
    const signal = AbortSignal.timeout(timeoutMs);
    const outcome = await deliver().catch((error: unknown) => ({ status: null, fault: faultOf(error, signal) }));
    return { ...outcome, latencyMs: Math.round(performance.now() - startedAtMs) };

    async function deliver(): Promise<Omit<Outcome, 'latencyMs'>> {
      const url = new URL(text);
      const host = plainHost(url.hostname);
      const addresses = isIP(host) === 0 ? await resolveAll(resolve(host, signal)) : [host];
      if (!mayReach(url, addresses, allowed)) return { status: null, fault: 'address-refused' };
      const options = { method: 'POST', headers, signal, lookup: lookupOf(addresses), ...(ca !== undefined && { ca }) };
      const status = await send(url, options, body);
      return { status, fault: faultOfStatus(status) };
    }
  };
}

function faultOfStatus(status: number): Fault | null {
  if (status >= 200 && status < 300) return null;
  return status >= 300 && status < 400 ? 'redirected' : 'answered';
}

async function resolveAll(resolving: ReturnType<Resolve>): ReturnType<Resolve> {
  return await resolving.catch((error: unknown) => {
    throw new NameNotResolved('name was not resolved', { cause: error });
  });
}

class NameNotResolved extends Error {}

/** Node calls this instead of DNS. It does not call it for a host that is an address: that was checked itself. */
function lookupOf(addresses: readonly string[]): LookupFunction {
  const checked = addresses.map((address) => ({ address, family: isIP(address) }));
  const [first] = checked;
  return (_hostname, { all }, answer) => {
    if (all) answer(null, checked);
    else answer(null, first?.address ?? '', first?.family);
  };
}

/** Resolves with the status as soon as the headers are there. */
async function send(url: URL, options: https.RequestOptions, body: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  // An agent of its own: NODE_USE_ENV_PROXY could make the global one use a proxy, past every check.
  const all = { ...options, agent: false, rejectUnauthorized: true };
  const request = url.protocol === 'https:' ? https.request(url, all) : http.request(url, all);
  request.once('response', (response) => {
    resolve(response.statusCode ?? 0);
    let read = 0;
    response.on('data', (chunk: Buffer) => {
      read += chunk.length;
      if (read > MOST_READ_BYTES) response.destroy();
    });
    // After the status nothing that happens to the rest matters.
    response.on('error', () => undefined);
  });
  request.on('error', reject);
  request.end(body);
  return await promise;
}

function faultOf(error: unknown, signal: AbortSignal): Fault {
  if (signal.aborted) return 'timed-out';
  if (error instanceof NameNotResolved) return 'name-not-resolved';
  const code = Error.isError(error) && 'code' in error ? String(error.code) : '';
  return TLS_CODE.test(code) ? 'tls-failed' : 'not-connected';
}

/** Of https://nodejs.org/api/tls.html#x509-certificate-error-codes and OpenSSL's own. */
const TLS_CODE =
  /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_|ERR_SSL_|EPROTO$|INVALID_CA|HOSTNAME_MISMATCH|CRL_)/;
