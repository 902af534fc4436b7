import type { CloudInstance } from '../../local/cloud/instance.ts';
import type { Random } from '../../local/cloud/random.ts';
import { INSTANCE_TYPES, VISIBILITY_MS, type House } from './house.ts';
import type { Replica } from './replica.ts';
import type { FaultKind } from './schedule.ts';

/** What one fault has at hand. */
export type Scene = {
  readonly house: House;
  /** Of this fault's own seed. */
  readonly random: Random;
  /** Ends early when the run does. */
  readonly wait: (ms: number) => Promise<void>;
  /** To be called when the fault happens. A fault that never calls it met nothing. */
  readonly report: (detail: string) => void;
  /** EC2 refuses calls on request from now on, for so long. */
  readonly onThrottle: (ms: number) => void;
};

/** What a subnet of the local cloud has room for. */
export const ALL_ADDRESSES = 4_096;

const END_REASONS = ['Client.InternalError', 'Client.VolumeLimitExceeded', 'Server.InsufficientInstanceCapacity'];
const MUTATING = ['RunInstances', 'TerminateInstances', 'CreateTags'];
/** Longer than the owner's lease (15 s): a process that wakes up from it must not go on as the owner. */
const LONGEST_PAUSE_MS = 25_000;

/** Each resolves once it is over, or has been undone. */
export const FAULT_ACTIONS: Readonly<Record<FaultKind, (scene: Scene) => void | Promise<void>>> = {
  'replica-killed': async ({ house, random, wait, report }) => {
    const replica = undisturbed(house, random);
    if (!replica) return;
    const isWorker = random.fraction() < 0.5 && (await replica.killWorker((pids) => pick(pids, random)));
    report(isWorker ? `a worker of ${replica.name}` : replica.name);
    if (isWorker) return;
    await replica.kill();
    await wait(random.between(0, 4_000));
    replica.start();
  },
  'replica-paused': async ({ house, random, wait, report }) => {
    const replica = undisturbed(house, random);
    if (!replica) return;
    const ms = random.between(1_000, LONGEST_PAUSE_MS);
    replica.pause();
    report(`${replica.name} for ${ms} ms`);
    await wait(ms);
    replica.resume();
  },
  'all-replicas-killed': async ({ house, random, wait, report }) => {
    report('at once');
    await Promise.all(house.replicas.map((replica) => replica.kill()));
    await wait(random.between(0, 10_000));
    for (const replica of house.replicas) replica.start();
  },

  'postgres-restarted': (scene) => restartPostgres(scene, 'fast'),
  'postgres-crashed': (scene) => restartPostgres(scene, 'crash'),
  'connections-cut': async ({ house, report }) => {
    const count = await house.postgres.cutConnections();
    if (count > 0) report(`${count} connections`);
  },

  'run-answer-lost': ({ house, random, report }) => {
    house.cloud.faults.loseAnswer('RunInstances', random.between(1, 2));
    report('RunInstances');
  },
  'terminate-answer-lost': ({ house, report }) => {
    house.cloud.faults.loseAnswer('TerminateInstances');
    report('TerminateInstances');
  },
  'tag-answer-lost': ({ house, report }) => {
    house.cloud.faults.loseAnswer('CreateTags');
    report('CreateTags');
  },
  'describe-answer-lost': ({ house, random, report }) => {
    house.cloud.faults.loseAnswer('DescribeInstances', random.between(1, 3));
    report('DescribeInstances');
  },
  'answer-late': ({ house, random, report }) => {
    const [action, ms] = [pick(MUTATING, random) ?? '*', random.between(500, 12_000)];
    house.cloud.faults.delayAnswer(action, ms);
    report(`${action} by ${ms} ms`);
  },
  throttled: ({ house, random, report, onThrottle }) => {
    const action = pick([...MUTATING, 'DescribeInstances', '*'], random) ?? '*';
    const ms = random.between(500, 8_000);
    house.cloud.faults.throttle(action, ms);
    onThrottle(ms);
    report(`${action} for ${ms} ms`);
  },
  'call-failed': ({ house, random, report }) => {
    const action = pick(MUTATING, random) ?? '*';
    const code = pick(['InternalError', 'Unavailable', 'ServiceUnavailable'], random) ?? '';
    house.cloud.faults.failNext(action, { code });
    report(`${action} with ${code}`);
  },
  'capacity-gone': (scene) => limitCapacity(scene, 0),
  'capacity-short': (scene) => limitCapacity(scene, scene.random.between(1, 3)),
  'type-not-offered': async ({ house, random, wait, report }) => {
    const { faults, ledger } = house.cloud;
    const zone = pick(ledger.instances(), random)?.spec.availabilityZone;
    if (zone === undefined) return;
    const missing = pick(INSTANCE_TYPES, random) ?? '';
    faults.setOfferings(
      zone,
      INSTANCE_TYPES.filter((type) => type !== missing),
    );
    report(`${missing} in ${zone}`);
    await wait(random.between(2_000, 12_000));
    faults.setOfferings(zone);
  },
  'zone-out': async ({ house, random, wait, report }) => {
    const { faults, ledger } = house.cloud;
    const zone = pick(ledger.instances(), random)?.spec.availabilityZone;
    if (zone === undefined) return;
    report(zone);
    faults.loseZone(zone);
    await wait(random.between(5_000, 20_000));
    faults.restoreZone(zone);
  },
  'addresses-short': async ({ house, random, wait, report }) => {
    const { faults, ledger } = house.cloud;
    const subnetId = pick(ledger.instances(), random)?.spec.subnetId;
    if (subnetId === undefined) return;
    faults.setFreeAddresses(subnetId, random.between(0, 2));
    report(subnetId);
    await wait(random.between(2_000, 10_000));
    faults.setFreeAddresses(subnetId, ALL_ADDRESSES);
  },
  'ended-at-launch': ({ house, random, report }) => {
    const reason = pick(END_REASONS, random) ?? '';
    const calls = random.between(1, 2);
    house.cloud.faults.endAtLaunch(reason, calls);
    report(`${calls} calls, with ${reason}`);
  },
  'action-denied': async ({ house, random, wait, report }) => {
    // Not RunInstances: a refusal for good fails the deployments that wait, and clients would only see failures.
    const action = pick(['TerminateInstances', 'CreateTags', 'DescribeInstances'], random) ?? '';
    house.cloud.faults.denyAction(action);
    report(action);
    await wait(random.between(1_000, 15_000));
    house.cloud.faults.permitAction(action);
  },
  'visibility-late': async ({ house, random, wait, report }) => {
    const ms = random.between(2_000, 30_000);
    house.cloud.faults.delayVisibility(ms);
    report(`by ${ms} ms`);
    await wait(random.between(5_000, 15_000));
    house.cloud.faults.delayVisibility(VISIBILITY_MS);
  },

  'instance-killed': (scene) => onInstance(scene, ({ faults }, id) => faults.kill(id)),
  'instance-terminated-by-hand': (scene) => onInstance(scene, ({ faults }, id) => faults.kill(id, 'hand')),
  'instance-rebooted': (scene) => onInstance(scene, ({ faults }, id) => faults.reboot(id)),
  'instance-stopped': (scene) => onInstance(scene, ({ faults }, id) => faults.stop(id)),
  'instance-frozen': (scene) =>
    onInstance(scene, async ({ faults }, id) => {
      await faults.freeze(id);
      await scene.wait(scene.random.between(500, 180_000));
      // It may be gone by then.
      await faults.thaw(id).catch(() => undefined);
    }),
  'spot-notice': (scene) =>
    onInstance(
      scene,
      ({ faults }, id) => faults.spotNotice(id, scene.random.between(10, 120)),
      ({ spec }) => spec.market === 'spot',
    ),
  'agent-killed': (scene) => onInstance(scene, ({ faults }, id) => faults.killAgent(id)),
  'docker-broken': (scene) =>
    onInstance(scene, async ({ faults }, id) => {
      await faults.breakDocker(id);
      await scene.wait(scene.random.between(500, 40_000));
      await faults.mendDocker(id).catch(() => undefined);
    }),
  'memory-exhausted': (scene) => onInstance(scene, ({ faults }, id) => faults.exhaustMemory(id)),
  'program-failed': (scene) => onInstance(scene, ({ faults }, id) => faults.failProgram(id)),
  'agent-cut-off': (scene) =>
    onInstance(scene, async ({ faults }, id) => {
      await faults.cutOff(id);
      await scene.wait(scene.random.between(500, 60_000));
      await faults.reconnect(id).catch(() => undefined);
    }),
  'agent-answers-lost': (scene) => onInstance(scene, ({ faults }, id) => faults.loseAgentAnswers(id)),
  'agent-requests-repeated': (scene) => onInstance(scene, ({ faults }, id) => faults.repeatAgentRequests(id)),
};

