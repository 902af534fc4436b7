import { Occurrence, Operation } from './observation.js';

/** Runs of the loops of this process. */
export const loopRuns = new Operation<{ readonly loop: string }>('loop-run');

/** Passes that had something to do. `lagsMs`: of each row of the batch, how long it had been due when it was claimed. */
export const passes = new Occurrence<{
  readonly pass: 'job' | 'fleet';
  readonly durationMs: number;
  readonly lagsMs: readonly number[];
}>('pass');

export type LoopOptions = {
  readonly name: string;
  /** Does what is due. @returns milliseconds until it should be called again at the latest */
  readonly run: () => Promise<number>;
  readonly onError: (name: string, error: unknown, pauseMs: number) => void;
};

/** What most loops do about an error: a line in the log. */
export function logErrors(logger: { error(line: object): void }): LoopOptions['onError'] {
  return (name, error, nextTryMs) => logger.error({ message: `${name} failed`, error: String(error), nextTryMs });
}

const FIRST_ERROR_PAUSE_MS = 250;
const LONGEST_ERROR_PAUSE_MS = 10_000;

/** Calls `run` for ever, one at a time; errors are reported and followed by a growing pause, and never end the loop. */
export class Loop {
  readonly #options: LoopOptions;
  #ended: Promise<void> | undefined;
  #isStopping = false;
  #isWoken = false;
  #endPause: () => void = () => undefined;
  #soon: NodeJS.Timeout | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  start(): void {
    this.#ended ??= this.#go();
  }

  /** Runs now, or once more after the run in progress. */
  wake(): void {
    this.#isWoken = true;
    this.#endPause();
  }

  /** The same within so long: of many calls until then one run does the work. */
  wakeWithin(ms: number): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.wake();
    }, ms);
  }

  /** Resolves when the run in progress has ended. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#soon);
    this.#endPause();
    await this.#ended;
  }

  async #go(): Promise<void> {
    let errors = 0;
    while (!this.#isStopping) {
      this.#isWoken = false;
      try {
        const { name, run } = this.#options;
        const pauseMs = await loopRuns.run({ loop: name }, run);
        errors = 0;
        if (!this.#hasNews()) await this.#pause(pauseMs);
      } catch (error) {
        errors += 1;
        const pauseMs = Math.min(FIRST_ERROR_PAUSE_MS * 2 ** (errors - 1), LONGEST_ERROR_PAUSE_MS);
        this.#options.onError(this.#options.name, error, pauseMs);
        // Wake-ups while Postgres is away must not turn the pause into a hot loop.
        await this.#pause(pauseMs, false);
      }
    }
  }

  #hasNews(): boolean {
    return this.#isWoken || this.#isStopping;
  }

  async #pause(ms: number, isWakeable = true): Promise<void> {
    if (this.#isStopping) return;
    await new Promise<void>((done) => {
      const timer = setTimeout(done, Math.max(0, ms));
      this.#endPause = () => {
        if (!isWakeable && !this.#isStopping) return;
        clearTimeout(timer);
        done();
      };
    });
    this.#endPause = () => undefined;
  }
}
