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
  /** It happens now. A fault that never tells met nothing. */
  readonly tell: (detail: string) => void;
  /** EC2 refuses calls on request from now on, for so long. */
  readonly onThrottle: (ms: number) => void;
};

/** What a subnet of the local cloud has room for. */
export const ALL_ADDRESSES = 4_096;

const END_REASONS = ['Client.InternalError', 'Client.VolumeLimitExceeded', 'Server.InsufficientInstanceCapacity'];
const MUTATING = ['RunInstances', 'TerminateInstances', 'CreateTags'];
/** Longer than the owner's lease (15 s): whoever wakes up from it must not go on as the owner. */
const LONGEST_PAUSE_MS = 25_000;

/** Each resolves once it is over, or has been taken back. */
export const FAULT_ACTIONS: Readonly<Record<FaultKind, (scene: Scene) => void | Promise<void>>> = {
  'replica-killed': async ({ house, random, wait, tell }) => {
    const replica = undisturbed(house, random);
    if (!replica) return;
    const isWorker = random.fraction() < 0.5 && (await replica.killWorker((pids) => pick(pids, random)));
    tell(isWorker ? `a worker of ${replica.name}` : replica.name);
    if (isWorker) return;
    await replica.kill();
    await wait(random.between(0, 4_000));
    replica.start();
  },
  'replica-paused': async ({ house, random, wait, tell }) => {
    const replica = undisturbed(house, random);
    if (!replica) return;
    const ms = random.between(1_000, LONGEST_PAUSE_MS);
    replica.pause();
    tell(`${replica.name} for ${ms} ms`);
    await wait(ms);
    replica.resume();
  },
  'all-replicas-killed': async ({ house, random, wait, tell }) => {
    tell('at once');
    await Promise.all(house.replicas.map((replica) => replica.kill()));
    await wait(random.between(0, 10_000));
    for (const replica of house.replicas) replica.start();
  },

  'postgres-restarted': (scene) => restartPostgres(scene, 'fast'),
  'postgres-crashed': (scene) => restartPostgres(scene, 'crash'),
  'connections-cut': async ({ house, tell }) => {
    const count = await house.postgres.cutConnections();
    if (count > 0) tell(`${count} connections`);
  },

  'run-answer-lost': ({ house, random, tell }) => {
    house.cloud.faults.loseAnswer('RunInstances', random.between(1, 2));
    tell('RunInstances');
  },
  'terminate-answer-lost': ({ house, tell }) => {
    house.cloud.faults.loseAnswer('TerminateInstances');
    tell('TerminateInstances');
  },
  'tag-answer-lost': ({ house, tell }) => {
    house.cloud.faults.loseAnswer('CreateTags');
    tell('CreateTags');
  },
  'describe-answer-lost': ({ house, random, tell }) => {
    house.cloud.faults.loseAnswer('DescribeInstances', random.between(1, 3));
    tell('DescribeInstances');
  },
  'answer-late': ({ house, random, tell }) => {
    const [action, ms] = [pick(MUTATING, random) ?? '*', random.between(500, 12_000)];
    house.cloud.faults.delayAnswer(action, ms);
    tell(`${action} by ${ms} ms`);
  },
  throttled: ({ house, random, tell, onThrottle }) => {
    const action = pick([...MUTATING, 'DescribeInstances', '*'], random) ?? '*';
    const ms = random.between(500, 8_000);
    house.cloud.faults.throttle(action, ms);
    onThrottle(ms);
    tell(`${action} for ${ms} ms`);
  },
  'call-failed': ({ house, random, tell }) => {
    const action = pick(MUTATING, random) ?? '*';
    const code = pick(['InternalError', 'Unavailable', 'ServiceUnavailable'], random) ?? '';
    house.cloud.faults.failNext(action, { code });
    tell(`${action} with ${code}`);
  },
  'capacity-gone': (scene) => limitCapacity(scene, 0),
  'capacity-short': (scene) => limitCapacity(scene, scene.random.between(1, 3)),
  'type-not-offered': async ({ house, random, wait, tell }) => {
    const { faults, ledger } = house.cloud;
    const zone = pick(ledger.instances(), random)?.spec.availabilityZone;
    if (zone === undefined) return;
    const missing = pick(INSTANCE_TYPES, random) ?? '';
    faults.setOfferings(
      zone,
      INSTANCE_TYPES.filter((type) => type !== missing),
    );
    tell(`${missing} in ${zone}`);
    await wait(random.between(2_000, 12_000));
    faults.setOfferings(zone);
  },
  'zone-out': async ({ house, random, wait, tell }) => {
    const { faults, ledger } = house.cloud;
    const zone = pick(ledger.instances(), random)?.spec.availabilityZone;
    if (zone === undefined) return;
    tell(zone);
    faults.loseZone(zone);
    await wait(random.between(5_000, 20_000));
    faults.restoreZone(zone);
  },
  'addresses-short': async ({ house, random, wait, tell }) => {
    const { faults, ledger } = house.cloud;
    const subnetId = pick(ledger.instances(), random)?.spec.subnetId;
    if (subnetId === undefined) return;
    faults.setFreeAddresses(subnetId, random.between(0, 2));
    tell(subnetId);
    await wait(random.between(2_000, 10_000));
    faults.setFreeAddresses(subnetId, ALL_ADDRESSES);
  },
  'ended-at-launch': ({ house, random, tell }) => {
    const reason = pick(END_REASONS, random) ?? '';
    const calls = random.between(1, 2);
    house.cloud.faults.endAtLaunch(reason, calls);
    tell(`${calls} calls, with ${reason}`);
  },
  'action-denied': async ({ house, random, wait, tell }) => {
    // Not RunInstances: a refusal for good fails the deployments that wait, and clients would only see failures.
    const action = pick(['TerminateInstances', 'CreateTags', 'DescribeInstances'], random) ?? '';
    house.cloud.faults.denyAction(action);
    tell(action);
    await wait(random.between(1_000, 15_000));
    house.cloud.faults.permitAction(action);
  },
  'visibility-late': async ({ house, random, wait, tell }) => {
    const ms = random.between(2_000, 30_000);
    house.cloud.faults.delayVisibility(ms);
    tell(`by ${ms} ms`);
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

async function restartPostgres({ house, random, tell }: Scene, how: 'fast' | 'crash'): Promise<void> {
  if (house.postgres.isAway) return;
  const awayMs = random.between(0, 6_000);
  tell(`for ${awayMs} ms`);
  await house.postgres.restart(how, awayMs);
}

/**
 * Of one type in one subnet and market. The fleet leaves an offer that failed alone for three minutes, so faults as wide
 * as a type would soon leave it nothing to do.
 */
async function limitCapacity({ house, random, wait, tell }: Scene, free: number): Promise<void> {
  const { faults, ledger } = house.cloud;
  const subnet = pick(ledger.instances(), random)?.spec.subnetId;
  if (subnet === undefined) return;
  const market = random.fraction() < 0.3 ? ('spot' as const) : ('on-demand' as const);
  const offer = { type: pick(INSTANCE_TYPES, random) ?? '', subnet, market };
  faults.setCapacity(offer, free);
  tell(`${free} of ${JSON.stringify(offer)}`);
  await wait(random.between(2_000, 12_000));
  faults.setCapacity(offer, Infinity);
}

async function onInstance(
  { house, random, tell }: Scene,
  act: (cloud: House['cloud'], id: string) => void | Promise<void>,
  fits: (instance: CloudInstance) => boolean = () => true,
): Promise<void> {
  const { cloud } = house;
  const running = cloud.ledger.instances().filter(({ state, isFrozen }) => state === 'running' && !isFrozen);
  const target = pick(running.filter(fits), random);
  if (!target) return;
  tell(target.id);
  await act(cloud, target.id);
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items[random.between(0, items.length - 1)];
}
