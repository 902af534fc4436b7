import { createRandom, type Random } from '../../local/cloud/random.ts';
import { VISIBILITY_MS, type House } from './house.ts';
import type { Replica } from './replica.ts';
import type { FaultKind, PlannedFault } from './schedule.ts';
import { wait } from './wait.ts';

export type Injected = { readonly at: string; readonly kind: FaultKind; readonly detail: string };

/** Longer than the owner's lease (15 s): whoever wakes up from it must not go on as the owner. */
const LONGEST_PAUSE_MS = 25_000;

/** Brings the faults of a schedule about, and takes back what does not pass by itself. */
export class Injector {
  readonly injected: Injected[] = [];
  /** Nothing was there that they could meet. */
  skipped = 0;
  /** When EC2 was told to throttle: [from, to] in ms. */
  readonly throttled: (readonly [number, number])[] = [];
  readonly #house: House;
  readonly #ending = new AbortController();
  readonly #work = new Set<Promise<void>>();

  constructor(house: House) {
    this.#house = house;
  }

  /** Resolves after the last fault; none is taken back by then. */
  async run(schedule: readonly PlannedFault[], signal: AbortSignal): Promise<void> {
    const startedAt = performance.now();
    for (const fault of schedule) {
      await wait(fault.atMs - (performance.now() - startedAt), signal);
      if (signal.aborted) return;
      const work = this.#inject(fault).finally(() => this.#work.delete(work));
      this.#work.add(work);
    }
  }

  /** All is well again: processes and Postgres run, EC2 gives what it has, agents get through. */
  async stop(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#work);
    const { cloud, replicas } = this.#house;
    cloud.faults.clear();
    cloud.faults.delayVisibility(VISIBILITY_MS);
    for (const type of TYPES) cloud.faults.setCapacity({ type }, Infinity);
    for (const { spec } of cloud.ledger.instances()) cloud.faults.setFreeAddresses(spec.subnetId, 4_096);
    for (const { id, state } of cloud.ledger.instances()) {
      if (state !== 'running') continue;
      for (const mend of [cloud.faults.thaw, cloud.faults.mendDocker, cloud.faults.reconnect])
        await mend(id).catch(() => undefined);
    }
    for (const replica of replicas) {
      replica.resume();
      replica.start();
    }
  }

