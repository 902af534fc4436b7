import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Database } from './database.js';

/**
 * `jobs`: job rows became due. `shapes`: shape rows became due. `orders`: keys are instance ids with a new order.
 * `changes`: keys are job ids whose state changed (for ?wait=). `logs`: keys are ids of jobs that printed something.
 * `tokens`: keys are ids of tokens that were revoked. `new-events`, within a process only: it committed events.
 * `events`: committed events have positions now. `webhooks`: there are deliveries to queue. A signal is a hint that
 * saves waiting: the columns are the guarantee.
 */
export type Channel =
  'jobs' | 'shapes' | 'orders' | 'changes' | 'logs' | 'tokens' | 'new-events' | 'events' | 'webhooks';
export type Listener = (keys: readonly string[]) => void;

const CHANNEL = 'scheduler_signals';
const COALESCE_MS = 2;
// Postgres refuses a payload of 8000 bytes; keys are at most 36 bytes and quoted.
const KEYS_PER_MESSAGE = 150;
const RECONNECT_PAUSE_MS = 1_000;

/** SQL call, with what `Signals.notification` returns: others are notified by the commit of the transaction it is in. */
export function notifySql(name: string, text: string): string {
  return `pg_notify(${name}, ${text})`;
}

/**
 * Wake-ups within this process at once, and to other processes by NOTIFY after commit, coalesced. NOTIFY inside each
 * transaction would serialise commits (measured on two cores: 7,000/s → 1,900/s).
 */
export class Signals {
  readonly #self = randomUUID().slice(0, 8);
  readonly #listeners = new Map<Channel, Set<Listener>>();
  readonly #reconnectListeners = new Set<() => void>();
  readonly #pending = new Map<Channel, Set<string>>();
  #timer: NodeJS.Timeout | undefined;
  #client: pg.Client | undefined;
  #isStopped = false;
  #isListening = false;

  constructor(
    private readonly database: Database,
    /** A direct connection: a transaction pooler between us and Postgres would swallow LISTEN. */
    private readonly listenUrl: string,
    private readonly log: (message: string) => void = () => undefined,
  ) {}

  async start(): Promise<void> {
    await this.#listen();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#flush();
    await this.#client?.end().catch(() => undefined);
  }

  // To be called after the commit; within a unit of work they wait for it by themselves.

  /** Rows of `jobs` were made due. */
  jobsDue(): void {
    this.#send('jobs');
  }

  /** Rows of `shapes` were made due. */
  shapesDue(): void {
    this.#send('shapes');
  }

  /** Instances have new orders. Without ids: any of them may. */
  ordersWritten(instanceIds: Iterable<string> = []): void {
    this.#send('orders', instanceIds);
  }

  /** The state of jobs changed, or of their deployments. Without ids: of any. */
  jobsChanged(jobIds: Iterable<string> = []): void {
    this.#send('changes', jobIds);
  }

  /** Log lines of jobs were stored. Without ids: of any. */
  linesStored(jobIds: Iterable<string> = []): void {
    this.#send('logs', jobIds);
  }

  tokenRevoked(id: string): void {
    this.#send('tokens', [id]);
  }

  /** Webhooks have deliveries to queue. */
  deliveriesWritten(): void {
    this.#send('webhooks');
  }

  /** Events were written: this process, which knows of them first, gives them their positions. */
  eventsWritten(): void {
    this.#sendHere('new-events');
  }

  /** Events have got their positions. */
  eventsNumbered(): void {
    this.#sendHere('events');
  }

