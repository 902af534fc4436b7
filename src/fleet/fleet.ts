import { randomUUID } from 'node:crypto';
import { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Config } from '../config/config.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { FleetPass } from './fleet-pass.js';
import { Launcher } from './launcher.js';
import type { Log } from '../process/log.js';
import { Loop } from '../process/loop.js';
import { LeaseLost, OwnerLease, RENEW_MS, type Tenure } from '../ownership/owner-lease.js';
import { ShapeResolver } from './shape-resolver.js';
import { Retirer } from './retirer.js';
import { Silence } from './silence.js';
import { SnapshotKeeper } from '../snapshots/snapshot-keeper.js';
import { Sweep } from './sweep.js';
import { InstanceTagger } from './instance-tagger.js';

export type FleetOptions = {
  readonly database: Database;
  readonly signals: Signals;
  readonly ec2: Ec2;
  readonly config: Pick<Config, 'cluster' | 'encryptionKeys'> & {
    readonly snapshots?: Config['snapshots'];
    /** Whether an AMI is allowed is checked before a deployment is made, not when it heals. */
    readonly fleet: Omit<Config['fleet'], 'allowedAmis'>;
    readonly aws: Pick<Config['aws'], 'quotaShare'>;
    readonly agents: Pick<Config['agents'], 'url' | 'pins'>;
  };
  /** Text of agent.sh. */
  readonly agentScript: string;
  readonly log: Log;
  /** A sign of life: of the fleet pass, or, while another process is the owner, of the wait for it. */
  readonly onBeat: () => void;
  /** Trouble with our calls to EC2; null = it is over. */
  readonly onAwsTrouble: (trouble: string | null) => void;
  /** Instances that EC2 refuses to terminate; null = none any more. */
  readonly onTerminationTrouble: (trouble: string | null) => void;
};

/** While another process is the owner: how soon this one notices that it is gone. */
const ACQUIRE_MS = 1_000;
const LONGEST_PASS_PAUSE_MS = 1_000;

/** The fleet launches nothing before its first sweep of EC2, unless that takes longer than this. */
const FIRST_SWEEP_MS = 10_000;
const STOP_MS = 8_000;

/** Supplies instances while this process is the owner, and is on standby while it is not. */
export class Fleet {
  readonly #leaseLoop: Loop;
  readonly #holder = randomUUID();
  #lease: OwnerLease;
  #tenure: RunningTenure | undefined;

