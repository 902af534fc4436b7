/** What callers of a job saw. */
export type Calls = {
  /** `calls`, `uploads`, `waits` or `sockets`. */
  readonly kind: string;
  readonly made: number;
  readonly failures: readonly string[];
  /** Answers of another job's container, and of one that had got SIGTERM before it took the request. */
  readonly strangers: number;
  readonly afterSigterm: number;
  readonly answeredBy: ReadonlySet<string>;
  /** From the request to the end of its answer, without those that failed. */
  readonly milliseconds: readonly number[];
};

/** Calls a job until it is stopped. */
export type Caller = { stop(): Promise<Calls> };

export type CallerOptions = {
  /** Of nginx, one or several, which are called in turn. */
  readonly address: string;
  readonly ports: readonly number[];
  readonly host: string;
  /** What every answer has as `hello`. */
  readonly expected: string;
};

/** Of a simulated container. */
export type Answer = {
  readonly hello: string;
  readonly hostname: string;
  readonly received?: number;
  readonly stopping?: true;
};

/** Counts, and says what was wrong. */
export class Tally {
  readonly kind: string;
  readonly #expected: string;
  readonly #failures: string[] = [];
  readonly #answeredBy = new Set<string>();
  readonly #milliseconds: number[] = [];
  readonly #open = new Set<Promise<void>>();
  #made = 0;
  #strangers = 0;
  #afterSigterm = 0;

  constructor(kind: string, expected: string) {
    this.kind = kind;
    this.#expected = expected;
  }

  get made(): number {
    return this.#made;
  }

  /** Counts one call. @param send resolves to what was answered with 200; what it throws is a failure */
  track(what: string, send: () => Promise<Answer>): Promise<void> {
    this.#made += 1;
    const began = Date.now();
    const tracked = send()
      .then(
        (answer) => this.#note(`${new Date(began).toISOString()} ${what}`, answer, Date.now() - began),
        (error: unknown) => this.fail(`${new Date(began).toISOString()} ${what}: ${String(error)}`),
      )
      .finally(() => this.#open.delete(tracked));
    this.#open.add(tracked);
    return tracked;
  }

  fail(why: string): void {
    this.#failures.push(`${this.kind} of ${this.#expected}: ${why}`);
  }

  /** Resolves once every call has ended. */
  async ended(): Promise<Calls> {
    await Promise.all(this.#open);
    const { kind } = this;
    return {
      ...{ kind, made: this.#made, failures: this.#failures, strangers: this.#strangers },
      ...{ afterSigterm: this.#afterSigterm, answeredBy: this.#answeredBy, milliseconds: this.#milliseconds },
    };
  }

  #note(what: string, { hello, hostname, stopping }: Answer, milliseconds: number): void {
    this.#milliseconds.push(milliseconds);
    if (hello === this.#expected) this.#answeredBy.add(hostname);
    else {
      this.#strangers += 1;
      this.fail(`${what}: answered by ${hostname} of ${hello}`);
    }
    if (!stopping) return;
    this.#afterSigterm += 1;
    this.fail(`${what}: taken by ${hostname}, ${milliseconds} ms before its answer, after SIGTERM`);
  }
}
