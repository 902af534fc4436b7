import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIPv4 } from 'node:net';

/**
 * Why a request may not come in at all; undefined for one that may. Every page that is open in a browser of this machine
 * can send requests to loopback, and a name of its owner's can be pointed there (DNS rebinding): callers are
 * authenticated later, but a request that a browser made, or that was meant for another name, must not get so far.
 */
export function refusalOf(request: IncomingMessage, isOurName: (host: string) => boolean): string | undefined {
  const { headers, headersDistinct, url = '' } = request;
  const header = Object.keys(headers).find((name) => BROWSER_HEADERS.test(name));
  if (header !== undefined) return `A request with ${header} is from a web page, and this is not for web pages.`;
  // A header that was sent twice could mean one thing here and another to a proxy between.
  const twice = ONCE_ONLY.find((name) => (headersDistinct[name]?.length ?? 0) > 1);
  if (twice !== undefined) return `There must be one ${twice} header.`;
  if (!url.startsWith('/')) return 'The request must name a path.';
  const host = hostOf(headers.host);
  if (host === undefined || !isOurName(host)) {
    return `The Host must be localhost, a loopback address, or one of LOCAL_CLOUD_HOSTS.`;
  }
  return undefined;
}

/** @param others lower case, without port */
export function isLoopbackOr(others: readonly string[]): (host: string) => boolean {
  return (host) =>
    host === 'localhost' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.')) || others.includes(host);
}

/** The connection is not used again: what follows a refused request must not be read as the next one. */
export function refuse(response: ServerResponse, why: string): void {
  const body = `${why}\n`;
  response.writeHead(403, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
    connection: 'close',
  });
  response.end(body);
}

/**
 * Sec-Fetch-Site and its kin are sent by browsers to loopback, and no script can leave them out. Sec-Fetch-Mode alone is
 * what Node's own fetch sends; a browser never sends it alone.
 */
const BROWSER_HEADERS = /^(origin|referer|sec-(?!fetch-mode$).*)$/;
const ONCE_ONLY = ['host', 'authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-target'];

function hostOf(header: string | undefined): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::\d{1,5})?$/.exec(header?.toLowerCase() ?? '')?.[1];
}
