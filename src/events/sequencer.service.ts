import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Loop } from '../process/loop.js';
import { Sequencer } from './sequencer.js';

/** Finds the events of a process that died between their commit and their positions. */
const POLL_MS = 1_000;
/** Where other processes poll: only after an error of this one. */
const IDLE_MS = 60_000;
/** Of many commits at once one run does the work of all; so short a wait is not noticed. */
const COALESCE_MS = 5;

/** Sequences events when this process committed some; processes with the loops look for those of dead ones as well. */
@Injectable()
export class SequencerService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Events');
  readonly #sequencer: Sequencer;
  readonly #loop: Loop;
  readonly #pauseMs: number;
  #leaveSignals: () => void = () => undefined;

  constructor(
    database: Database,
    private readonly signals: Signals,
    @Setting('role') role: Config['role'],
  ) {
    this.#sequencer = new Sequencer(database, signals);
    this.#pauseMs = role === 'api' ? IDLE_MS : POLL_MS;
    this.#loop = new Loop({
      name: 'events',
      run: () => this.#run(),
      onError: (name, error, nextTryMs) =>
        this.#logger.error({ message: `${name} could not be sequenced`, error: String(error), nextTryMs }),
    });
  }

  onApplicationBootstrap(): void {
    this.#leaveSignals = this.signals.on('new-events', () => this.#loop.wakeWithin(COALESCE_MS));
    this.#loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.#leaveSignals();
    await this.#loop.stop();
  }

  async #run(): Promise<number> {
    // Another process may have done it: then this one need not wait for the lock.
    if (await this.#sequencer.hasWork()) await this.#sequencer.run();
    return this.#pauseMs;
  }
}
