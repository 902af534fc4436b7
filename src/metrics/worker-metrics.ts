import { addCounters, countersOf, type Gathered, type Snapshot } from './process-counts.js';

// A scrape reaches one API worker and must show all of them. That worker sends a request to the first process, which
// collects from every worker, keeps each one's last report, and returns all. Messages go over node:cluster's own pipe.

/** Far above what it takes to count, below what Prometheus waits for (10 s). */
const REPORT_MS = 2_000;
/** The first process answers after REPORT_MS, whatever its workers do. */
const GATHER_MS = REPORT_MS + 1_500;

type Message =
  /** Worker → first process: a scrape needs what all have counted. */
  | { readonly metrics: 'want' }
  /** First process → worker: report what you have counted. */
  | { readonly metrics: 'report'; readonly round: number }
  /** Worker → first process. */
  | { readonly metrics: 'reported'; readonly round: number; readonly snapshot: Snapshot }
  /** First process → the worker that was scraped. */
  | { readonly metrics: 'all'; readonly gathered: Gathered };

type Post = (message: object) => void;
type Member = { readonly post: Post; last: Snapshot; reportedRound: number };

/**
 * The first process's side. Counters of workers that ended stay in the sum: a sum that drops looks to Prometheus like a
 * restart of everything, after which all that is left counts as new.
 */
export class WorkerMetrics {
  readonly #members = new Set<Member>();
  readonly #wanting = new Set<Member>();
  #ended: Snapshot = [];
  #round = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly reportMs = REPORT_MS) {}

  /** A worker has started. @returns functions to call for each of its messages and for its end */
  add(post: Post): { receive(message: unknown): void; end(): void } {
    const member: Member = { post, last: [], reportedRound: 0 };
    this.#members.add(member);
    return { receive: (message) => this.#receive(member, message), end: () => this.#end(member) };
  }

  #receive(member: Member, message: unknown): void {
    if (!isMessage(message)) return;
    if (message.metrics === 'want') this.#want(member);
    if (message.metrics !== 'reported') return;
    member.last = message.snapshot;
    member.reportedRound = message.round;
    this.#answerIfComplete();
  }

  /** Scrapes during a collection share it. */
  #want(member: Member): void {
    this.#wanting.add(member);
    if (this.#timer) return;
    this.#round += 1;
    this.#timer = setTimeout(() => this.#answer(), this.reportMs);
    for (const { post } of this.#members) post({ metrics: 'report', round: this.#round } satisfies Message);
  }

  #end(member: Member): void {
    this.#members.delete(member);
    this.#wanting.delete(member);
    // What it counted since its last report is lost; no scrape has shown that.
    this.#ended = addCounters(this.#ended, countersOf(member.last));
    this.#answerIfComplete();
  }

  #answerIfComplete(): void {
    if (this.#timer && [...this.#members].every((member) => this.#hasReported(member))) this.#answer();
  }

  #answer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const members = [...this.#members];
    const snapshots = members.map((member) =>
      // A late worker's counters keep their last values, so that no sum drops.
      this.#hasReported(member) ? member.last : countersOf(member.last),
    );
    const silent = members.filter((member) => !this.#hasReported(member)).length;
    const message: Message = { metrics: 'all', gathered: { snapshots: [this.#ended, ...snapshots], silent } };
    for (const { post } of this.#wanting) post(message);
    this.#wanting.clear();
  }

  #hasReported({ reportedRound }: Member): boolean {
    return reportedRound === this.#round;
  }
}

/** A worker's side. */
export class WorkerEnd {
  #wanted: PromiseWithResolvers<Gathered> | undefined;

  constructor(
    private readonly post: Post,
    private readonly snapshot: () => Promise<Snapshot>,
  ) {}

  async receive(message: unknown): Promise<void> {
    if (!isMessage(message)) return;
    if (message.metrics === 'all') this.#wanted?.resolve(message.gathered);
    if (message.metrics !== 'report') return;
    this.post({ metrics: 'reported', round: message.round, snapshot: await this.snapshot() } satisfies Message);
  }

  /** @throws when the first process does not answer: a part shown as the whole would spoil every sum */
  async gather(): Promise<Gathered> {
    if (this.#wanted) return await this.#wanted.promise;
    this.#wanted = Promise.withResolvers<Gathered>();
    const { promise, reject } = this.#wanted;
    const timer = setTimeout(() => reject(new Error('the first process does not answer')), GATHER_MS);
    this.post({ metrics: 'want' } satisfies Message);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#wanted = undefined;
    }
  }
}

function isMessage(message: unknown): message is Message {
  return typeof message === 'object' && message !== null && 'metrics' in message;
}
