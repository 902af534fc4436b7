import { setTimeout as sleep } from 'node:timers/promises';
import type { HttpAnswer } from './agent-http.ts';
import { BackOff } from './back-off.ts';
import { naturalNumber } from './order-headers.ts';
import type { EngineAnswer, EngineRequest } from './simulated-engine.ts';

export type Shipment = {
  readonly headers: Readonly<Record<string, string>>;
  /** Where the next segment begins, as the scheduler said last; what the real agent keeps in the order's folder. */
  since?: string;
};

export type ShippingHost = {
  /** The request to Docker without `since`, which is appended. */
  path: string;
  isFollowing: boolean;
  /** The header of the answer that says where to continue. */
  sinceHeader: string;
  engine: (request: EngineRequest) => Promise<EngineAnswer>;
  /** @throws for anything but a complete answer */
  upload: (query: string, body: AsyncIterable<Buffer>) => Promise<HttpAnswer>;
  /** No newer order took its place. */
  isCurrent: () => boolean;
  /** Waits while the machine is frozen. @throws when it went down */
  pass: () => Promise<void>;
  readonly signal: AbortSignal;
};

/** What the order came to; undefined: no answer is expected any more. */
export type ShippingOutcome = { readonly status: number; readonly error?: string; readonly body?: Buffer } | undefined;

// The same as in agent.sh.
const SEGMENT_MS = 30_000;
const SEGMENT_BYTES = 8 * 1_048_576;
const AFTER_END_MS = 1_000;
const SINCE = /^\d{1,10}\.\d{9}$/;

/** What `ship` of agent.sh does: one segment after the other, each sent again until it is acknowledged. */
export async function ship(shipment: Shipment, host: ShippingHost): Promise<ShippingOutcome> {
  const seconds = naturalNumber(shipment.headers['order-timeout']);
  if (seconds === undefined)
    return { status: 0, error: 'malformed Order-Timeout', body: Buffer.from('malformed Order-Timeout\n') };
  const { isFollowing } = host;
  const endsAt = performance.now() + (isFollowing ? Infinity : seconds * 1000);
  const backOff = new BackOff(host.signal);
  while (host.isCurrent()) {
    const segment = new Segment(host, shipment.since ?? '0');
    const answer = await segment.send();
    await host.pass();
    const since = answer?.headers[host.sinceHeader];
    const isStored = answer?.status === 200 && typeof since === 'string' && SINCE.test(since);
    if (isStored) {
      shipment.since = since;
      backOff.reset();
    }
    if (answer && [404, 409, 410].includes(answer.status)) return undefined;
    if (segment.refusal !== undefined) return { status: segment.refusal };
    if ((segment.isTried && !isStored) || segment.end === 'failed') await backOff.sleep();
    else if (segment.end === 'over') {
      if (!isFollowing) return { status: 200 };
      await sleep(AFTER_END_MS, undefined, { signal: host.signal });
    }
    if (performance.now() >= endsAt) return { status: 0, error: 'curl 28' };
  }
  return undefined;
}

/** One answer of Docker's, piped as it comes into one upload. */
class Segment {
  /** How Docker's stream ended: by itself, because it was long enough, or because Docker is not there. */
  end: 'over' | 'cut' | 'failed' = 'cut';
  /** Docker's status when it has no logs. */
  refusal: number | undefined;
  /** There was something to send. */
  isTried = false;
  readonly #limit = new AbortController();
  readonly #host: ShippingHost;
  readonly #since: string;

  constructor(host: ShippingHost, since: string) {
    this.#host = host;
    this.#since = since;
  }

  /** @returns undefined when there was nothing to send, or no answer */
  async send(): Promise<HttpAnswer | undefined> {
    const timer = setTimeout(() => this.#limit.abort(), SEGMENT_MS);
    const bytes = this.#bytes();
    try {
      const first = await bytes.next();
      if (first.done) return undefined;
      this.isTried = true;
      const body = async function* () {
        yield first.value;
        yield* bytes;
      };
      return await this.#host.upload(`since=${this.#since}`, body()).catch(() => undefined);
    } finally {
      clearTimeout(timer);
      this.#limit.abort();
    }
  }

  async *#bytes(): AsyncGenerator<Buffer, void> {
    const host = this.#host;
    const signal = AbortSignal.any([host.signal, this.#limit.signal]);
    const path = `${host.path}${host.path.includes('?') ? '&' : '?'}since=${this.#since}`;
    const answer = await host.engine({ method: 'GET', path, body: Buffer.alloc(0), signal }).catch(() => undefined);
    if (!answer) {
      this.end = 'failed';
      return;
    }
    if (answer.status >= 400) {
      this.refusal = answer.status;
      return;
    }
    let left = SEGMENT_BYTES;
    try {
      for await (const chunk of chunksOf(answer)) {
        await host.pass();
        if (chunk.length > left) {
          yield chunk.subarray(0, left);
          return;
        }
        left -= chunk.length;
        if (chunk.length > 0) yield chunk;
      }
      this.end = 'over';
    } catch {
      if (!this.#limit.signal.aborted) this.end = 'failed';
    }
  }
}

async function* chunksOf({ body, stream }: EngineAnswer): AsyncGenerator<Buffer> {
  if (body.length > 0) yield body;
  if (stream) yield* stream;
}
