import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from './problem.js';

const JSON_TYPE = /^application\/([a-z0-9.-]+\+)?json *(;|$)/i;

/**
 * Under `/v1` bodies are JSON. The form and byte parsers are there for agents; on `/v1` they would let a form on any web
 * page talk to an API on loopback, as forms need no preflight. The route says where a request goes: its URL may be
 * written in many ways, `/%761/jobs` is one.
 */
export function acceptOnlyJson(request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const type = request.headers['content-type'];
  if (type === undefined || JSON_TYPE.test(type) || request.routeOptions.url?.startsWith('/v1') !== true) {
    done();
    return;
  }
  done(new Problem('unsupported-media-type', 'Send the body as application/json.'));
}

/** Several clients send `Content-Type: application/json` with no body at all: that is no body, not a broken one. */
export function parseJsonBody(
  request: FastifyRequest,
  body: Buffer,
  done: (error: Error | null, body?: unknown) => void,
): void {
  if (body.length === 0) {
    done(null, undefined);
    return;
  }
  void request.server.getDefaultJsonParser('error', 'error')(request, body.toString(), (error, parsed: unknown) => {
    if (error) done(new Problem('malformed-request', `The body is not JSON${placeOf(error)}.`, { cause: error }));
    else if (isDeeper(parsed, MOST_LEVELS)) {
      done(new Problem('malformed-request', `The body is nested deeper than ${MOST_LEVELS} levels.`));
    } else done(null, parsed);
  });
}

/** Some five are of use. Thousands, which JSON.parse takes, exhaust the stack of what walks through them afterwards. */
const MOST_LEVELS = 32;

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

/** V8 quotes from the text, which may hold a secret; where it tells a place, that is told. */
function placeOf({ message }: Error): string {
  const position = /\bat position \d+/.exec(message)?.[0];
  return position === undefined ? '' : `: there is a fault ${position}`;
}
