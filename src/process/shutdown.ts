import { setMaxListeners } from 'node:events';

/**
 * The shutdown of this process, as its parts notice it. `begin` is called after a signal, before anything is closed:
 * readiness goes false, parked polls are answered, loops begin no new work.
 */
export class Shutdown {
  readonly #controller = new AbortController();
  readonly #listeners = new Set<() => void>();

  constructor() {
    // Every parked request may listen: that many listeners are no leak.
    setMaxListeners(0, this.#controller.signal);
  }

  /** For fetch, timers/promises and the like. With thousands of listeners prefer `onBegin`: unsubscribing is O(1). */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get hasBegun(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Calls `listener` once when the shutdown begins, at once if it has. @returns a function that unsubscribes */
  onBegin(listener: () => void): () => void {
    if (this.hasBegun) {
      listener();
      return () => undefined;
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  begin(): void {
    if (this.hasBegun) return;
    this.#controller.abort(new Error('this process is shutting down'));
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }
}
