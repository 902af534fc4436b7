import { isImageReference, parseImageReference } from '../jobs/image-reference.js';
import { withoutAccount } from '../process/public-text.js';
import { type ContainerLogLine, demultiplexLogs } from './container-logs.js';

/**
 * The parts of an order's answer that a plan reads. Parsed once, when the answer is stored, from the little that is
 * kept of it ({@link answerBytesOf}); whatever an instance sent, it is small, and each value has a checked form.
 */
export type OrderAnswer = {
  /** Docker's words when it refused, of a pull the registry's; of a probe and of anything else the text that was sent. */
  readonly message?: string;
  /** The pull failed, also when Docker's status says 200. */
  readonly pullFailure?: PullFailure;
  /** The registry accepts the next pull no sooner; 900 at most. */
  readonly retryAfterSeconds?: number;
  /** Of a wait: how the container exited. */
  readonly exitCode?: number;
  /** Of a description of an image. */
  readonly image?: ImageDetails;
  /** Of a description of a container. */
  readonly container?: ContainerDetails;
  /** Of a look at its log: the last lines, oldest first. */
  readonly lines?: readonly ContainerLogLine[];
};

/**
 * `busy`: the registry answers, but cannot serve the image now. `unreachable`: no registry answers at this name.
 * `other`: a failure of Docker itself, as of its disk.
 */
export type PullFailure = 'not-found' | 'unauthorized' | 'busy' | 'unreachable' | 'other';

export type ImageDetails = {
  /** `sha256:…` of its configuration. */
  readonly id: string;
  /** `name@sha256:…`, one for each name a registry knows it by; empty for an image that never was in a registry. */
  readonly digests: readonly string[];
};

export type ContainerDetails = {
  readonly isRunning: boolean;
  readonly exitCode: number | null;
  readonly isOutOfMemory: boolean;
};

export const NO_ANSWER: OrderAnswer = {};

/** The longest answer of all: agents cut Docker’s there (Docker-Max-Bytes), and the API accepts no longer one. */
export const MOST_ANSWER_BYTES = 262_144;

/** How many of the last bytes are kept of an answer to an order of this purpose; the order requests no more. */
export function answerBytesOf(purpose: string): number {
  return ANSWER_BYTES[purpose] ?? 4_096;
}

/** Lines of a container's log that are kept with its deployment. */
export const LOG_LINES = 50;

const ANSWER_BYTES: Readonly<Record<string, number>> = {
  // Docker's progress, a line each; the outcome is at its end.
  pull: 16_384,
  // Whole JSON, of which a part is of no use: with an image's labels and layers, and all variables of a container.
  'inspect-image': MOST_ANSWER_BYTES,
  'inspect-container': MOST_ANSWER_BYTES,
  'inspect-exit': MOST_ANSWER_BYTES,
  logs: 65_536,
  create: 16_384,
  start: 16_384,
  probe: 1_024,
};

/**
 * Reads an answer in a time that its length bounds, and never more of it than {@link answerBytesOf} the purpose.
 * @param body perhaps without its beginning
 */
export function readAnswer(purpose: string, body: Uint8Array): OrderAnswer {
  const kept = keptOf(purpose, body);
  const most = answerBytesOf(purpose);
  if (kept.length === 0) return NO_ANSWER;
  switch (purpose) {
    case 'pull':
      return readPull(kept);
    case 'inspect-image':
      return readDescription(kept, most, (answer) => ({ image: imageOf(answer) }));
    case 'inspect-container':
    case 'inspect-exit':
      return readDescription(kept, most, (answer) => ({ container: containerOf(answer) }));
    case 'wait':
      return readDescription(kept, most, ({ StatusCode }) => ({ exitCode: exitCodeOf(StatusCode) }));
    case 'logs':
      return { lines: readLines(kept) };
    case 'probe':
      return { message: bounded(textOf(kept), MOST_PROBE_CHARACTERS) };
    default:
      return readDescription(kept, most, () => ({}));
  }
}

/** The end of an answer, as long as its purpose allows. */
export function keptOf(purpose: string, body: Uint8Array): Uint8Array {
  return body.subarray(Math.max(0, body.length - answerBytesOf(purpose)));
}

/**
 * What is stored of an answer's body. Docker's description of a container has its environment, and with it secrets: of
 * a description only the parsed values are stored.
 */
export function bodyToStore(purpose: string, body: Uint8Array, { message, image, container }: OrderAnswer): Uint8Array {
  if (!purpose.startsWith('inspect-')) return keptOf(purpose, body);
  if (message !== undefined) return jsonOf({ message });
  if (image) return jsonOf({ Id: image.id, RepoDigests: image.digests });
  if (!container) return new Uint8Array();
  const { isRunning, exitCode, isOutOfMemory } = container;
  // Processes of the version before read it, and need an id.
  return jsonOf({ Id: 'job', State: { Running: isRunning, ExitCode: exitCode, OOMKilled: isOutOfMemory } });
}

const MOST_MESSAGE_CHARACTERS = 1_000;
const MOST_PROBE_CHARACTERS = 500;
/** An error is the last line, or one of the last. */
const MOST_PULL_LINES = 64;
/** As many as fifty lines of a log can have, and far more; what a container printed may be line ends and nothing else. */
const MOST_LINE_ENDS = 1_000;
const MOST_RETRY_AFTER_SECONDS = 900;
/** An image has a few names; more are of no use. */
const MOST_DIGESTS = 16;
const MOST_INT32 = 2_147_483_647;