  /**
   * Name and text for pg_notify inside a transaction that numbers events, so that its commit notifies other processes
   * for certain; `eventsNumbered` notifies this one. Not for frequent transactions: it would serialise their commits.
   */
  notification(): readonly [name: string, text: string] {
    return [CHANNEL, JSON.stringify([this.#self, 'events' satisfies Channel])];
  }

  #send(channel: Channel, keys: Iterable<string> = []): void {
    const list = [...keys];
    this.database.afterCommit(() => this.#sendNow(channel, list));
  }

  /** As `send`, for listeners of this process only. */
  #sendHere(channel: Channel): void {
    this.database.afterCommit(() => this.#emit(channel, []));
  }

  #sendNow(channel: Channel, list: readonly string[]): void {
    this.#emit(channel, list);
    const pending = this.#pending.get(channel) ?? new Set();
    for (const key of list) pending.add(key);
    this.#pending.set(channel, pending);
    if (!this.#isStopped) this.#timer ??= setTimeout(() => void this.#flush(), COALESCE_MS);
  }

  on(channel: Channel, listener: Listener): () => void {
    const set = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, set.add(listener));
    return () => set.delete(listener);
  }

  /** Fires when LISTEN was interrupted: signals may have been missed, so caches that rely on them start over. */
  onReconnect(listener: () => void): () => void {
    this.#reconnectListeners.add(listener);
    return () => this.#reconnectListeners.delete(listener);
  }

  /** False while the LISTEN connection is down: then no cache may rely on signals. */
  get isConnected(): boolean {
    return this.#isListening;
  }

  #emit(channel: Channel, keys: readonly string[]): void {
    for (const listener of this.#listeners.get(channel) ?? []) {
      // Not within the sender's stack: a listener that throws must not fail a request that was committed.
      setImmediate(() => listener(keys));
    }
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const messages = [...this.#pending].flatMap(([channel, keys]) => this.#messagesOf(channel, [...keys]));
    this.#pending.clear();
    if (messages.length === 0) return;
    try {
      await this.database.query('SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message', [
        CHANNEL,
        messages,
      ]);
    } catch (error) {
      this.log(`signals could not be sent, other processes will see the changes later: ${String(error)}`);
    }
  }

  #messagesOf(channel: Channel, keys: readonly string[]): string[] {
    const chunks = [keys.slice(0, KEYS_PER_MESSAGE)];
    for (let at = KEYS_PER_MESSAGE; at < keys.length; at += KEYS_PER_MESSAGE) {
      chunks.push(keys.slice(at, at + KEYS_PER_MESSAGE));
    }
    return chunks.map((chunk) => JSON.stringify([this.#self, channel, ...chunk]));
  }

  async #listen(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.listenUrl,
      connectionTimeoutMillis: 5_000,
      query_timeout: 5_000,
      keepAlive: true,
      application_name: 'scheduler-api listen',
    });
    const link = { isLost: false };
    const lose = (): void => {
      link.isLost = true;
      this.#reconnect(client);
    };
    client.on('notification', ({ payload }) => this.#receive(payload ?? ''));
    client.on('error', lose);
    client.once('end', lose);
    try {
      await client.connect();
      await client.query(`LISTEN ${CHANNEL}`);
      if (link.isLost || this.#isStopped) throw new Error('the connection is closed already');
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
    // Set only now: the `end` of a connection that was never established must not start a second series of tries.
    this.#client = client;
    this.#isListening = true;
  }

  #receive(payload: string): void {
    const [sender, channel, ...keys] = JSON.parse(payload) as [string, Channel, ...string[]];
    if (sender !== this.#self) this.#emit(channel, keys);
  }

  #reconnect(lost: pg.Client): void {
    if (this.#client !== lost || this.#isStopped) return;
    this.#client = undefined;
    this.#isListening = false;
    void lost.end().catch(() => undefined);
    const again = (): void => {
      if (this.#isStopped) return;
      this.#listen().then(
        () => this.#reconnectListeners.forEach((listener) => listener()),
        (error: unknown) => {
          if (this.#isStopped) return;
          this.log(`LISTEN connection is away: ${String(error)}`);
          setTimeout(again, RECONNECT_PAUSE_MS).unref();
        },
      );
    };
    setTimeout(again, 50).unref();
  }
}
