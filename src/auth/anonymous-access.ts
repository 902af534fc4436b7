import type { IncomingHttpHeaders } from 'node:http';
import { isLoopback } from '../config/config.js';

export type AnonymousRequest = {
  /** As they were sent. */
  readonly headers: IncomingHttpHeaders;
  /** As Fastify derives it from them: with TRUST_PROXY the name in the request to a proxy. */
  readonly hostname: string;
};

/**
 * Why a request is refused where the API requires no token; undefined = it is not. Programs on this machine may do
 * everything, except web pages in its browser: those of another site, and those whose name was pointed here (DNS
 * rebinding), which are of the same site. Such a page chooses every header except Host, so Host is always checked.
 * @param publicHost host of PUBLIC_URL
 */
export function refusalOfAnonymous({ headers, hostname }: AnonymousRequest, publicHost: string): string | undefined {
  const isOurs = (name: string): boolean => isLoopback(name.replace(/^\[(.*)\]$/, '$1')) || name === publicHost;
  if (![nameOf(headers.host), hostname].every(isOurs)) {
    return 'Without tokens this API answers to the names of the loopback address only.';
  }
  if (isOfAnotherSite(headers) || isOfAnotherOrigin(headers, hostname, publicHost))
    return 'Without tokens this API answers no web page of another site.';
  return undefined;
}

function nameOf(host: string | undefined): string {
  return (host ?? '').replace(/:\d*$/, '');
}

/** Following a link is the user's own choice, and the page with the link does not see the answer. */
function isOfAnotherSite(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site'];
  return (site === 'cross-site' || site === 'same-site') && headers['sec-fetch-dest'] !== 'document';
}

/** For browsers that send no Sec-Fetch-Site (Safari before 16.4): all of them send Origin with a change. */
function isOfAnotherOrigin({ origin, host, ...others }: IncomingHttpHeaders, hostname: string, publicHost: string) {
  if (origin === undefined) return false;
  const from = URL.parse(origin);
  if (from === null) return true;
  if (from.host === host?.toLowerCase()) return false;
  // A proxy may have another name, and another port. A page cannot set this header without a preflight.
  const isOfProxy = others['x-forwarded-host'] !== undefined && from.hostname === hostname;
  return !isOfProxy && (isLoopback(publicHost) || from.hostname !== publicHost);
}
