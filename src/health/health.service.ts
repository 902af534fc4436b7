import { Injectable } from '@nestjs/common';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { Database } from '../database/database.js';
import { statement } from '../database/statement.js';
import { hasPendingMigrations } from '../schema/migrate.js';
import { Heartbeats } from '../process/heartbeats.js';
import { Shutdown } from '../process/shutdown.js';

/** A balancer that checks every few seconds gives up sooner: a later answer is as good as none. */
const DATABASE_TIMEOUT_MS = 2_000;
/** The route is public; Postgres is queried at most once in this time. */
const DATABASE_CACHE_MS = 500;

const ASK = statement('health-ask', { isPrepared: false })('SELECT 1');

type Indicator = () => Promise<HealthIndicatorResult>;

/** What makes this process ready: each a Terminus indicator. */
@Injectable()
export class HealthService {
  #isMigrated = false;

  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly database: Database,
    private readonly heartbeats: Heartbeats,
    private readonly shutdown: Shutdown,
  ) {}

  checks(): Indicator[] {
    return [
      () => Promise.resolve(this.#process()),
      async () => this.#database(),
      () => Promise.resolve(this.#loops()),
      ...Object.entries(this.heartbeats.troubles()).map(
        ([name, detail]): Indicator =>
          () =>
            Promise.resolve(this.indicators.check(name).degraded(detail)),
      ),
    ];
  }

  #process(): HealthIndicatorResult {
    const session = this.indicators.check('process');
    return this.shutdown.hasBegun ? session.down('shutting down') : session.up();
  }

  async #database(): Promise<HealthIndicatorResult> {
    return await this.indicators
      .check('database')
      .attempt(() => this.#askDatabase())
      .withTimeout(DATABASE_TIMEOUT_MS)
      .cacheFor(DATABASE_CACHE_MS);
  }

  async #askDatabase(): Promise<void> {
    if (this.#isMigrated) {
      await this.database.run(ASK, []);
      return;
    }
    if (await hasPendingMigrations(this.database.dataSource)) throw new Error('migrations are pending');
    this.#isMigrated = true;
  }

  #loops(): HealthIndicatorResult {
    const loops = this.heartbeats.loops();
    const session = this.indicators.check('loops');
    return Object.values(loops).every(({ isAlive }) => isAlive) ? session.up(loops) : session.down(loops);
  }
}
