import type { AwsErrorKind } from '../../src/aws/aws-error.ts';
import {
  CLUSTER_TAG,
  type Ec2Health,
  type Ec2Instance,
  type Ec2InstanceState,
  LAUNCH_TAG,
} from '../../src/aws/ec2-types.ts';
import type { Offer } from '../../src/fleet/plan/plan-capacity.ts';
import type { Refusal } from '../../src/fleet/plan/plan-launch.ts';
import type { Timeline } from './timeline.ts';
import type { Weather } from './weather.ts';

export const CLUSTER = 'ours';

/** An instance as it really is, whatever a describe shows of it. */
export type CloudInstance = {
  readonly id: string;
  /** ClientToken of the call that made it; null = not ours. */
  readonly token: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly type: string;
  readonly launchedMs: number;
  readonly visibleMs: number;
  readonly states: { readonly fromMs: number; readonly state: Ec2InstanceState }[];
  isFrozen: boolean;
  isSpotNoticed: boolean;
};

export type RunAnswer =
  | { readonly instances: readonly Ec2Instance[] }
  | { readonly refusal: Refusal; /** Until the caller knows; beyond the usual. */ readonly afterMs: number };

type Call = { readonly token: string; readonly input: string; readonly count: number; readonly offer: Offer };

const START_MS = 5_000;
const END_MS = 8_000;
/** From pending to terminated when it cannot even start. */
const END_AT_ONCE_MS = 500;
/** A terminated instance loses its tags some time before EC2 forgets it. */
const TAGS_LOST_MS = 300_000;
const FORGOTTEN_MS = 3_600_000;
/** EC2's checks take a while to notice, and to pass after a boot. */
const CHECKS_MS = 60_000;
/** Our own adapter gives up on a call then. */
const TIMEOUT_MS = 30_000;

/** EC2 as far as we depend on it: eventually consistent, with ClientTokens, lost answers and refusals. */
export class ModelCloud {
  readonly instances = new Map<string, CloudInstance>();
  /** RunInstances by token: the parameters it was first called with, and what it made. */
  readonly tokens = new Map<string, { readonly input: string; readonly ids: string[] }>();
  onRunning: (instance: CloudInstance) => void = () => undefined;
  onEnd: (instance: CloudInstance) => void = () => undefined;

  constructor(
    private readonly timeline: Timeline,
    private readonly weather: () => Weather,
  ) {}

  /** The call as it arrives at EC2. Refusals come before the token is looked at, as EC2 does it. */
  run(call: Call): RunAnswer {
    const fault = this.weather().runs.shift() ?? 'answered';
    const kind = REFUSALS[fault];
    if (kind) return refused(kind);
    if (fault === 'error-without-effect') return refused('unknown-outcome');
    const known = this.tokens.get(call.token);
    if (known && known.input !== call.input) return refused('token-mismatch');
    if (known?.ids.every((id) => this.isOver(id))) return refused('token-spent');
    const ids = known?.ids ?? this.make(call, fault === 'partial' ? Math.ceil(call.count / 2) : call.count);
    if (fault === 'answer-lost') return refused('unknown-outcome');
    if (fault === 'late') return refused('unknown-outcome', TIMEOUT_MS);
    return { instances: ids.flatMap((id) => this.show(id, 0) ?? []) };
  }

  /** Somebody else's instance, or one of ours from a database that is lost. */
  addStranger(tags: Record<string, string>): string {
    const [id = ''] = this.add(1, { token: null, tags, type: 't3.small' });
    return id;
  }

  terminate(id: string): void {
    const instance = this.instances.get(id);
    if (!instance || this.isEnding(id)) return;
    this.onEnd(instance);
    this.enter(instance, 'shutting-down');
    this.timeline.after(END_MS, () => this.enter(instance, 'terminated'));
  }

  stop(id: string): void {
    const instance = this.instances.get(id);
    if (!instance || stateOf(instance) !== 'running') return;
    this.onEnd(instance);
    this.enter(instance, 'stopping');
    this.timeline.after(END_MS, () => {
      if (stateOf(instance) === 'stopping') this.enter(instance, 'stopped');
    });
  }

  byTag(): Ec2Instance[] {
    return this.describe(
      (one) => one.tags[CLUSTER_TAG] === CLUSTER && !(this.isOver(one.id) && this.sinceMs(one) > TAGS_LOST_MS),
    );
  }

  byIds(ids: readonly string[]): Ec2Instance[] {
    return this.describe(({ id }) => ids.includes(id));
  }

  byToken(token: string): Ec2Instance[] {
    return this.describe((one) => one.token === token);
  }

