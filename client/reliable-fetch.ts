/** How hard a call is tried. Each field has a default that suits a pipeline. */
export type Reliability = {
  /** Longest time one try may take, its `wait` not included. Default 30,000. Of a stream: until it begins. */
  readonly timeoutMs?: number;
  /** For how long a call is repeated when the API does not answer, or cannot now. Default 30,000. */
  readonly retryForMs?: number;
  /** Called before each repeat. */
  readonly onRetry?: (retry: Retry) => void;
  /** Ends all calls at once, and every stream. */
  readonly signal?: AbortSignal;
};

export type Retry = {
  /** The answer's status; undefined = there was none. */
  readonly status: number | undefined;
  readonly error: Error | undefined;
  readonly delayMs: number;
};

type Outcome = { readonly response: Response } | { readonly error: Error };
type Call = {
  readonly url: string;
  readonly init: RequestInit;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5_000;
/** Proxies answer with the first and the last of these while the API behind them restarts. */
const PASSING = new Set([429, 502, 503, 504]);

/**
 * A `fetch` that never waits without an end, and repeats what may be repeated: every changing call carries an
 * `Idempotency-Key`, so that a repeat of one that was carried out changes nothing.
 */
export function reliableFetch(reliability: Reliability): typeof fetch {
  const { timeoutMs = 30_000, retryForMs = 30_000, onRetry } = reliability;
  return async (input, options) => {
    const request = new Request(input, options);
    const signal = AbortSignal.any([reliability.signal, signalOf(input, options)].filter((one) => one !== undefined));
    const call = { url: request.url, init: await repeatable(request), timeoutMs: timeoutMs + waitOf(request), signal };
    const deadline = Date.now() + retryForMs;
    for (let tries = 1; ; tries += 1) {
      const outcome = await attempt(call);
      signal.throwIfAborted();
      const delayMs = delayAfter(outcome, tries);
      if (delayMs === undefined || Date.now() + delayMs > deadline) return responseOf(outcome);
      onRetry?.(retryOf(outcome, delayMs));
      await pause(delayMs, signal);
    }
  };
}

/** The signal as given: that of a Request made here is garbage-collected with it, and a stream outlives it. */
function signalOf(input: Parameters<typeof fetch>[0], options?: RequestInit): AbortSignal | undefined {
  return options?.signal ?? (input instanceof Request ? input.signal : undefined);
}

async function repeatable(request: Request): Promise<RequestInit> {
  const { method, redirect } = request;
  const headers = new Headers(request.headers);
  if (method !== 'GET' && !headers.has('idempotency-key')) headers.set('idempotency-key', crypto.randomUUID());
  const body = await request.text();
  return { method, headers, redirect, ...(body !== '' && { body }) };
}

/** A long poll may take its `wait` longer than another call. */
function waitOf({ url }: Request): number {
  return Number(new URL(url).searchParams.get('wait') ?? 0) * 1_000;
}

async function attempt({ url, init, timeoutMs, signal }: Call): Promise<Outcome> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.any([signal, timeout.signal]) });
    return { response: isStream(response) ? response : await received(response) };
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  } finally {
    clearTimeout(timer);
  }
}

function isStream({ ok, headers }: Response): boolean {
  return ok && (headers.get('content-type') ?? '').startsWith('text/event-stream');
}

/** With its body, so that a connection lost in the middle of it is a try that failed, and the timeout covers it. */
async function received(response: Response): Promise<Response> {
  const body = await response.arrayBuffer();
  const { status, statusText, headers, url } = response;
  const whole = new Response(body.byteLength === 0 ? null : body, { status, statusText, headers });
  // A Response that is made has none, and messages name the server.
  return Object.defineProperty(whole, 'url', { value: url });
}

/** undefined: this is the outcome. */
function delayAfter(outcome: Outcome, tries: number): number | undefined {
  if ('response' in outcome && !isPassing(outcome.response)) return undefined;
  const retryAfter = 'response' in outcome ? Number(outcome.response.headers.get('retry-after') ?? 0) * 1_000 : 0;
  const backoff = Math.min(FIRST_DELAY_MS * 2 ** (tries - 1), LONGEST_DELAY_MS);
  // Many clients lose the same API at the same moment: they must not all retry at the same one.
  return Math.max(retryAfter || 0, backoff * (0.5 + Math.random() / 2));
}

function isPassing({ status, headers }: Response): boolean {
  // 409 with Retry-After: the first of two equal requests is still being carried out.
  return PASSING.has(status) || (status === 409 && headers.has('retry-after'));
}

function responseOf(outcome: Outcome): Response {
  if ('response' in outcome) return outcome.response;
  throw outcome.error;
}

function retryOf(outcome: Outcome, delayMs: number): Retry {
  const status = 'response' in outcome ? outcome.response.status : undefined;
  return { status, error: 'error' in outcome ? outcome.error : undefined, delayMs };
}

async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), delayMs);
  const stop = () => resolve(undefined);
  signal.addEventListener('abort', stop, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
}
