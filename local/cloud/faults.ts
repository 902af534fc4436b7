import type { Capacity, OfferMatch } from './capacity.ts';
import { CloudError, statusOf } from './errors.ts';
import { newestImage } from './images.ts';
import { STATE_REASONS, stateReasonOf, type CloudInstance } from './instance.ts';
import type { WrongRegionAnswer } from './s3/elsewhere.ts';
import type { SnapshotState } from './snapshots.ts';
import type { World } from './world.ts';

/** Trouble on request. `action` is an action of EC2, ECR or S3, or `*` for every one. */
export type Faults = {
  /** The next calls fail before they take effect. The status defaults to EC2's own of the code. */
  failNext(action: string, error: { code: string; status?: number; message?: string }, times?: number): void;
  /** The next calls take effect, then the connection is destroyed without an answer. */
  loseAnswer(action: string, times?: number): void;
  /** The next calls take effect at once and are answered `delayMs` later. */
  delayAnswer(action: string, delayMs: number, times?: number): void;
  /** RequestLimitExceeded for `durationMs`. */
  throttle(action: string, durationMs: number): void;
  /** For instances launched from now on. */
  delayVisibility(delayMs: number): void;
  setCapacity(match: OfferMatch, free: number): void;
  setFreeAddresses(subnetId: string, free: number): void;
  /** From now on an instance gets the private address that another one gave back last. */
  reuseAddresses(): void;
  /** A zone offers these types (`t3.micro`, `t3.*`) and no other from now on; undefined: all, as at first. */
  setOfferings(zone: string, types?: readonly string[]): void;
  /**
   * RunInstances succeeds, and what it made is terminated right after pending, for that reason (`Client.InternalError`:
   * a key of its disk that may not be used; `Client.VolumeLimitExceeded`; `Server.InsufficientInstanceCapacity`): for
   * `calls` calls, by default all to come.
   */
  endAtLaunch(reason: string, calls?: number): void;
  /** What becomes of snapshots that are begun from now on: `error`, `pending` for ever, or `completed` as at first. */
  endSnapshots(state: SnapshotState): void;
  /** The caller's role may not do it, until it is permitted again. */
  denyAction(action: string): void;
  permitAction(action: string): void;
  /** S3 serves this bucket only to calls signed for that region, and names it to others; by default with a 301. */
  moveBucket(bucket: string, region: string, answer?: WrongRegionAnswer): void;
  /** The caller may list this bucket below a prefix only: other lists, and keys that are not there, are refused (403). */
  limitListing(bucket: string, prefix: string): void;
  /** Describing instances without ids, or with ids of this zone, fails, until the zone is back. */
  loseZone(zone: string): void;
  restoreZone(zone: string): void;
  /** The guest makes no progress, its address and connections stay; the instance status becomes impaired. */
  freeze(id: string): Promise<void>;
  thaw(id: string): Promise<void>;
  /** Gone without notice: as if somebody terminated it by hand, or its host failed. */
  kill(id: string, by?: 'host' | 'hand'): void;
  /** By hand, behind the scheduler's back: the disk stays. Nothing when it is not running. */
  stop(id: string): void;
  reboot(id: string): void;
  /** kill -9 of the agent on it; it is started again after two seconds. */
  killAgent(id: string): Promise<void>;
  /** Docker does not answer until it is mended; containers run on. */
  breakDocker(id: string): Promise<void>;
  mendDocker(id: string): Promise<void>;
  /** The kernel kills the container's process for want of memory. */
  exhaustMemory(id: string): Promise<void>;
  /** The container's program ends by itself, with code 3; nothing when it does not run. */
  failProgram(id: string): Promise<void>;
  /** No packet gets through between its agent and the scheduler, until it is reconnected. */
  cutOff(id: string): Promise<void>;
  reconnect(id: string): Promise<void>;
  /** Its agent's next requests arrive, the answers do not. */
  loseAgentAnswers(id: string): Promise<void>;
  /** Its agent's next requests arrive twice. */
  repeatAgentRequests(id: string): Promise<void>;
  /** Interruption notice now (metadata: spot/instance-action), termination after so many seconds (EC2: 120). */
  spotNotice(id: string, inSeconds: number): void;
  /** Amazon publishes a newer image: aliases refer to it from now on. */
  publishImage(): void;
  /** Cancels faults that wait (failures, denials, lost and late answers, throttling) or last (zones, buckets). */
  clear(): void;
};

/** What the server checks for each call. */
export type FaultPlan = {
  readonly faults: Faults;
  /** @throws the failure that was requested */
  beforeCall(action: string): void;
  afterCall(action: string): { readonly isAnswerLost: boolean; readonly delayMs: number };
};

