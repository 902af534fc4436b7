import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { whileAway } from '../database/connect.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import { logErrors, Loop } from '../process/loop.js';
import { parseAllowed } from './address-rules.js';
import { Deliverer } from './deliverer.js';
import { DeliveryQueue } from './delivery-queue.js';
import { FanOut } from './fan-out.js';
import { createPost } from './post.js';
import { createResolve } from './resolve-name.js';

/** A fallback for lost signals. */
const FAN_OUT_EVERY_MS = 5_000;
/** How late a retry may begin. */
const DELIVER_EVERY_MS = 2_000;
const GIVE_UP_EVERY_MS = 60_000;

/** Turns events into deliveries and delivers them, in processes with the loops. */
@Injectable()
export class WebhookLoopsService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Webhooks');
  readonly #queue: DeliveryQueue;
  readonly #fanOut: FanOut;
  readonly #deliverer: Deliverer;
  readonly #loops: { readonly fanOut: Loop; readonly deliver: Loop; readonly giveUp: Loop };
  #leaveSignals: (() => void)[] = [];

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    @Setting('role') private readonly role: Config['role'],
    @Setting('webhooks') { allowedNetworks }: Config['webhooks'],
    @Setting('database') { url }: Config['database'],
    @Setting('encryptionKeys') keys: Config['encryptionKeys'],
  ) {
    const allowed = parseAllowed(allowedNetworks);
    const post = createPost({ allowed, resolve: createResolve() });
    this.#queue = new DeliveryQueue(url, (message, error) => this.#logger.warn({ message, error: String(error) }));
    this.#fanOut = new FanOut(database, this.#queue);
    this.#deliverer = new Deliverer(database, this.#queue, keys, post, (message, deliveryId, error) =>
      this.#logger.warn({ message, deliveryId, error: String(error) }),
    );
    const onError = logErrors(this.#logger);
    this.#loops = {
      fanOut: new Loop({ name: 'webhook fan-out', run: () => this.#runFanOut(), onError }),
      deliver: new Loop({ name: 'webhook delivery', run: () => this.#deliver(), onError }),
      giveUp: new Loop({ name: 'webhook giving up', run: () => this.#giveUp(), onError }),
    };
  }

  async onApplicationBootstrap(): Promise<void> {
    if (this.role === 'api') return;
    await whileAway(
      () => this.#queue.start(),
      (message) => this.#logger.warn(message),
    );
    const wake = (): void => this.#loops.fanOut.wake();
    this.#leaveSignals = [this.signals.on('events', wake), this.signals.on('webhooks', wake)];
    for (const loop of Object.values(this.#loops)) loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    for (const leave of this.#leaveSignals) leave();
    await Promise.all(Object.values(this.#loops).map((loop) => loop.stop()));
    await this.#deliverer.drain();
    await this.#queue.stop();
  }

  async #runFanOut(): Promise<number> {
    if ((await this.#fanOut.run()) > 0) this.#loops.deliver.wake();
    return FAN_OUT_EVERY_MS;
  }

  async #deliver(): Promise<number> {
    await this.#deliverer.run(() => this.#loops.deliver.wake());
    return DELIVER_EVERY_MS;
  }

  async #giveUp(): Promise<number> {
    // Right after a start, too: claims of the process before need not wait for the queue's own interval.
    await this.#queue.supervise();
    await this.#queue.takeGivenUp(async (ids) => {
      await this.database.run(GIVE_UP, [ids]);
    });
    return GIVE_UP_EVERY_MS;
  }
}

// Most are `failed` already; of the others the process died in its last try.
const GIVE_UP = statement('webhook-delivery-give-up', { values: [t.arrayOf(t.uuid)], isPrepared: false })(`
  UPDATE webhook_deliveries SET
    status = 'failed', fault = 'interrupted', next_attempt_at = NULL, settled_at = clock_timestamp()
  WHERE id = ANY ($1::uuid[]) AND status = 'pending'`);
