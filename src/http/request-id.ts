import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Anything else could break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9._:-]{1,128}$/;

export const REQUEST_ID_HEADER = 'x-request-id';

/** The caller's id, so that one search finds a request in every log it passed; its own id where the caller's is unfit. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers[REQUEST_ID_HEADER];
  return typeof given === 'string' && SANE_ID.test(given) ? given : randomUUID();
}

const OWN = new WeakMap<object, string>();

/**
 * An id that only this program chose: a caller may send the same X-Request-Id twice, or another's. The id of the
 * request itself where no caller gave one.
 */
export function ownIdOf(request: { readonly id: string; readonly headers: IncomingMessage['headers'] }): string {
  if (request.headers[REQUEST_ID_HEADER] !== request.id) return request.id;
  const own = OWN.get(request) ?? randomUUID();
  OWN.set(request, own);
  return own;
}
