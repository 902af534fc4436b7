import type { FastifyReply, FastifyRequest } from 'fastify';
import { asError } from '../process/as-error.js';
import { Problem } from './problem.js';
import { toPointer } from './validation-errors.js';

const JSON_TYPE = /^application\/([a-z0-9.-]+\+)?json *(;|$)/i;

/**
 * Under `/v1` bodies are JSON. The form and byte parsers are there for agents; on `/v1` they would let a form on any
 * web page talk to an API on loopback, as forms need no preflight. The matched route is compared, as a URL may be
 * written in many ways: `/%761/jobs` is one.
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
  _request: FastifyRequest,
  body: Buffer,
  done: (error: Error | null, body?: unknown) => void,
): void {
  if (body.length === 0) {
    done(null, undefined);
    return;
  }
  if (hasTooManyValues(body)) {
    done(new Problem('malformed-request', `The body holds more than ${MOST_VALUES} values.`));
    return;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(TEXT.decode(body));
  } catch (error) {
    done(new Problem('malformed-request', `The body is not JSON${placeOf(asError(error))}.`));
    return;
  }
  const fault = findFault(parsed, []);
  if (fault) done(fault);
  else done(null, parsed);
}

/** Leaves out a byte order mark, which some clients send. */
const TEXT = new TextDecoder();

/** A definition at its largest has some thousand. A hundred thousand, which 1 MiB may hold, take 300 ms to read and check. */
const MOST_VALUES = 10_000;

/** Counted before parsing. In text that is no JSON the count means nothing: the parser rejects it. */
function hasTooManyValues(body: Buffer): boolean {
  let count = 0;
  let isText = false;
  for (let at = 0; at < body.length; at += 1) {
    const byte = body[at];
    if (byte === QUOTE) isText = !isText;
    else if (isText) at += byte === BACKSLASH ? 1 : 0;
    else if (byte === COMMA || byte === BRACKET || byte === BRACE) count += 1;
  }
  return count > MOST_VALUES;
}

const [QUOTE, BACKSLASH, COMMA, BRACKET, BRACE] = Buffer.from('"\\,[{');

/** Requests need some five. Thousands, which JSON.parse accepts, exhaust the stack of code that walks them later. */
const MOST_LEVELS = 32;

/** The one name that libraries drop without an error when they copy objects, the validator among them. */
const UNUSABLE_NAME = '__proto__';

function findFault(value: unknown, path: string[]): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (path.length === MOST_LEVELS) {
    return new Problem('malformed-request', `The body is nested deeper than ${MOST_LEVELS} levels.`);
  }
  for (const name of Object.keys(value)) {
    path.push(name);
    if (name === UNUSABLE_NAME) {
      const error = { pointer: toPointer(path), detail: `nothing can be named ${UNUSABLE_NAME}` };
      return new Problem('malformed-request', `${error.pointer}: ${error.detail}`, { errors: [error] });
    }
    const fault = findFault((value as Record<string, unknown>)[name], path);
    if (fault) return fault;
    path.pop();
  }
  return undefined;
}

/** V8 quotes from the text, which may hold a secret: only the position is taken from its message. */
function placeOf({ message }: Error): string {
  const position = /\bat position \d+/.exec(message)?.[0];
  return position === undefined ? '' : `: there is a fault ${position}`;
}