  health(id: string): Ec2Health {
    const instance = this.instances.get(id);
    if (!instance || stateOf(instance) !== 'running') return 'unknown';
    if (instance.isFrozen) return 'impaired';
    return this.sinceMs(instance) < CHECKS_MS ? 'initializing' : 'ok';
  }

  /** Costs money and may run something. */
  isAlive(id: string): boolean {
    const instance = this.instances.get(id);
    return instance !== undefined && !['shutting-down', 'terminated'].includes(stateOf(instance));
  }

  isRunning(id: string): boolean {
    const instance = this.instances.get(id);
    return instance !== undefined && stateOf(instance) === 'running';
  }

  private make({ token, input, offer }: Call, count: number): string[] {
    const ids = this.add(count, { token, tags: { [CLUSTER_TAG]: CLUSTER, [LAUNCH_TAG]: token }, type: offer.type });
    this.tokens.set(token, { input, ids });
    return ids;
  }

  private add(count: number, facts: Pick<CloudInstance, 'token' | 'tags' | 'type'>): string[] {
    const { nowMs } = this.timeline;
    return Array.from({ length: count }, () => {
      const instance: CloudInstance = {
        ...facts,
        id: `i-${this.instances.size + 1}`,
        launchedMs: nowMs,
        visibleMs: nowMs + this.weather().visibilityMs,
        states: [{ fromMs: nowMs, state: 'pending' }],
        isFrozen: false,
        isSpotNoticed: false,
      };
      this.instances.set(instance.id, instance);
      if (this.weather().launches === 'end-at-once') {
        this.timeline.after(END_AT_ONCE_MS, () => this.enter(instance, 'terminated'));
        return instance.id;
      }
      this.timeline.after(START_MS, () => {
        if (stateOf(instance) !== 'pending') return;
        this.enter(instance, 'running');
        this.onRunning(instance);
      });
      return instance.id;
    });
  }

  private enter(instance: CloudInstance, state: Ec2InstanceState): void {
    instance.states.push({ fromMs: this.timeline.nowMs, state });
  }

  private describe(isWanted: (instance: CloudInstance) => boolean): Ec2Instance[] {
    const { nowMs } = this.timeline;
    const found: Ec2Instance[] = [];
    for (const instance of this.instances.values()) {
      if (nowMs < instance.visibleMs || !isWanted(instance)) continue;
      if (this.isOver(instance.id) && this.sinceMs(instance) > FORGOTTEN_MS) continue;
      const shown = this.show(instance.id, this.weather().lagMs);
      if (shown) found.push(shown);
    }
    return found;
  }

  private show(id: string, lagMs: number): Ec2Instance | undefined {
    const instance = this.instances.get(id);
    if (!instance) return undefined;
    const asOfMs = Math.max(instance.launchedMs, this.timeline.nowMs - lagMs);
    const state = instance.states.findLast(({ fromMs }) => fromMs <= asOfMs)?.state ?? 'pending';
    return {
      id,
      state,
      stateReason: null,
      launchedAt: new Date(instance.launchedMs),
      availabilityZone: 'us-west-2a',
      type: instance.type,
      imageId: 'ami-0123456789abcdef0',
      privateIp: state === 'terminated' ? null : addressOf(id),
      publicIp: null,
      tags: instance.tags,
    };
  }

  private isOver(id: string): boolean {
    const instance = this.instances.get(id);
    return instance === undefined || stateOf(instance) === 'terminated';
  }

  private isEnding(id: string): boolean {
    return !this.isAlive(id);
  }

  private sinceMs({ states }: CloudInstance): number {
    return this.timeline.nowMs - (states.at(-1)?.fromMs ?? 0);
  }
}

function stateOf({ states }: CloudInstance): Ec2InstanceState {
  return states.at(-1)?.state ?? 'pending';
}

/** No two instances of a history have the same: what follows from one that EC2 gives again is tried elsewhere. */
export function addressOf(id: string): string {
  const number = Number(id.replace('i-', ''));
  return `10.0.${number >> 8}.${number & 255}`;
}

function refused(kind: AwsErrorKind, afterMs = 0): RunAnswer {
  const reason = kind === 'capacity' ? 'insufficient-capacity' : kind === 'throttled' ? 'ec2-throttled' : kind;
  return { refusal: { kind, reason, message: kind }, afterMs };
}

const REFUSALS: Partial<Record<string, AwsErrorKind>> = {
  throttled: 'throttled',
  capacity: 'capacity',
  quota: 'quota',
  address: 'address',
  account: 'account',
  permission: 'permission',
};
