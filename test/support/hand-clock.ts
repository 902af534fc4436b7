import { setImmediate as turn } from 'node:timers/promises';

type Timer = { readonly run: () => void; readonly everyMs: number | undefined; dueMs: number };

/** Time of code under test: its timers run, and its clock goes on, only while a test lets time pass. Begins at 0. */
export class HandClock {
  #nowMs = 0;
  readonly #timers = new Set<Timer>();
  readonly #undo: () => void;

  /** In place of the timers of the process and of `performance.now()`, until `restore`. */
  constructor() {
    const { setTimeout, setInterval, clearTimeout, clearInterval, performance } = globalThis;
    const before = { setTimeout, setInterval, clearTimeout, clearInterval };
    this.#undo = () => {
      Object.assign(globalThis, before);
      Object.defineProperty(globalThis, 'performance', { value: performance, configurable: true, writable: true });
    };
    Object.defineProperty(globalThis, 'performance', { value: this, configurable: true, writable: true });
    const clear = (timer: Timer | undefined): void => {
      if (timer) this.#timers.delete(timer);
    };
    Object.assign(globalThis, {
      setTimeout: (run: () => void, ms: number) => this.#add(run, ms, undefined),
      setInterval: (run: () => void, ms: number) => this.#add(run, ms, ms),
      clearTimeout: clear,
      clearInterval: clear,
    });
  }

  /** To be injected. */
  readonly now = (): number => this.#nowMs;

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** What is due in this time happens, one after the other, and whatever can follow from it. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settled();
    for (let next = this.#next(endMs); next; next = this.#next(endMs)) {
      this.#nowMs = next.dueMs;
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.dueMs += next.everyMs;
      next.run();
      await settled();
    }
    this.#nowMs = endMs;
  }

  restore(): void {
    this.#undo();
  }

  #add(run: () => void, ms: number, everyMs: number | undefined): Timer & { unref(): unknown } {
    const timer = { run, everyMs, dueMs: this.#nowMs + ms, unref: () => timer };
    this.#timers.add(timer);
    return timer;
  }

  #next(endMs: number): Timer | undefined {
    const due = [...this.#timers].filter(({ dueMs }) => dueMs <= endMs);
    return due.sort((a, b) => a.dueMs - b.dueMs)[0];
  }
}

/** Whatever only waited for what is known already has gone on, in so many turns of the event loop. */
export async function settled(turns = 3): Promise<void> {
  for (let left = turns; left > 0; left -= 1) await turn();
}