  constructor(private readonly options: FleetOptions) {
    const { log } = options;
    this.#lease = this.#newLease();
    this.#leaseLoop = new Loop({
      name: 'owner-lease',
      run: () => this.#keepLease(),
      onError: (name, error, pauseMs) => {
        log.error('loop failed', { loop: name, error: String(error), nextTryMs: pauseMs });
        if (!this.#lease.isHeld) void this.#endTenure();
      },
    });
  }

  get lease(): Pick<OwnerLease, 'isHeld' | 'epoch'> {
    return this.#lease;
  }

  start(): void {
    this.#leaseLoop.start();
  }

  /** Ends what is under way, so that another process can take over at once. */
  async stop(): Promise<void> {
    await this.#leaseLoop.stop();
    const budget = this.#tenure?.budget;
    await this.#endTenure();
    if (!budget) return;
    await this.#lease.release(budget.snapshot()).catch((error: unknown) => {
      // Postgres is away: the lease ends by itself in 15 s.
      this.options.log.warn('ownership could not be released', { error: String(error) });
    });
  }

  async #keepLease(): Promise<number> {
    const { log } = this.options;
    if (this.#tenure) {
      if (this.#lease.isHeld && (await this.#lease.renew(this.#tenure.budget.snapshot()))) return RENEW_MS;
      log.warn('ownership lost', { holder: this.#holder });
      await this.#endTenure();
    }
    // A lease serves one tenure: a call under way since an earlier one must not be settled under the next.
    this.#lease = this.#newLease();
    const tenure = await this.#lease.acquire();
    if (!tenure) {
      this.options.onBeat();
      return ACQUIRE_MS;
    }
    log.info('ownership taken', { holder: this.#holder, epoch: tenure.epoch });
    this.#tenure = startTenure(this.options, this.#lease, tenure);
    return RENEW_MS;
  }

  #newLease(): OwnerLease {
    const { database, config } = this.options;
    return new OwnerLease(database, config.cluster, this.#holder);
  }

  async #endTenure(): Promise<void> {
    const tenure = this.#tenure;
    this.#tenure = undefined;
    await tenure?.stop();
  }
}

type RunningTenure = { readonly budget: CallBudget; stop(): Promise<void> };

function startTenure(options: FleetOptions, lease: OwnerLease, tenure: Tenure): RunningTenure {
  const { database, signals, ec2, config, log, onAwsTrouble, onTerminationTrouble } = options;
  const budget = new CallBudget({
    share: config.aws.quotaShare,
    now: () => performance.now(),
    start: tenure.budgets,
  });
  const common = { database, signals, ec2, lease, budget, log };
  const tagger = new InstanceTagger(common);
  const retirer = new Retirer({ ...common, onTrouble: onTerminationTrouble });
  const sweep = new Sweep({ ...common, onAwsTrouble });
  const silence = new Silence({ ...common, since: tenure.since });
  const pass = new FleetPass({
    ...common,
    tenure,
    resolver: new ShapeResolver({ ec2, budget, ...config.fleet }),
    apiUrl: config.agents.url,
    pins: config.agents.pins,
    encryptionKeys: config.encryptionKeys,
    maxInstances: config.fleet.maxInstances ?? Infinity,
    maxLaunchesPerMinute: config.fleet.maxLaunchesPerMinute,
    agentScript: options.agentScript,
  });
  const keeper = config.snapshots && new SnapshotKeeper({ ...common, ...config.snapshots });
  const launcher = new Launcher({
    ...common,
    encryptionKeys: config.encryptionKeys,
    onAwsTrouble,
    onSettled: () => {
      loops.launcher.wake();
      loops.sweep.wake();
      signals.shapesDue();
    },
  });

  const loop = (name: string, run: () => Promise<number>) => {
    const onError = (failed: string, error: unknown, pauseMs: number) => {
      // The lease loop logs it once; each of these loops is about to be stopped.
      if (!(error instanceof LeaseLost))
        log.error('loop failed', { loop: failed, error: String(error), nextTryMs: pauseMs });
    };
    return new Loop({ name, run, onError });
  };
  let isTakenOver = false;
  // A restored database has fewer rows than instances run, and the first pass would launch all the missing ones again.
  let isSwept = false;
  const sweepsUntilMs = performance.now() + FIRST_SWEEP_MS;
  const loops = {
    pass: loop('fleet-pass', async () => {
      options.onBeat();
      const isBlind = !isSwept && performance.now() < sweepsUntilMs;
      if (!lease.isHeld || isBlind) return LONGEST_PASS_PAUSE_MS;
      const { launched, retired, assigned, nextDueMs } = await pass.run();
      if (launched > 0) loops.launcher.wake();
      if (retired > 0) loops.retirer.wake();
      if (assigned.length > 0) {
        tagger.add(assigned);
        loops.tagger.wake();
      }
      return Math.min(nextDueMs ?? LONGEST_PASS_PAUSE_MS, LONGEST_PASS_PAUSE_MS);
    }),
    launcher: loop('launcher', async () => {
      if (!isTakenOver) await launcher.takeOver();
      isTakenOver = true;
      return launcher.run();
    }),
    retirer: loop('retirer', async () => {
      const { pauseMs, isWatchNeeded } = await retirer.run();
      if (isWatchNeeded) loops.sweep.wake();
      return pauseMs;
    }),
    sweep: loop('sweep', async () => {
      const pauseMs = await sweep.run();
      if (!isSwept && sweep.hasSeenAll) {
        isSwept = true;
        loops.pass.wake();
      }
      return pauseMs;
    }),
    silence: loop('silence', () => silence.run()),
    tagger: loop('tagger', () => tagger.run()),
    ...(keeper && { snapshots: loop('snapshots', () => keeper.run()) }),
  };
  const leaveSignals = signals.on('shapes', () => {
    loops.pass.wake();
    loops.retirer.wake();
  });
  for (const each of Object.values(loops)) each.start();
  return {
    budget,
    stop: async () => {
      leaveSignals();
      const ended = Promise.all(Object.values(loops).map((each) => each.stop())).then(() => launcher.drain());
      // A call may take 30 s; the next owner repeats it by its ClientToken, so waiting longer gains nothing.
      await Promise.race([ended, pause(STOP_MS)]);
      // The next owner finds out by itself.
      onTerminationTrouble(null);
    },
  };
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((done) => {
    setTimeout(done, ms).unref();
  });
}
