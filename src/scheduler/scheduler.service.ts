import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Heartbeats } from '../process/heartbeats.js';
import { Loop } from '../process/loop.js';
import { BATCH_SIZE, JobPass } from './job-pass.js';
import { linesOf } from './event-lines.js';
import { Retention } from './retention.js';

/** The net under lost wake-ups: due jobs are looked for at least this often. */
const POLL_MS = 1_000;
const HEARTBEAT = 'job-pass';
const HEARTBEAT_MAX_AGE_MS = 45_000;
const RETENTION_EVERY_MS = 10 * 60_000;

/** Runs job passes, woken by signals, by the next wake-up it knows of, and once a second; and deletes what is too old. */
@Injectable()
export class SchedulerService implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger('Scheduler');
  private readonly pass: JobPass;
  private readonly retention: Retention;
  private readonly passes: Loop;
  private readonly cleaning: Loop;
  private leaveSignals: () => void = () => undefined;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    database: Database,
    private readonly signals: Signals,
    private readonly heartbeats: Heartbeats,
  ) {
    this.pass = new JobPass(
      database,
      signals,
      config.cluster,
      (job, error) =>
        this.logger.error({ message: 'job could not be planned', jobId: job.id, job: job.name, error: String(error) }),
      (planned, events) => {
        for (const line of linesOf(planned, events)) this.logger.log(line);
      },
    );
    this.retention = new Retention(database, config.retentionDays, config.eventsRetentionDays);
    const onError = (name: string, error: unknown, pauseMs: number): void =>
      this.logger.error({ message: `${name} failed`, error: String(error), nextTryMs: pauseMs });
    this.passes = new Loop({ name: 'job-pass', run: () => this.runPass(), onError });
    this.cleaning = new Loop({ name: 'retention', run: () => this.clean(), onError });
  }

  onApplicationBootstrap(): void {
    if (this.config.role === 'api') return;
    this.heartbeats.expect(HEARTBEAT, HEARTBEAT_MAX_AGE_MS);
    this.leaveSignals = this.signals.on('jobs', () => this.passes.wake());
    this.passes.start();
    this.cleaning.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.leaveSignals();
    await Promise.all([this.passes.stop(), this.cleaning.stop()]);
    this.heartbeats.forget(HEARTBEAT);
  }

  /** @returns milliseconds until the next pass at the latest */
  private async runPass(): Promise<number> {
    const { jobs, nextPassAt, now } = await this.pass.run();
    this.heartbeats.beat(HEARTBEAT);
    if (jobs === BATCH_SIZE) return 0;
    return nextPassAt ? Math.min(POLL_MS, Math.max(0, nextPassAt.getTime() - now.getTime())) : POLL_MS;
  }

  private async clean(): Promise<number> {
    const deleted = await this.retention.run();
    if (Object.values(deleted).some((count) => count > 0)) this.logger.log({ message: 'old rows deleted', ...deleted });
    return RETENTION_EVERY_MS;
  }
}
