import { Bucket } from '../process/bucket.js';

/**
 * How much the calls of a token may store in Postgres, about: definitions of jobs and deployments, versions of secrets,
 * kept answers, events. A thousand jobs of 64 KiB at once; then 250 changes a minute of a usual size.
 */
export const MOST_BYTES_AT_ONCE = 64 * 1_048_576;
const BYTES_PER_MINUTE = 1_048_576;
/** The rows of a change that has no body. */
const BYTES_PER_CHANGE = 1_024;
const MANY_CALLERS = 10_000;

/** Bytes that changes of each caller store, in this process: no row that a token can make grows without a limit. */
export class WriteBudget {
  readonly #buckets = new Map<string, Bucket>();

  /** @param now milliseconds on a clock that never jumps */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Until this caller may change something again; 0 = it may. */
  secondsToWait(caller: string): number {
    return Math.ceil((this.#buckets.get(caller)?.waitMs(this.now()) ?? 0) / 1000);
  }

  /** Something was changed. @param bytes of what was sent or answered */
  take(caller: string, bytes: number): void {
    const now = this.now();
    const bucket = this.#buckets.get(caller) ?? new Bucket(BYTES_PER_MINUTE, MOST_BYTES_AT_ONCE, now);
    bucket.take(bytes + BYTES_PER_CHANGE, now);
    if (this.#buckets.size >= MANY_CALLERS) this.#forgetIdle(now);
    this.#buckets.set(caller, bucket);
  }

  /** Callers remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  #forgetIdle(now: number): void {
    for (const [caller, bucket] of this.#buckets) if (bucket.isFull(now)) this.#buckets.delete(caller);
  }
}
