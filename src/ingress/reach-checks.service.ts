import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { columnsOf, type RowOf, statement, t } from '../database/statement.js';
import { wakeRows } from '../database/wake.js';
import { Attempt } from '../deployments/attempt.entity.js';
import type { ReachedAs } from '../jobs/route-rules.js';
import { logErrors, Loop } from '../process/loop.js';
import { Occurrence } from '../process/observation.js';
import { hasItsAddress } from './address-owner.js';
import { reach } from './reach.js';

/** A port is tried again so soon, and no sooner however much changes meanwhile, */
const AGAIN_MS = 1_000;
/** until HTTP is spoken there, or so long: a proxy of Docker's accepts connections before the container does. */
const TRIED_FOR_MS: Readonly<Record<ReachedAs, number>> = { http: 0, silent: 0, other: 10_000, nothing: 30_000 };
/** A fallback for lost signals. */
const LOOK_EVERY_MS = 5_000;
/** Every change of any job is a signal: of many one look does the work. */
const COALESCE_MS = 20;
const MOST_AT_ONCE = 256;

/** What was found at a port is stored: once, whatever process was first. */
export const reachChecks = new Occurrence<{ readonly found: ReachedAs }>('reach-check');

/** Connects to attempts that callers are to be led to, in the processes beside the ingress: those that serve the API. */
@Injectable()
export class ReachChecksService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #logger = new Logger('Ingress');
  readonly #loop: Loop;
  readonly #ending = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  /** Since when this process has tried the port of an attempt, and when it last began to. */
  readonly #tries = new Map<string, { readonly since: number; readonly lastAt: number }>();
  #leaveSignals: () => void = () => undefined;

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    @Setting('role') private readonly role: Config['role'],
    @Setting('addresses') private readonly addresses: Config['addresses'],
  ) {
    this.#loop = new Loop({ name: 'reach-checks', run: () => this.run(), onError: logErrors(this.#logger) });
  }

  onApplicationBootstrap(): void {
    if (this.role === 'scheduler' || !this.addresses) return;
    this.#leaveSignals = this.signals.on('changes', () => this.#loop.wakeWithin(COALESCE_MS));
    this.#loop.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.#leaveSignals();
    await this.#loop.stop();
    this.#ending.abort();
    await this.idle();
  }

  /** Resolves when what is being tried has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  /** Begins to try what is not being tried: one that takes its time holds no other up. @returns until the next run */
  async run(): Promise<number> {
    const asked = await this.database.run(UNREACHED, [MOST_AT_ONCE]);
    const ids = new Set(asked.map(({ id }) => id));
    for (const id of this.#tries.keys()) if (!ids.has(id)) this.#tries.delete(id);
    for (const attempt of asked) {
      const lastAt = this.#tries.get(attempt.id)?.lastAt ?? 0;
      if (this.#running.has(attempt.id) || Date.now() - lastAt < AGAIN_MS) continue;
      this.#running.set(
        attempt.id,
        this.#try(attempt).finally(() => this.#running.delete(attempt.id)),
      );
    }
    return asked.length > 0 ? AGAIN_MS : LOOK_EVERY_MS;
  }

  async #try({ id, jobId, port, privateIp }: Unreached): Promise<void> {
    const lastAt = Date.now();
    const { since } = this.#tries.get(id) ?? { since: lastAt };
    this.#tries.set(id, { since, lastAt });
    const found = await reach(privateIp, port, this.#ending.signal);
    if (this.#ending.signal.aborted || Date.now() - since < TRIED_FOR_MS[found]) return;
    try {
      // With the job's row first, as all that writes to attempts beside a pass: a pass would write over it what it has loaded.
      const stored = await this.database.transaction(async (transaction) => {
        await transaction.run(WAKE_JOB, [jobId]);
        return await transaction.run(STORE, [id, port, found]);
      });
      if (stored.length > 0) reachChecks.publish({ found });
      this.signals.jobsDue();
    } catch (error) {
      // It is found again.
      this.#logger.warn({ message: 'A check of a port was not stored', jobId, error: String(error) });
    }
  }
}

const UNREACHED_ROW = { ...columnsOf(Attempt, 'id', 'jobId'), port: t.int, privateIp: t.text };
type Unreached = RowOf<typeof UNREACHED_ROW>;

const UNREACHED = statement('attempts-unreached', { values: [t.bigintValue], row: UNREACHED_ROW })(`
  SELECT a.id, a.job_id AS "jobId", a.reach_port AS port, i.private_ip AS "privateIp"
  FROM attempts a JOIN assignments s ON s.attempt_id = a.id JOIN instances i ON i.id = s.instance_id
  WHERE a.reach_port IS NOT NULL AND a.reached_as IS NULL AND a.phase = 'healthy' AND i.private_ip IS NOT NULL
    AND ${hasItsAddress('i')}
  ORDER BY a.reach_asked_at LIMIT $1`);

const WAKE_JOB = statement('reach-wake-job', { values: [t.uuid] })(wakeRows('jobs', 'id = $1'));

const STORE = statement('reach-store', {
  values: [t.uuid, t.int, t.oneOf<ReachedAs>()],
  row: columnsOf(Attempt, 'id'),
})(`UPDATE attempts SET reached_as = $3 WHERE id = $1 AND reach_port = $2 AND reached_as IS NULL RETURNING id`);
