import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Heartbeats } from '../http/heartbeats.js';
import { BATCH_SIZE, JobPass } from './job-pass.js';

/** The net under lost wake-ups: due jobs are looked for at least this often. */
const POLL_MS = 1_000;
const LONGEST_ERROR_PAUSE_MS = 10_000;
const HEARTBEAT = 'job-pass';
const HEARTBEAT_MAX_AGE_MS = 45_000;

/** Runs job passes: woken by signals, by the next wake-up it knows of, and once a second. */
@Injectable()
export class SchedulerService implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger('Scheduler');
  private readonly pass: JobPass;
  private loop: Promise<void> | undefined;
  private wake: () => void = () => undefined;
  private isWoken = false;
  private isStopping = false;
  private leaveSignals: () => void = () => undefined;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    database: Database,
    private readonly signals: Signals,
    private readonly heartbeats: Heartbeats,
  ) {
    this.pass = new JobPass(database, signals, config.cluster, (job, error) =>
      this.logger.error({ message: 'job could not be planned', jobId: job.id, job: job.name, error: String(error) }),
    );
  }

  onApplicationBootstrap(): void {
    if (this.config.role === 'api') return;
    this.heartbeats.expect(HEARTBEAT, HEARTBEAT_MAX_AGE_MS);
    this.leaveSignals = this.signals.on('jobs', () => this.lookNow());
    this.loop = this.run();
  }

  async onApplicationShutdown(): Promise<void> {
    this.isStopping = true;
    this.leaveSignals();
    this.lookNow();
    await this.loop;
    this.heartbeats.forget(HEARTBEAT);
  }

  private lookNow(): void {
    this.isWoken = true;
    this.wake();
  }

  private async run(): Promise<void> {
    let errors = 0;
    while (!this.isStopping) {
      this.isWoken = false;
      let pauseMs = POLL_MS;
      try {
        const { jobs, nextPassAt, now } = await this.pass.run();
        errors = 0;
        this.heartbeats.beat(HEARTBEAT);
        if (jobs === BATCH_SIZE) continue;
        if (nextPassAt) pauseMs = Math.min(POLL_MS, Math.max(0, nextPassAt.getTime() - now.getTime()));
      } catch (error) {
        errors += 1;
        pauseMs = Math.min(POLL_MS * 2 ** (errors - 1), LONGEST_ERROR_PAUSE_MS);
        this.logger.error({ message: 'job pass failed', error: String(error), nextTryMs: pauseMs });
      }
      await this.pause(pauseMs, errors > 0);
    }
  }

  /** Ends early when woken, also by what came since the pass began; after an error the full time is kept. */
  private async pause(ms: number, isFull: boolean): Promise<void> {
    if (this.isWoken && !isFull) return;
    await new Promise<void>((done) => {
      const timer = setTimeout(done, ms);
      this.wake = () => {
        if (isFull && !this.isStopping) return;
        clearTimeout(timer);
        done();
      };
    });
    this.wake = () => undefined;
  }
}