  async #inject({ kind, seed }: PlannedFault): Promise<void> {
    const random = createRandom(seed);
    const told: Tell = (detail) => void this.injected.push({ at: new Date().toISOString(), kind, detail });
    const before = this.injected.length;
    await this.#perform(kind, random, told);
    if (this.injected.length === before) this.skipped += 1;
  }

  async #perform(kind: FaultKind, random: Random, tell: Tell): Promise<void> {
    const { cloud, postgres } = this.#house;
    const { faults } = cloud;
    switch (kind) {
      case 'replica-killed':
        return this.#killReplica(random, tell);
      case 'replica-paused':
        return this.#pauseReplica(random, tell);
      case 'all-replicas-killed':
        return this.#killAll(random, tell);
      case 'postgres-restarted':
      case 'postgres-crashed': {
        if (postgres.isAway) return;
        const awayMs = random.between(0, 6_000);
        tell(`for ${awayMs} ms`);
        await postgres.restart(kind === 'postgres-crashed' ? 'crash' : 'fast', awayMs);
        return;
      }
      case 'connections-cut': {
        const count = await postgres.cutConnections();
        if (count > 0) tell(`${count} connections`);
        return;
      }
      case 'run-answer-lost':
        return this.#arm(tell, 'RunInstances', (action) => faults.loseAnswer(action, random.between(1, 2)));
      case 'terminate-answer-lost':
        return this.#arm(tell, 'TerminateInstances', (action) => faults.loseAnswer(action));
      case 'tag-answer-lost':
        return this.#arm(tell, 'CreateTags', (action) => faults.loseAnswer(action));
      case 'describe-answer-lost':
        return this.#arm(tell, 'DescribeInstances', (action) => faults.loseAnswer(action, random.between(1, 3)));
      case 'answer-late':
        return this.#arm(tell, pick(MUTATING, random), (action) =>
          faults.delayAnswer(action, random.between(500, 12_000)),
        );
      case 'throttled': {
        const [action, ms] = [pick([...MUTATING, 'DescribeInstances', '*'], random), random.between(500, 8_000)];
        this.throttled.push([Date.now(), Date.now() + ms]);
        return this.#arm(tell, action, () => faults.throttle(action, ms));
      }
      case 'call-failed': {
        const code = pick(['InternalError', 'Unavailable', 'ServiceUnavailable', 'RequestExpired'], random);
        return this.#arm(tell, pick(MUTATING, random), (action) => faults.failNext(action, { code }));
      }
      case 'capacity-gone':
      case 'capacity-short': {
        const type = pick(TYPES, random);
        const free = kind === 'capacity-gone' ? 0 : random.between(1, 3);
        faults.setCapacity({ type }, free);
        tell(`${free} ${type}`);
        await this.#wait(random.between(2_000, 12_000));
        faults.setCapacity({ type }, Infinity);
        return;
      }
      case 'addresses-short': {
        const subnet = pick(
          cloud.ledger.instances().map(({ spec }) => spec.subnetId),
          random,
        );
        if (subnet === '') return;
        faults.setFreeAddresses(subnet, random.between(0, 2));
        tell(subnet);
        await this.#wait(random.between(2_000, 10_000));
        faults.setFreeAddresses(subnet, 4_096);
        return;
      }
      case 'visibility-late': {
        const ms = random.between(2_000, 30_000);
        faults.delayVisibility(ms);
        tell(`${ms} ms`);
        await this.#wait(random.between(5_000, 15_000));
        faults.delayVisibility(VISIBILITY_MS);
        return;
      }
      default:
        return this.#disturb(kind, random, tell);
    }
  }

  async #disturb(kind: FaultKind, random: Random, tell: Tell): Promise<void> {
    const { cloud } = this.#house;
    const { faults } = cloud;
    const running = cloud.ledger.instances().filter(({ state, isFrozen }) => state === 'running' && !isFrozen);
    const target = kind === 'spot-notice' ? running.filter(({ spec }) => spec.market === 'spot') : running;
    const id = pick(
      target.map((instance) => instance.id),
      random,
    );
    if (id === '') return;
    tell(id);
    const forAWhile = async (undo: (id: string) => Promise<void>, longestMs: number): Promise<void> => {
      await this.#wait(random.between(500, longestMs));
      // It may be gone by now.
      await undo(id).catch(() => undefined);
    };
    switch (kind) {
      case 'instance-killed':
        return faults.kill(id);
      case 'instance-terminated-by-hand':
        return faults.kill(id, 'hand');
      case 'instance-rebooted':
        return faults.reboot(id);
      case 'instance-stopped':
        return faults.stop(id);
      case 'instance-frozen': {
        await faults.freeze(id);
        return forAWhile(faults.thaw, 180_000);
      }
      case 'spot-notice':
        return faults.spotNotice(id, random.between(10, 120));
      case 'agent-killed':
        return faults.killAgent(id);
      case 'docker-broken': {
        await faults.breakDocker(id);
        return forAWhile(faults.mendDocker, 40_000);
      }
      case 'memory-exhausted':
        return faults.exhaustMemory(id);
      case 'agent-cut-off': {
        await faults.cutOff(id);
        return forAWhile(faults.reconnect, 60_000);
      }
      case 'agent-answers-lost':
        return faults.loseAgentAnswers(id);
      case 'agent-requests-repeated':
        return faults.repeatAgentRequests(id);
      default:
        throw new Error(`nobody brings ${kind} about`);
    }
  }

  /** Takes effect with the next such call. */
  #arm(tell: Tell, action: string, arm: (action: string) => void): void {
    arm(action);
    tell(action);
  }

  async #killReplica(random: Random, tell: Tell): Promise<void> {
    const replica = this.#choose(random);
    if (!replica) return;
    if (random.fraction() < 0.5 && (await replica.killWorker((pids) => pids[random.between(0, pids.length - 1)]))) {
      tell(`a worker of ${replica.name}`);
      return;
    }
    tell(replica.name);
    await replica.kill();
    await this.#wait(random.between(0, 4_000));
    replica.start();
  }

  async #pauseReplica(random: Random, tell: Tell): Promise<void> {
    const replica = this.#choose(random);
    if (!replica) return;
    const ms = random.between(1_000, LONGEST_PAUSE_MS);
    replica.pause();
    tell(`${replica.name} for ${ms} ms`);
    await this.#wait(ms);
    replica.resume();
  }

  async #killAll(random: Random, tell: Tell): Promise<void> {
    const { replicas } = this.#house;
    tell('at once');
    await Promise.all(replicas.map((replica) => replica.kill()));
    await this.#wait(random.between(0, 10_000));
    for (const replica of replicas) replica.start();
  }

  /** One that runs; those already in trouble are left to it. */
  #choose(random: Random): Replica | undefined {
    const running = this.#house.replicas.filter(({ isRunning, isPaused }) => isRunning && !isPaused);
    return running[random.between(0, running.length - 1)];
  }

  #wait(ms: number): Promise<void> {
    return wait(ms, this.#ending.signal);
  }
}

type Tell = (detail: string) => void;

const TYPES = ['t3.small', 't3.medium'];
const MUTATING = ['RunInstances', 'TerminateInstances', 'CreateTags'];

function pick(items: readonly string[], random: Random): string {
  return items[random.between(0, items.length - 1)] ?? '';
}
