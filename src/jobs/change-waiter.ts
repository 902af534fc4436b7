import { performance } from 'node:perf_hooks';
import { Inject, Injectable, Optional } from '@nestjs/common';
import { type Channel, Signals } from '../database/signals.js';
import { Shutdown } from '../process/shutdown.js';

/** How a wait ended: `look` returned true, the time was over, the client left, or the process shuts down. */
export type WaitEnd = 'seen' | 'over' | 'left' | 'shutdown';

/** Lets requests wait for a job to change without querying the database in between. */
@Injectable()
export class ChangeWaiter {
  readonly #watches = new Map<string, Set<Watch>>();
  readonly #shutdown: Pick<Shutdown, 'hasBegun'>;

  /** @param channels signals with job ids as keys */
  constructor(
    @Inject(Signals) signals: Pick<Signals, 'on' | 'onReconnect'>,
    @Inject(Shutdown) shutdown: Pick<Shutdown, 'hasBegun' | 'onBegin'>,
    @Optional() channels: readonly Channel[] = ['changes'],
  ) {
    this.#shutdown = shutdown;
    for (const channel of channels) signals.on(channel, (keys) => this.wake(keys));
    signals.onReconnect(() => this.#wakeAll());
    shutdown.onBegin(() => this.#wakeAll());
  }

  /** Requests that wait now. */
  get size(): number {
    return [...this.#watches.values()].reduce((sum, watches) => sum + watches.size, 0);
  }

  /** Ids of the jobs that requests wait for. */
  get jobIds(): string[] {
    return [...this.#watches.keys()];
  }

  /** As a signal does: without ids it means that any job may have changed. */
  wake(jobIds: readonly string[]): void {
    if (jobIds.length > 0) for (const jobId of jobIds) this.#wake(jobId);
    else this.#wakeAll();
  }

  /**
   * Calls `look` at once, after every change of the job, and at the end of the wait, until it returns true, `waitMs`
   * are over, `signal` aborts, or the process shuts down. @returns which of these it was
   */
  async wait(jobId: string, waitMs: number, signal: AbortSignal, look: () => Promise<boolean>): Promise<WaitEnd> {
    const watch = new Watch();
    // Watching begins before the first look, so that no change in between is missed.
    const leave = this.#join(jobId, watch);
    const endsAt = performance.now() + waitMs;
    try {
      while (!(await look())) {
        const remainingMs = endsAt - performance.now();
        if (remainingMs <= 0) return 'over';
        if (this.#shutdown.hasBegun) return 'shutdown';
        if (!(await watch.next(remainingMs, signal))) return 'left';
      }
      return 'seen';
    } finally {
      leave();
    }
  }

  #join(jobId: string, watch: Watch): () => void {
    const watches = this.#watches.get(jobId) ?? new Set();
    this.#watches.set(jobId, watches.add(watch));
    return () => {
      watches.delete(watch);
      if (watches.size === 0) this.#watches.delete(jobId);
    };
  }

  #wake(jobId: string): void {
    for (const watch of this.#watches.get(jobId) ?? []) watch.notify();
  }

  #wakeAll(): void {
    for (const jobId of this.#watches.keys()) this.#wake(jobId);
  }
}

class Watch {
  #hasChanged = false;
  #wake: () => void = () => undefined;

  notify(): void {
    this.#hasChanged = true;
    this.#wake();
  }

  /** True after a change since the last call or once the time is over, false once the client has gone. */
  async next(withinMs: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#hasChanged && !signal.aborted) await this.#sleep(withinMs, signal);
    this.#hasChanged = false;
    return !signal.aborted;
  }

  #sleep(withinMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((done) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        this.#wake = () => undefined;
        done();
      };
      // libuv counts whole milliseconds from an earlier time: a timer that fires early would cost one more look.
      const timer = setTimeout(wake, Math.ceil(withinMs) + 1);
      signal.addEventListener('abort', wake);
      this.#wake = wake;
    });
  }
}
