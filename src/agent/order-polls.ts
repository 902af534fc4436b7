import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  Optional,
} from '@nestjs/common';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { asError } from '../process/as-error.js';
import { Problem } from '../http/problem.js';
import type { DockerOrderSpec, OrderFilling, OrderSpec } from '../docker/order.js';
import { Shutdown } from '../process/shutdown.js';
import { OrderFiller } from './order-filler.js';
import { type RenderedOrder, renderOrder } from './order-headers.js';
import { acknowledge, findOrders, findRecentUntaken, type FoundOrders, type Position } from './order-statements.js';

export type OrderPollsOptions = {
  /** Default 25 s: below the 30 s after which many proxies give up, and below the agent's own 40 s. */
  readonly parkMs?: number;
  /** How often the fallback query finds orders whose signal was lost. Default 2 s. */
  readonly fallbackEveryMs?: number;
  /** Milliseconds on a clock that never jumps. */
  readonly now?: () => number;
};

/** A poll that waits for an order. `answer`: the order, or undefined for none; rejects when the query failed. */
export type ParkedPoll = {
  readonly instanceId: string;
  readonly after: number;
  readonly answer: Promise<RenderedOrder | undefined>;
};

const PARK_MS = 25_000;
const FALLBACK_EVERY_MS = 2_000;
/** One interval ends the polls of all agents: a timer for each would cost ten thousand timers. */
const EXPIRE_EVERY_MS = 250;
/**
 * For so long an instance without orders is not looked up again, provided that signals and the fallback query work.
 * Without a limit, a bug in one of them would keep orders from an agent for good.
 */
const CLEAN_MS = 300_000;
/** The fallback query finds orders younger than two minutes: after half of that without it, none counts as clean. */
const LONGEST_FALLBACK_GAP_MS = 60_000;
/** Positions of one statement. */
const BATCH = 1_000;

/**
 * Parks the polls of agents until there is an order for them. It queries when a poll arrives, when a signal names the
 * instance, and when the fallback query, one small statement for the whole process, finds an order that no agent took.
 * Polls that arrive during a query share the next one. A poll after order n means that the agent has n on its disk.
 */