/** One that runs; those already in trouble are left to it. */
function undisturbed({ replicas }: House, random: Random): Replica | undefined {
  return pick(
    replicas.filter(({ isRunning, isPaused }) => isRunning && !isPaused),
    random,
  );
}

async function restartPostgres({ house, random, report }: Scene, how: 'fast' | 'crash'): Promise<void> {
  if (house.postgres.isAway) return;
  const awayMs = random.between(0, 6_000);
  report(`for ${awayMs} ms`);
  await house.postgres.restart(how, awayMs);
}

/**
 * Of one type in one subnet and market. The fleet leaves an offer that failed alone for three minutes, so faults as wide
 * as a type would soon leave it nothing to do.
 */
async function limitCapacity({ house, random, wait, report }: Scene, free: number): Promise<void> {
  const { faults, ledger } = house.cloud;
  const subnet = pick(ledger.instances(), random)?.spec.subnetId;
  if (subnet === undefined) return;
  const market = random.fraction() < 0.3 ? ('spot' as const) : ('on-demand' as const);
  const offer = { type: pick(INSTANCE_TYPES, random) ?? '', subnet, market };
  faults.setCapacity(offer, free);
  report(`${free} of ${JSON.stringify(offer)}`);
  await wait(random.between(2_000, 12_000));
  faults.setCapacity(offer, Infinity);
}

async function onInstance(
  { house, random, report }: Scene,
  act: (cloud: House['cloud'], id: string) => void | Promise<void>,
  fits: (instance: CloudInstance) => boolean = () => true,
): Promise<void> {
  const { cloud } = house;
  const running = cloud.ledger.instances().filter(({ state, isFrozen }) => state === 'running' && !isFrozen);
  const target = pick(running.filter(fits), random);
  if (!target) return;
  report(target.id);
  await act(cloud, target.id);
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items[random.between(0, items.length - 1)];
}