export function createFaults(world: World): FaultPlan {
  const failures: Pending<CloudError>[] = [];
  const losses: Pending<true>[] = [];
  const delays: Pending<number>[] = [];
  const throttles = new Map<string, number>();
  const denied = new Set<string>();
  const capacity: Capacity = world.capacity;

  const faults: Faults = {
    failNext: (action, { code, status, message }, times = 1) => {
      const error = new CloudError(code, message ?? `${code} on request of a test`, status ?? statusOf(code));
      failures.push({ action, value: error, left: times });
    },
    loseAnswer: (action, times = 1) => void losses.push({ action, value: true, left: times }),
    delayAnswer: (action, delayMs, times = 1) => void delays.push({ action, value: delayMs, left: times }),
    throttle: (action, durationMs) => void throttles.set(action, Date.now() + durationMs),
    delayVisibility: (delayMs) => {
      world.settings.visibilityMs = delayMs;
    },
    setCapacity: (match, free) => capacity.set(match, free),
    setFreeAddresses: (subnetId, free) => world.network.setFreeAddresses(subnetId, free),
    reuseAddresses: () => world.network.reuseAddresses(),
    setOfferings: (zone, types) => world.offerings.set(zone, types),
    endAtLaunch: (reason, calls = Infinity) => {
      world.settings.endAtLaunch = { reason: stateReasonOf(reason), callsLeft: calls };
    },
    endSnapshots: (state) => {
      world.settings.snapshotEnd = state;
    },
    denyAction: (action) => void denied.add(action),
    permitAction: (action) => void denied.delete(action),
    moveBucket: (bucket, region, answer = 'redirect') => void world.s3.elsewhere.set(bucket, { region, answer }),
    limitListing: (bucket, prefix) => void world.s3.listable.set(bucket, prefix),
    loseZone: (zone) => void world.zonesOut.add(zone),
    restoreZone: (zone) => void world.zonesOut.delete(zone),
    freeze: async (id) => world.machines.freeze(find(world, id), true),
    thaw: async (id) => world.machines.freeze(find(world, id), false),
    kill: (id, by = 'host') => {
      const reason = by === 'hand' ? STATE_REASONS.byUser : STATE_REASONS.hostFailed;
      world.machines.terminate(find(world, id), reason, 'kill');
    },
    stop: (id) => world.machines.stop(find(world, id), STATE_REASONS.byUser),
    reboot: (id) => world.machines.reboot(find(world, id)),
    killAgent: async (id) => world.machines.disturb(find(world, id), 'kill-agent'),
    breakDocker: async (id) => world.machines.disturb(find(world, id), 'break-docker'),
    mendDocker: async (id) => world.machines.disturb(find(world, id), 'mend-docker'),
    exhaustMemory: async (id) => world.machines.disturb(find(world, id), 'exhaust-memory'),
    failProgram: async (id) => world.machines.disturb(find(world, id), 'fail-program'),
    cutOff: async (id) => world.machines.disturb(find(world, id), 'cut-off'),
    reconnect: async (id) => world.machines.disturb(find(world, id), 'reconnect'),
    loseAgentAnswers: async (id) => world.machines.disturb(find(world, id), 'lose-answers'),
    repeatAgentRequests: async (id) => world.machines.disturb(find(world, id), 'repeat-requests'),
    spotNotice: (id, inSeconds) => {
      const instance = find(world, id);
      const at = new Date(Date.now() + inSeconds * 1000);
      instance.spotActionAt = `${at.toISOString().slice(0, 19)}Z`;
      world.machines.terminateAt(instance, at, STATE_REASONS.spot);
    },
    publishImage: () => void world.images.unshift(newestImage(world.images)),
    clear: () => {
      failures.length = 0;
      losses.length = 0;
      delays.length = 0;
      throttles.clear();
      denied.clear();
      world.s3.elsewhere.clear();
      world.s3.listable.clear();
      world.zonesOut.clear();
      world.settings.endAtLaunch = undefined;
      world.settings.snapshotEnd = 'completed';
    },
  };
  return {
    faults,
    beforeCall: (action) => {
      const until = Math.max(throttles.get(action) ?? 0, throttles.get('*') ?? 0);
      if (Date.now() < until) throw new CloudError('RequestLimitExceeded', 'Request limit exceeded.');
      const failure = takeNext(failures, action);
      if (failure !== undefined) throw failure;
      if (denied.has(action) || denied.has('*')) throw notAuthorized(world, action);
    },
    afterCall: (action) => ({
      isAnswerLost: takeNext(losses, action) ?? false,
      delayMs: takeNext(delays, action) ?? 0,
    }),
  };
}

/** Each service's own refusal; EC2's names caller and resource, with a message that only administrators can decode. */
function notAuthorized({ accountId, region }: World, action: string): CloudError {
  if (/Object|Bucket/.test(action)) return new CloudError('AccessDenied', 'Access Denied');
  const [service, code] =
    action === 'GetAuthorizationToken' ? ['ecr', 'AccessDeniedException'] : ['ec2', 'UnauthorizedOperation'];
  const user = `arn:aws:sts::${accountId}:assumed-role/scheduler-api/i-0123456789abcdef0`;
  const denial = `User: ${user} is not authorized to perform: ${service}:${action} on resource: arn:aws:${service}:${region}:${accountId}:* because no identity-based policy allows the ${service}:${action} action.`;
  if (service === 'ecr') return new CloudError(code, denial, 400);
  const encoded = Buffer.from(denial.repeat(4)).toString('base64url');
  const message = `You are not authorized to perform this operation. ${denial} Encoded authorization failure message: ${encoded}`;
  return new CloudError(code, message);
}

type Pending<T> = { readonly action: string; readonly value: T; left: number };

function takeNext<T>(pending: Pending<T>[], action: string): T | undefined {
  const index = pending.findIndex((entry) => entry.action === action || entry.action === '*');
  const entry = pending[index];
  if (entry === undefined) return undefined;
  entry.left -= 1;
  if (entry.left <= 0) pending.splice(index, 1);
  return entry.value;
}

function find(world: World, id: string): CloudInstance {
  const instance = world.instances.get(id);
  if (instance === undefined) throw new Error(`no instance ${id}`);
  return instance;
}
