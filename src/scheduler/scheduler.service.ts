import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { placeOf } from '../jobs/allowed-hosts.js';
import { Heartbeats } from '../process/heartbeats.js';
import { logErrors, Loop } from '../process/loop.js';
import { BATCH_SIZE, JobPass } from './job-pass.js';
import { linesOf } from './event-lines.js';
import { lateCallerSecondsOf } from './plan/plan-late-callers.js';
import { warningsOf } from './unlisted-amis.js';
import { wakeMisplaced } from './wake-misplaced.js';

/** Covers lost wake-ups: due jobs are searched for at least this often. */
const POLL_MS = 1_000;
const HEARTBEAT = 'job-pass';
const HEARTBEAT_MAX_AGE_MS = 45_000;

/** Runs job passes, woken by signals, by the next known wake-up, and once a second. */
@Injectable()
export class SchedulerService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Scheduler');
  readonly #pass: JobPass;
  readonly #passes: Loop;
  #leaveSignals: () => void = () => undefined;
  #isPlaced = false;

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly heartbeats: Heartbeats,
    @Setting('role') private readonly role: Config['role'],
    @Setting('cluster') cluster: Config['cluster'],
    @Setting('fleet') fleet: Config['fleet'],
    @Setting('addresses') private readonly addresses: Config['addresses'],
    @Setting('ingress') { staleSeconds }: Config['ingress'],
  ) {
    this.#pass = new JobPass(
      database,
      signals,
      { cluster, ...placeOf(addresses), lateCallerSeconds: lateCallerSecondsOf(staleSeconds) },
      {
        onPlanError: (job, error) =>
          this.#logger.error({
            message: 'job could not be planned',
            jobId: job.id,
            job: job.name,
            error: String(error),
          }),
        onChanged: (planned, events) => {
          this.heartbeats.beat(HEARTBEAT);
          for (const line of linesOf(planned, events)) this.#logger.log(line);
          for (const line of warningsOf(planned, fleet)) this.#logger.warn(line);
        },
      },
    );
    this.#passes = new Loop({ name: 'job-pass', run: () => this.#runPass(), onError: logErrors(this.#logger) });
  }

  onApplicationBootstrap(): void {
    if (this.role === 'api') return;
    this.heartbeats.expect(HEARTBEAT, HEARTBEAT_MAX_AGE_MS);
    this.#leaveSignals = this.signals.on('jobs', () => this.#passes.wake());
    this.#passes.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.#leaveSignals();
    await this.#passes.stop();
    this.heartbeats.forget(HEARTBEAT);
  }

  /** @returns milliseconds until the next pass at the latest */
  async #runPass(): Promise<number> {
    if (!this.#isPlaced) await wakeMisplaced(this.database, this.addresses?.domain ?? null);
    this.#isPlaced = true;
    const { jobs, nextPassAt, now } = await this.#pass.run();
    this.heartbeats.beat(HEARTBEAT);
    if (jobs === BATCH_SIZE) return 0;
    return nextPassAt ? Math.min(POLL_MS, Math.max(0, nextPassAt.getTime() - now.getTime())) : POLL_MS;
  }
}
