const MINUTE_MS = 60_000;

/** Fills at a rate per minute up to its size. What is taken beyond its content must flow in before the next taking. */
export class Bucket {
  #left: number;

  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly perMinute: number,
    private readonly size: number,
    private filledAtMs: number,
  ) {
    this.#left = size;
  }

  take(count: number, now: number): void {
    this.#fill(now);
    this.#left -= count;
  }

  /** Time until something is in it; 0 = something is. */
  waitMs(now: number): number {
    this.#fill(now);
    return this.#left >= 1 ? 0 : ((1 - this.#left) * MINUTE_MS) / this.perMinute;
  }

  isFull(now: number): boolean {
    this.#fill(now);
    return this.#left >= this.size;
  }

  #fill(now: number): void {
    this.#left = Math.min(this.size, this.#left + ((now - this.filledAtMs) * this.perMinute) / MINUTE_MS);
    this.filledAtMs = now;
  }
}
