import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Heartbeats } from '../process/heartbeats.js';
import { logErrors, Loop } from '../process/loop.js';
import { LogRetention } from './log-retention.js';
import { Sealer } from './sealer.js';

const DROP_EVERY_MS = 60_000;
const TROUBLE = 'log-store';

/** Moves what was printed a while ago into the object store, and drops what is too old or too much. */
@Injectable()
export class LogLoopsService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Logs');
  readonly #loops: readonly Loop[];
  #isReported = false;

  constructor(
    private readonly sealer: Sealer,
    private readonly retention: LogRetention,
    private readonly heartbeats: Heartbeats,
    @Setting('role') private readonly role: Config['role'],
  ) {
    const onError = logErrors(this.#logger);
    this.#loops = [
      new Loop({ name: 'sealing of logs', run: () => this.#seal(), onError }),
      new Loop({ name: 'retention of logs', run: () => this.#drop(), onError }),
    ];
  }

  onApplicationBootstrap(): void {
    if (this.role === 'api') return;
    for (const loop of this.#loops) loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    this.heartbeats.recover(TROUBLE);
  }

  async #seal(): Promise<number> {
    const { sealed, failed, error, pauseMs } = await this.sealer.run();
    if (failed > 0) {
      this.heartbeats.degrade(TROUBLE, `log lines stay in the database: ${String(error)}`);
      const report = { message: 'logs could not be sealed', alarm: true, jobs: failed, error: String(error) };
      // Once; until it is over, the health page and a counter of the metrics show it.
      if (!this.#isReported) this.#logger.error({ ...report, nextTryMs: pauseMs });
      this.#isReported = true;
    } else if (sealed > 0) {
      this.heartbeats.recover(TROUBLE);
      if (this.#isReported) this.#logger.log({ message: 'logs are sealed again' });
      this.#isReported = false;
    }
    return pauseMs;
  }

  async #drop(): Promise<number> {
    const { jobs, failed, error, hasMore } = await this.retention.run();
    if (jobs > 0) this.#logger.log({ message: 'old log lines dropped', jobs });
    if (failed > 0) {
      const message = 'old log lines could not be dropped';
      this.#logger.error({ message, alarm: true, jobs: failed, error: String(error) });
    }
    return hasMore ? 0 : DROP_EVERY_MS;
  }
}
