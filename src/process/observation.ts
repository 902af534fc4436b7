import { type Channel, channel } from 'node:diagnostics_channel';

// What this process does, published to the code that measures it (src/metrics, src/tracing). The measured code does not
// know its listeners, and only looks at a flag while there are none. Node's own channels carry it: they belong to the
// process, not to an application in it.

/** Something that happens in a moment. */
export class Occurrence<Facts extends object> {
  readonly #channel: Channel;

  constructor(name: string) {
    this.#channel = channel(`scheduler-api:${name}`);
  }

  get hasSubscribers(): boolean {
    return this.#channel.hasSubscribers;
  }

  publish(facts: Facts): void {
    if (this.#channel.hasSubscribers) this.#channel.publish(facts);
  }

  /** @returns a function that unsubscribes */
  subscribe(listener: (facts: Facts) => void): () => void {
    const subscriber = (facts: unknown): void => quietly(() => listener(facts as Facts));
    this.#channel.subscribe(subscriber);
    return () => {
      this.#channel.unsubscribe(subscriber);
    };
  }
}

/** How a piece of work went. */
export type Ended<Facts> = {
  readonly facts: Facts;
  readonly durationMs: number;
  /** What it rejected with; undefined = it succeeded. */
  readonly error: unknown;
};

/** Work that takes its time. */
export class Operation<Facts extends object> {
  readonly #ended: Occurrence<Ended<Facts>>;

  constructor(name: string) {
    this.#ended = new Occurrence(name);
  }

  /** Does `work`, and publishes how it went. */
  async run<T>(facts: Facts, work: () => Promise<T>): Promise<T> {
    if (!this.#ended.hasSubscribers) return await work();
    const startedAt = performance.now();
    const end = (error: unknown): void =>
      this.#ended.publish({ facts, durationMs: performance.now() - startedAt, error });
    try {
      const result = await work();
      end(undefined);
      return result;
    } catch (error) {
      end(error);
      throw error;
    }
  }

  /** @returns a function that unsubscribes */
  onEnd(listener: (ended: Ended<Facts>) => void): () => void {
    return this.#ended.subscribe(listener);
  }
}

/** A channel makes an error of its listener an uncaught one, and measuring must end nothing. */
function quietly(listen: () => void): void {
  try {
    listen();
  } catch (error) {
    const line = { level: 'error', pid: process.pid, timestamp: Date.now(), message: 'measuring failed' };
    process.stderr.write(`${JSON.stringify({ ...line, error: String(error), context: 'Observation' })}\n`);
  }
}
