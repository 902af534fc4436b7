import { PgBoss, type JobWithMetadata } from 'pg-boss';
import type { Queryable } from '../database/database.js';

/** pg-boss's own; quoted nowhere, so without a hyphen. */
export const QUEUE_SCHEMA = 'scheduler_queue';
const QUEUE = 'webhook-deliveries';
/** Deliveries that the queue gave up, also when the process died in the last try. */
const GIVEN_UP = 'webhook-deliveries-given-up';

/**
 * Waits of 10–20 s, 20–40 s and so on, from the twelfth on 4 h: sixteen tries in 22 to 26 hours. A receiver may be away
 * for a day.
 */
const RETRIES = { retryLimit: 15, retryDelay: 10, retryBackoff: true, retryDelayMax: 4 * 3600 };
/** A try takes ten seconds at most; after these its process must have died, and another one tries. */
const EXPIRE_SECONDS = 60;
/** How late that may be noticed. */
const SUPERVISE_SECONDS = 30;
/** An outage of this program of this length loses no delivery. */
const RETENTION_SECONDS = 14 * 24 * 3600;
/** A finished entry is of no use: the deliveries' own table records it. */
const DELETE_AFTER_SECONDS = 3600;
const MAINTENANCE_SECONDS = 3600;
/** For fetching and for maintenance; what belongs to a transaction of ours runs on its connection. */
const CONNECTIONS = 2;
/** Of all processes. A receiver that takes its ten seconds each time delays only its own deliveries. */
const MOST_AT_ONE_RECEIVER = 8;

export type QueuedDelivery = { readonly id: string; readonly webhookId: string };

/** A delivery this process is to try now, until it is settled or the claim expires. */
export type Claim = { readonly deliveryId: string; readonly isLast: boolean; readonly job: Fetched };
type Fetched = JobWithMetadata<{ deliveryId: string }>;

/** When and how often deliveries are tried: pg-boss, on the same Postgres. */
export class DeliveryQueue {
  readonly #boss: PgBoss;

  constructor(url: string, onTrouble: (message: string, error: unknown) => void) {
    this.#boss = createBoss(url, { supervise: true, max: CONNECTIONS });
    this.#boss.on('error', (error) => onTrouble('webhook queue', error));
    this.#boss.on('warning', ({ message }) => onTrouble('webhook queue', message));
  }

  async start(): Promise<void> {
    await this.#boss.start();
  }

  async stop(): Promise<void> {
    await this.#boss.stop({ graceful: false });
  }

  /** Releases claims that have expired, which pg-boss does by itself every half a minute. */
  async supervise(): Promise<void> {
    await this.#boss.supervise(QUEUE);
  }

  /** Within the transaction that marks them as queued in their own rows. */
  async add(transaction: Queryable, deliveries: readonly QueuedDelivery[]): Promise<void> {
    const jobs = deliveries.map(({ id, webhookId }) => ({ data: { deliveryId: id }, group: { id: webhookId } }));
    await this.#boss.insert(QUEUE, jobs, { db: asDb(transaction) });
  }

  /** What is due, at most `limit`; fewer may be returned though there are more: call it until there is none. */
  async claim(limit: number): Promise<Claim[]> {
    const jobs = await this.#boss.fetch<{ deliveryId: string }>(QUEUE, {
      batchSize: limit,
      includeMetadata: true,
      groupConcurrency: MOST_AT_ONE_RECEIVER,
    });
    return jobs.map((job) => ({ deliveryId: job.data.deliveryId, isLast: job.retryCount >= job.retryLimit, job }));
  }

  /** It needs no further try. */
  async finish(transaction: Queryable, { job }: Claim): Promise<void> {
    await this.#boss.complete(QUEUE, job, null, { db: asDb(transaction) });
  }

  /**
   * It is to be tried again, unless this was the last time.
   * @returns the earliest time; null: never. Undefined: the claim had expired, and another process has it
   */
  async retry(transaction: Queryable, { job, isLast }: Claim): Promise<Date | null | undefined> {
    const db = asDb(transaction);
    const { affected } = (await this.#boss.fail(QUEUE, job, null, { db })) as { affected: number };
    if (affected === 0) return undefined;
    if (isLast) return null;
    const [waiting] = await this.#boss.findJobs(QUEUE, { id: job.id, db });
    return waiting?.startAfter ?? null;
  }

  /** Ids of deliveries the queue gave up, for `settle`; they stay given up until it has ended well. */
  async takeGivenUp(settle: (deliveryIds: readonly string[]) => Promise<void>): Promise<number> {
    const jobs = await this.#boss.fetch<{ deliveryId: string }>(GIVEN_UP, { batchSize: 500 });
    if (jobs.length === 0) return 0;
    await settle(jobs.map(({ data }) => data.deliveryId));
    await this.#boss.complete(GIVEN_UP, jobs);
    return jobs.length;
  }
}

/** Makes or upgrades pg-boss's schema and our queues in it. The caller holds the lock of migrations. */
export async function installQueue(url: string): Promise<void> {
  const boss = createBoss(url, { supervise: false, max: 1 });
  boss.on('error', () => undefined);
  try {
    await boss.start();
    const rest = { deleteAfterSeconds: DELETE_AFTER_SECONDS, retentionSeconds: RETENTION_SECONDS };
    const options = { ...RETRIES, ...rest, expireInSeconds: EXPIRE_SECONDS, deadLetter: GIVEN_UP };
    const known = new Set((await boss.getQueues([QUEUE, GIVEN_UP])).map(({ name }) => name));
    if (!known.has(GIVEN_UP)) await boss.createQueue(GIVEN_UP, { ...rest, retryLimit: 100 });
    if (known.has(QUEUE)) await boss.updateQueue(QUEUE, options);
    else await boss.createQueue(QUEUE, options);
  } finally {
    await boss.stop({ graceful: false });
  }
}

function createBoss(connectionString: string, options: { supervise: boolean; max: number }): PgBoss {
  return new PgBoss({
    connectionString,
    schema: QUEUE_SCHEMA,
    application_name: 'scheduler-api queue',
    connectionTimeoutMillis: 5_000,
    // A newer version's schema is left as it is: this process may be the one about to be replaced.
    migrate: true,
    schedule: false,
    registerInstance: false,
    superviseIntervalSeconds: SUPERVISE_SECONDS,
    monitorIntervalSeconds: SUPERVISE_SECONDS,
    maintenanceIntervalSeconds: MAINTENANCE_SECONDS,
    ...options,
  });
}

function asDb(transaction: Queryable) {
  return {
    executeSql: async (text: string, values: unknown[] = []) => ({ rows: await transaction.query(text, values) }),
  };
}
