import { addCounters, countersOf, type Gathered, type Snapshot } from './snapshot.js';

// A scrape reaches one API worker and is to be answered for all. That one asks the first process, which asks every
// worker, keeps what each told last, and hands all of it over. Messages go over node:cluster's own pipe.

/** Far above what it takes to count, below what Prometheus waits for (10 s). */
const TELL_MS = 2_000;
/** The first process answers after TELL_MS, whatever its workers do. */
const GATHER_MS = TELL_MS + 1_500;

type Message =
  /** Worker → first process: a scrape wants what all have counted. */
  | { readonly metrics: 'want' }
  /** First process → worker: tell what you have counted. */
  | { readonly metrics: 'tell'; readonly round: number }
  /** Worker → first process. */
  | { readonly metrics: 'told'; readonly round: number; readonly snapshot: Snapshot }
  /** First process → worker that wanted. */
  | { readonly metrics: 'all'; readonly gathered: Gathered };

type Post = (message: object) => void;
type Member = { readonly post: Post; last: Snapshot; toldRound: number };

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

  constructor(private readonly tellMs = TELL_MS) {}

  /** A worker has started. @returns how to hand on what it sends, and how to say that it has ended */
  add(post: Post): { receive(message: unknown): void; end(): void } {
    const member: Member = { post, last: [], toldRound: 0 };
    this.#members.add(member);
    return { receive: (message) => this.#receive(member, message), end: () => this.#end(member) };
  }

  #receive(member: Member, message: unknown): void {
    if (!isMessage(message)) return;
    if (message.metrics === 'want') this.#want(member);
    if (message.metrics !== 'told') return;
    member.last = message.snapshot;
    member.toldRound = message.round;
    this.#answerIfComplete();
  }

  /** Scrapes that come while one is under way share it. */
  #want(member: Member): void {
    this.#wanting.add(member);
    if (this.#timer) return;
    this.#round += 1;
    this.#timer = setTimeout(() => this.#answer(), this.tellMs);
    for (const { post } of this.#members) post({ metrics: 'tell', round: this.#round } satisfies Message);
  }

  #end(member: Member): void {
    this.#members.delete(member);
    this.#wanting.delete(member);
    // What it counted since it last told is lost; nobody has read that.
    this.#ended = addCounters(this.#ended, countersOf(member.last));
    this.#answerIfComplete();
  }

  #answerIfComplete(): void {
    if (this.#timer && [...this.#members].every((member) => this.#hasTold(member))) this.#answer();
  }

  #answer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const members = [...this.#members];
    const snapshots = members.map((member) =>
      // Of one that is late its counters as they last were, so that no sum drops.
      this.#hasTold(member) ? member.last : countersOf(member.last),
    );
    const silent = members.filter((member) => !this.#hasTold(member)).length;
    const message: Message = { metrics: 'all', gathered: { snapshots: [this.#ended, ...snapshots], silent } };
    for (const { post } of this.#wanting) post(message);
    this.#wanting.clear();
  }

  #hasTold({ toldRound }: Member): boolean {
    return toldRound === this.#round;
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
    if (message.metrics !== 'tell') return;
    this.post({ metrics: 'told', round: message.round, snapshot: await this.snapshot() } satisfies Message);
  }

  /** @throws when the first process does not answer: a part told as the whole would spoil every sum */
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
