import type { IncomingHttpHeaders } from 'node:http';
import { isLoopback } from '../config/config.js';

export type AnonymousRequest = {
  /** As they were sent. */
  readonly headers: IncomingHttpHeaders;
  /** What Fastify makes of them: with TRUST_PROXY the name that a proxy was asked for. */
  readonly hostname: string;
};

/**
 * Why a request without a token is refused where nobody is asked for one; undefined = it is not. Whoever is on this machine
 * may do everything, but for the web pages in its browser: those of another site, and those whose name was pointed here (DNS
 * rebinding), which are of the same one. Such a page chooses every header but Host, so that one counts whatever else is said.
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

/** A link that somebody follows is his own wish, and the page it stood on learns nothing of it. */
function isOfAnotherSite(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site'];
  return (site === 'cross-site' || site === 'same-site') && headers['sec-fetch-dest'] !== 'document';
}

/** For browsers that send no Sec-Fetch-Site (Safari before 16.4): with a change all of them say where it comes from. */
function isOfAnotherOrigin({ origin, host, ...others }: IncomingHttpHeaders, hostname: string, publicHost: string) {
  if (origin === undefined) return false;
  const from = URL.parse(origin);
  if (from === null) return true;
  if (from.host === host?.toLowerCase()) return false;
  // A proxy may have been asked by another name, at another port. A page sets no such header without asking first.
  const isOfProxy = others['x-forwarded-host'] !== undefined && from.hostname === hostname;
  return !isOfProxy && (isLoopback(publicHost) || from.hostname !== publicHost);
}
