import { setTimeout as sleep } from 'node:timers/promises';

/** 1 s doubling to 15 s, each between half and one and a half times that. */
export class BackOff {
  readonly #signal: AbortSignal;
  #seconds = 1;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  async sleep(): Promise<void> {
    const ms = this.#seconds * (500 + Math.random() * 1000);
    this.#seconds = this.#seconds < 8 ? this.#seconds * 2 : 15;
    await sleep(ms, undefined, { signal: this.#signal });
  }

  reset(): void {
    this.#seconds = 1;
  }

  slowest(): void {
    this.#seconds = 15;
  }
}