@Injectable()
export class OrderPolls implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #logger = new Logger('Agents');
  /** By instance, oldest first. */
  readonly #parked = new Map<string, Parked>();
  /** Instances without an order as of the last look, oldest look first. */
  readonly #clean = new Map<string, { readonly after: number; readonly atMs: number }>();
  readonly #toLook = new Set<string>();
  readonly #toAcknowledge = new Map<string, number>();
  readonly #undo: (() => void)[] = [];
  #isLooking = false;
  #isAcknowledging = false;
  #isQueryingMissed = false;
  #isClosed = false;
  readonly #now: () => number;
  #missedQueriedMs: number;

  /** @param filler fetches what an order is filled with. It may be slow; the agent gets its rejection as the answer */
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly shutdown: Shutdown,
    @Inject(OrderFiller) private readonly filler: Pick<OrderFiller, 'fill'> | undefined,
    @Optional() private readonly options: OrderPollsOptions = {},
  ) {
    this.#now = options.now ?? (() => performance.now());
    this.#missedQueriedMs = this.#now();
  }

  onApplicationBootstrap(): void {
    const { fallbackEveryMs = FALLBACK_EVERY_MS } = this.options;
    const expiry = setInterval(() => this.#expire(), EXPIRE_EVERY_MS).unref();
    const fallback = setInterval(() => void this.#queryMissed(), fallbackEveryMs).unref();
    this.#undo.push(
      () => clearInterval(expiry),
      () => clearInterval(fallback),
      this.signals.on('orders', (instanceIds) => this.#wake(instanceIds)),
      this.signals.onReconnect(() => this.#wake([])),
    );
    // When the shutdown begins: parked polls are requests under way, and the server waits for those.
    this.shutdown.onBegin(() => this.close());
  }

  beforeApplicationShutdown(): void {
    this.close();
  }

  /** Answers every parked poll at once; later ones are rejected, so that the agent polls another process. */
  close(): void {
    this.#isClosed = true;
    for (const undo of this.#undo.splice(0)) undo();
    for (const parked of [...this.#parked.values()]) this.#end(parked, undefined);
  }

  /**
   * Ends an older poll of the same instance: it must be of a connection that broke.
   * @param after highest order number the agent has on its disk
   * @throws Problem shutting-down
   */
  poll(instanceId: string, after: number): ParkedPoll {
    if (this.#isClosed) throw new Problem('shutting-down', 'Send the request again.', { retryAfterSeconds: 1 });
    const older = this.#parked.get(instanceId);
    if (older) this.#end(older, undefined);
    const parked = new Parked(instanceId, after, this.#now() + (this.options.parkMs ?? PARK_MS));
    this.#parked.set(instanceId, parked);
    if (!this.#isClean(instanceId, after)) this.#look(instanceId);
    return parked;
  }

  /** The agent hung up. */
  leave(poll: ParkedPoll): void {
    const parked = this.#parked.get(poll.instanceId);
    if (parked === poll) this.#end(parked, undefined);
  }

  get parkedCount(): number {
    return this.#parked.size;
  }

  #isClean(instanceId: string, after: number): boolean {
    const clean = this.#clean.get(instanceId);
    if (!clean || !this.signals.isConnected) return false;
    return clean.after <= after && this.#now() - clean.atMs < CLEAN_MS;
  }

  /** @param instanceIds none = any instance may have an order */
  #wake(instanceIds: readonly string[]): void {
    if (instanceIds.length === 0) {
      this.#clean.clear();
      for (const instanceId of this.#parked.keys()) this.#look(instanceId);
      return;
    }
    for (const instanceId of instanceIds) {
      this.#clean.delete(instanceId);
      if (this.#parked.has(instanceId)) this.#look(instanceId);
    }
  }

  #look(instanceId: string): void {
    this.#toLook.add(instanceId);
    if (this.#isLooking) return;
    this.#isLooking = true;
    setImmediate(() => void this.#lookWhileWanted());
  }

  async #lookWhileWanted(): Promise<void> {
    while (this.#toLook.size > 0) {
      const batch = this.#nextBatch();
      try {
        this.#settle(batch, await findOrders(this.database, batch));
      } catch (error) {
        // Rejected instead of parked: the agent polls again, perhaps at a process that reaches the database.
        for (const parked of batch) this.#fail(parked, error);
      }
    }
    this.#isLooking = false;
  }

  #nextBatch(): Parked[] {
    const batch: Parked[] = [];
    for (const instanceId of this.#toLook) {
      if (batch.length === BATCH) break;
      this.#toLook.delete(instanceId);
      const parked = this.#parked.get(instanceId);
      if (parked) batch.push(parked);
    }
    return batch;
  }

  #settle(batch: readonly Parked[], found: ReadonlyMap<string, FoundOrders>): void {
    const now = this.#now();
    for (const parked of batch) {
      const { instanceId, after } = parked;
      const { order, hasUntaken } = found.get(instanceId) ?? NOTHING;
      if (hasUntaken) this.#acknowledge(instanceId, after);
      if (this.#parked.get(instanceId) !== parked) continue;
      if (order) this.#deliver(parked, order);
      // A signal that arrived during the query may be about an order that was committed after it.
      else if (!hasUntaken && !this.#toLook.has(instanceId)) this.#markClean(instanceId, { after, atMs: now });
    }
  }

  #deliver(parked: Parked, { number, spec }: { number: number; spec: OrderSpec }): void {
    if (spec.kind === 'docker' && spec.fill !== undefined) void this.#fillAndDeliver(parked, number, spec);
    else this.#hand(parked, number, spec);
  }

  async #fillAndDeliver(parked: Parked, number: number, spec: DockerOrderSpec): Promise<void> {
    try {
      if (!this.filler) throw new Error(`order ${number} of ${parked.instanceId} cannot be filled here`);
      this.#hand(parked, number, spec, await this.filler.fill(parked.instanceId, number, spec));
    } catch (error) {
      this.#fail(parked, error);
    }
  }

  #hand(parked: Parked, number: number, spec: OrderSpec, filling?: OrderFilling): void {
    try {
      this.#end(parked, renderOrder(number, spec, filling));
    } catch (error) {
      this.#fail(parked, error);
    }
  }

  #markClean(instanceId: string, clean: { after: number; atMs: number }): void {
    this.#clean.delete(instanceId);
    this.#clean.set(instanceId, clean);
  }

  #acknowledge(instanceId: string, after: number): void {
    this.#toAcknowledge.set(instanceId, Math.max(after, this.#toAcknowledge.get(instanceId) ?? 0));
    if (this.#isAcknowledging) return;
    this.#isAcknowledging = true;
    void this.#acknowledgeWhileWanted();
  }

  async #acknowledgeWhileWanted(): Promise<void> {
    while (this.#toAcknowledge.size > 0) {
      const positions = [...this.#toAcknowledge].map(([instanceId, after]) => ({ instanceId, after }));
      this.#toAcknowledge.clear();
      try {
        await acknowledge(this.database, positions);
        this.signals.jobsDue();
      } catch (error) {
        // The fallback query finds them again.
        this.#logger.warn('orders could not be marked as taken', asError(error));
      }
    }
    this.#isAcknowledging = false;
  }

  /** The fallback query: finds what signals missed, also of instances in `#clean`. */
  async #queryMissed(): Promise<void> {
    if (this.#isQueryingMissed || (this.#parked.size === 0 && this.#clean.size === 0)) return;
    this.#isQueryingMissed = true;
    const now = this.#now();
    try {
      if (now - this.#missedQueriedMs > LONGEST_FALLBACK_GAP_MS) this.#clean.clear();
      const instanceIds = await findRecentUntaken(this.database);
      this.#missedQueriedMs = now;
      if (instanceIds.length > 0) this.#wake(instanceIds);
      for (const [instanceId, { atMs }] of this.#clean) {
        if (now - atMs < CLEAN_MS) break;
        this.#clean.delete(instanceId);
      }
    } catch (error) {
      this.#clean.clear();
      this.#logger.warn('orders could not be looked for', asError(error));
    } finally {
      this.#isQueryingMissed = false;
    }
  }

  #expire(): void {
    const now = this.#now();
    for (const parked of this.#parked.values()) {
      if (parked.untilMs > now) break;
      this.#end(parked, undefined);
    }
  }

  #end(parked: Parked, order: RenderedOrder | undefined): void {
    if (this.#parked.get(parked.instanceId) === parked) this.#parked.delete(parked.instanceId);
    parked.resolve(order);
  }

  #fail(parked: Parked, error: unknown): void {
    if (this.#parked.get(parked.instanceId) === parked) this.#parked.delete(parked.instanceId);
    parked.reject(error);
  }
}

const NOTHING: FoundOrders = { hasUntaken: false };

class Parked implements ParkedPoll, Position {
  readonly answer: Promise<RenderedOrder | undefined>;
  readonly resolve: (order: RenderedOrder | undefined) => void;
  readonly reject: (error: unknown) => void;

  constructor(
    readonly instanceId: string,
    readonly after: number,
    readonly untilMs: number,
  ) {
    const { promise, resolve, reject } = Promise.withResolvers<RenderedOrder | undefined>();
    this.answer = promise;
    this.resolve = resolve;
    this.reject = reject;
    // The agent may have hung up.
    promise.catch(() => undefined);
  }
}
