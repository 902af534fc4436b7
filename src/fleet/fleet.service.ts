import { readFile } from 'node:fs/promises';
import { type BeforeApplicationShutdown, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Heartbeats, type Trouble } from '../process/heartbeats.js';
import type { Fleet, FleetOptions } from './fleet.js';

const HEARTBEAT = 'fleet-pass';
/** A pass may wait for two calls of 30 s, for an image and the subnets, each made twice. */
const HEARTBEAT_MAX_AGE_MS = 150_000;
const AWS = 'aws';
const TERMINATIONS = 'terminations';

/** Runs the fleet in processes with the loops. */
@Injectable()
export class FleetService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #logger = new Logger('Fleet');
  readonly #config: FleetOptions['config'];
  #running: Promise<Fleet> | undefined;

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly heartbeats: Heartbeats,
    @Setting('role') private readonly role: Config['role'],
    @Setting('cluster') cluster: Config['cluster'],
    @Setting('fleet') fleet: Config['fleet'],
    @Setting('aws') private readonly aws: Config['aws'],
    @Setting('agents') agents: Config['agents'],
    @Setting('encryptionKeys') encryptionKeys: Config['encryptionKeys'],
    @Setting('snapshots') snapshots: Config['snapshots'],
  ) {
    this.#config = { cluster, fleet, aws, agents, encryptionKeys, snapshots };
  }

  onApplicationBootstrap(): void {
    if (this.role === 'api') return;
    this.heartbeats.expect(HEARTBEAT, HEARTBEAT_MAX_AGE_MS);
    this.#running = this.#start();
  }

  // Before the connections are closed: the last writes and the release of the lease need Postgres.
  async beforeApplicationShutdown(): Promise<void> {
    const fleet = await this.#running;
    await fleet?.stop();
    this.heartbeats.forget(HEARTBEAT);
  }

  /** Concurrent with the start of the server: EC2's client needs 400 ms to load, and an API process never uses it. */
  async #start(): Promise<Fleet> {
    const { Ec2 } = await import('../aws/ec2.js');
    const { Fleet } = await import('./fleet.js');
    const fleet = new Fleet({
      database: this.database,
      signals: this.signals,
      ec2: new Ec2({ region: this.aws.region }),
      config: this.#config,
      agentScript: await readFile(new URL('../agent/agent.sh', import.meta.url), 'utf8'),
      log: {
        info: (message, fields) => this.#logger.log({ message, ...fields }),
        warn: (message, fields) => this.#logger.warn({ message, ...fields }),
        error: (message, fields) => this.#logger.error({ message, ...fields }),
      },
      onBeat: () => this.heartbeats.beat(HEARTBEAT),
      onAwsTrouble: (trouble) => this.#report(AWS, trouble),
      onTerminationTrouble: (trouble) => this.#report(TERMINATIONS, trouble),
    });
    fleet.start();
    return fleet;
  }

  #report(name: Trouble, trouble: string | null): void {
    if (trouble === null) this.heartbeats.recover(name);
    else this.heartbeats.degrade(name, trouble);
  }
}
