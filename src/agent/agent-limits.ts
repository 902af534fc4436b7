import { Bucket } from '../process/bucket.js';

// What one instance may send to one process. Far more than an agent sends at its busiest: it polls once at a time,
// twenty times in a second at most, uploads one log at 2.5 MiB of new lines a second, half of which it may send twice,
// and reports each order once. Agents of every version treat a 429 like no answer, and retry in seconds.

const MOST_AT_ONCE = 24;
/** One, two while an order replaces another, and as many whose broken connection the API has not noticed. */
const MOST_UPLOADS_AT_ONCE = 4;
const REQUESTS_PER_MINUTE = 1_800;
const BYTES_PER_MINUTE = 640 * 1_048_576;
/**
 * Each change of a probe's state may be an event, and as many deliveries as there are webhooks: an agent with false
 * reports caused eight events a second, and eighty deliveries. A service may go up and down every ten seconds.
 */
const CHANGES_PER_MINUTE = 6;
const CHANGES_AT_ONCE = 20;
/** With more entries, those of instances that send nothing are removed. */
const MANY_INSTANCES = 10_000;

export type Entry =
  | { readonly isAllowed: true; leave(bytes: number): void }
  | { readonly isAllowed: false; readonly retryAfterSeconds: number; readonly detail: string };

/** Requests and bytes a minute, and how many requests at once, of each instance in this process. */
export class AgentLimits {
  readonly #usages = new Map<string, Usage>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** A request begins. `leave` must be called once at its end, with the bytes it received. */
  enter(instanceId: string, isUpload: boolean): Entry {
    const usage = this.#usageOf(instanceId);
    if (usage.all >= MOST_AT_ONCE) return refused(1, `An agent may send ${MOST_AT_ONCE} requests at once.`);
    if (isUpload && usage.uploads >= MOST_UPLOADS_AT_ONCE) {
      return refused(1, `An agent may send ${MOST_UPLOADS_AT_ONCE} logs at once.`);
    }
    const waitMs = Math.max(usage.requests.waitMs(this.now()), usage.bytes.waitMs(this.now()));
    if (waitMs > 0) {
      return refused(waitMs / 1000, `An agent may send ${REQUESTS_PER_MINUTE} requests and 640 MiB a minute.`);
    }
    usage.requests.take(1, this.now());
    usage.all += 1;
    if (isUpload) usage.uploads += 1;
    return {
      isAllowed: true,
      leave: (bytes) => {
        usage.all -= 1;
        if (isUpload) usage.uploads -= 1;
        usage.bytes.take(bytes, this.now());
      },
    };
  }

  /** Before its probe's new state is stored. @returns milliseconds until it may be; 0 = now, and it is counted */
  takeChange(instanceId: string): number {
    const { changes } = this.#usageOf(instanceId);
    const waitMs = changes.waitMs(this.now());
    if (waitMs === 0) changes.take(1, this.now());
    return waitMs;
  }

  /** Instances remembered. */
  get size(): number {
    return this.#usages.size;
  }

  #usageOf(instanceId: string): Usage {
    const known = this.#usages.get(instanceId);
    if (known) return known;
    if (this.#usages.size >= MANY_INSTANCES) this.#forgetIdle();
    const now = this.now();
    const usage = {
      all: 0,
      uploads: 0,
      requests: new Bucket(REQUESTS_PER_MINUTE, REQUESTS_PER_MINUTE, now),
      bytes: new Bucket(BYTES_PER_MINUTE, BYTES_PER_MINUTE, now),
      changes: new Bucket(CHANGES_PER_MINUTE, CHANGES_AT_ONCE, now),
    };
    this.#usages.set(instanceId, usage);
    return usage;
  }

  #forgetIdle(): void {
    const now = this.now();
    for (const [instanceId, { all, requests, bytes, changes }] of this.#usages) {
      const isIdle = all === 0 && [requests, bytes, changes].every((bucket) => bucket.isFull(now));
      if (isIdle) this.#usages.delete(instanceId);
    }
  }
}

type Usage = {
  all: number;
  uploads: number;
  readonly requests: Bucket;
  readonly bytes: Bucket;
  readonly changes: Bucket;
};

function refused(retryAfterSeconds: number, detail: string): Entry {
  return { isAllowed: false, retryAfterSeconds: Math.ceil(retryAfterSeconds), detail };
}