/** Docker answers 200 even when a pull fails, and reports it in a line of its own; else it sends one error object. */
function readPull(kept: Uint8Array): OrderAnswer {
  for (const line of lastLines(textOf(kept), MOST_PULL_LINES)) {
    const message = errorMessage(parseJson(line));
    if (message === undefined) continue;
    // A registry of ECR names the role that may not pull, and its account.
    const text = withoutAccount(bounded(message));
    const retryAfterSeconds = retryAfterOf(text);
    return {
      pullFailure: pullFailureOf(text),
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
      message: text,
    };
  }
  return NO_ANSWER;
}

/** From the last one backwards, without empty ones. */
function* lastLines(text: string, most: number): Generator<string> {
  let end = text.length;
  for (let count = 0; end > 0 && count < most;) {
    const start = text.lastIndexOf('\n', end - 1) + 1;
    if (start < end) {
      count += 1;
      yield text.slice(start, end);
    }
    end = start - 1;
  }
}

/** Docker sends no code. Docker Hub answers "pull access denied" also for a missing repository, which is likelier. */
function pullFailureOf(message: string): PullFailure {
  if (BUSY.some((pattern) => pattern.test(message))) return 'busy';
  if (UNREACHABLE.test(message)) return 'unreachable';
  if (/not found|manifest unknown|name unknown|does not exist|no such image/i.test(message)) return 'not-found';
  if (/unauthorized|denied|forbidden|authentication required|no basic auth|401/i.test(message)) return 'unauthorized';
  return 'other';
}

/** Statuses as Docker and containerd write them; a tag may be 503, too. The rest: connections that a registry gave up. */
const BUSY = [
  /toomanyrequests|too many requests|rate limit|rate exceeded/i,
  /(?:HTTP status:|status code:?|status from [A-Z]+ request to \S+:) (?:429|5\d\d)\b/,
  /: (?:429 Too Many|500 Internal|502 Bad Gateway|503 Service|504 Gateway)/,
  /TLS handshake timeout|while awaiting headers|connection reset by peer|unexpected EOF|: EOF$/,
];
const UNREACHABLE =
  /no such host|server misbehaving|name resolution|connection refused|no route to host|network is unreachable|dial tcp.*i\/o timeout/;

/** GitHub’s registry writes Go’s durations, others seconds. */
function retryAfterOf(message: string): number | undefined {
  const [, amount, unit = 's'] =
    /retry-after:? *(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|s|µs|us|ns)?(?![a-z0-9])/i.exec(message) ?? [];
  if (amount === undefined) return undefined;
  const seconds = { h: 3_600, m: 60, s: 1, ms: 0.001 }[unit.toLowerCase()] ?? 0;
  return Math.min(Math.ceil(Number(amount) * seconds), MOST_RETRY_AFTER_SECONDS);
}

/** Agents send the end of what is longer. */
const CUT = 'Docker’s answer was longer than what is kept of it, and its end alone says nothing';

function readDescription(
  kept: Uint8Array,
  most: number,
  details: (answer: Record<string, unknown>) => { readonly [Key in keyof OrderAnswer]?: OrderAnswer[Key] | undefined },
): OrderAnswer {
  const answer = record(parseJson(textOf(kept)));
  if (answer === undefined) return kept.length < most ? NO_ANSWER : { message: CUT };
  const message = errorMessage(answer);
  const found = Object.entries(details(answer)).filter(([, value]) => value !== undefined);
  return { ...(message !== undefined && { message: bounded(message) }), ...Object.fromEntries(found) };
}

function imageOf({ Id, RepoDigests }: Record<string, unknown>): ImageDetails | undefined {
  if (typeof Id !== 'string' || !isImageId(Id)) return undefined;
  const digests = (Array.isArray(RepoDigests) ? RepoDigests : []).slice(0, MOST_DIGESTS).filter(isDigestReference);
  return { id: Id, digests };
}

/** `sha256:` and 64 hex digits: an image as an engine knows it, whatever registries call it. */
export function isImageId(id: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(id);
}

/** `name@sha256:…`, as Docker would accept it. */
export function isDigestReference(reference: unknown): reference is string {
  if (typeof reference !== 'string' || reference.length > 400 || !isImageReference(reference)) return false;
  const { tag, digest } = parseImageReference(reference);
  return tag === undefined && digest !== undefined && isImageId(digest);
}

function containerOf({ Id, State }: Record<string, unknown>): ContainerDetails | undefined {
  const state = record(State);
  if (state === undefined || typeof Id !== 'string') return undefined;
  return {
    isRunning: state['Running'] === true,
    exitCode: exitCodeOf(state['ExitCode']) ?? null,
    isOutOfMemory: state['OOMKilled'] === true,
  };
}

function exitCodeOf(value: unknown): number | undefined {
  return Number.isInteger(value) && Math.abs(value as number) <= MOST_INT32 ? (value as number) : undefined;
}

function readLines(kept: Uint8Array): readonly ContainerLogLine[] {
  let start = kept.length;
  for (let count = 0; start > 0 && count <= MOST_LINE_ENDS; count += 1) {
    start = kept.lastIndexOf(LINE_END, start - 1);
    if (start === -1) start = 0;
  }
  return demultiplexLogs(kept.subarray(start))
    .slice(-LOG_LINES)
    .map(({ line, ...rest }) => ({ ...rest, line: storable(line) }));
}

const LINE_END = 0x0a;

function errorMessage(value: unknown): string | undefined {
  const answer = record(value);
  const message = record(answer?.['errorDetail'])?.['message'] ?? answer?.['error'] ?? answer?.['message'];
  return typeof message === 'string' ? message : undefined;
}

function bounded(text: string, most = MOST_MESSAGE_CHARACTERS): string {
  return storable(text.slice(0, most));
}

/** Postgres accepts neither NUL nor half a surrogate pair. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function parseJson(json: string): unknown {
  // An exception costs more than all of an answer: this check avoids it for text that is no object.
  if (!/^\s*\{/.test(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

function jsonOf(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
