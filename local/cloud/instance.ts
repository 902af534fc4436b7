import type { Architecture } from './instance-types.ts';

export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';
export type Market = 'on-demand' | 'spot';
export type StateReason = { readonly code: string; readonly message: string };

/** What RunInstances asked for, resolved; never changes. */
export type LaunchSpec = {
  readonly imageId: string;
  readonly instanceType: string;
  readonly vcpus: number;
  readonly architecture: Architecture;
  readonly subnetId: string;
  readonly vpcId: string;
  readonly availabilityZone: string;
  readonly securityGroupIds: readonly string[];
  readonly market: Market;
  readonly shutdownBehavior: 'stop' | 'terminate';
  readonly profile: string | undefined;
  readonly hasPublicIp: boolean;
  readonly metadata: { readonly hopLimit: number; readonly isEnabled: boolean; readonly areTagsEnabled: boolean };
  readonly isEbsOptimized: boolean;
  readonly isMonitored: boolean;
  readonly rootDevice: string;
  readonly blockDevices: readonly BlockDevice[];
};

export type BlockDevice = {
  readonly name: string;
  readonly volumeId: string;
  readonly isDeletedOnTermination: boolean;
};

/** One instance, from its launch for ever: terminated ones leave the API after an hour and stay in the ledger. */
export type CloudInstance = {
  readonly id: string;
  /** Counts all launches of this cloud; the order of lists and the position in pages. */
  readonly sequence: number;
  readonly reservationId: string;
  readonly launchIndex: number;
  readonly clientToken: string | undefined;
  readonly networkInterfaceId: string;
  readonly spotRequestId: string | undefined;
  readonly privateIp: string;
  readonly spec: LaunchSpec;
  /** As given, base64. Not kept between runs: it holds secrets. */
  readonly userData: string;
  readonly launchedAt: string;
  state: InstanceState;
  stateReason: StateReason | undefined;
  /** The identity document's pendingTime. ISO 8601. */
  pendingAt: string;
  runningAt: string | undefined;
  terminatedAt: string | undefined;
  publicIp: string | undefined;
  bootCount: number;
  isFrozen: boolean;
  spotActionAt: string | undefined;
  /** Describe calls do not see the instance before (ms since 1970): EC2 is eventually consistent. */
  readonly visibleAtMs: number;
  readonly history: { readonly state: InstanceState; readonly at: string; readonly reason?: string }[];
};

export const STATE_CODES: Readonly<Record<InstanceState, number>> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

export const STATE_REASONS = {
  byUser: { code: 'Client.UserInitiatedShutdown', message: 'Client.UserInitiatedShutdown: User initiated shutdown' },
  byGuest: {
    code: 'Client.InstanceInitiatedShutdown',
    message: 'Client.InstanceInitiatedShutdown: Instance initiated shutdown',
  },
  hostFailed: { code: 'Server.InternalError', message: 'Server.InternalError: Internal error on launch' },
  spot: {
    code: 'Server.SpotInstanceTermination',
    message: 'Server.SpotInstanceTermination: Spot instance termination',
  },
} as const satisfies Record<string, StateReason>;

/** EC2's words for a state reason's code, as far as it has any of its own. */
export function stateReasonOf(code: string): StateReason {
  return { code, message: `${code}: ${LAUNCH_FAILURES[code] ?? 'Internal error on launch'}` };
}

const LAUNCH_FAILURES: Readonly<Record<string, string>> = {
  'Client.InternalError': 'Client error on launch',
  'Client.InvalidSnapshot.NotFound': 'The specified snapshot was not found',
  'Client.VolumeLimitExceeded': 'Volume limit exceeded',
  'Server.InsufficientInstanceCapacity': 'There was insufficient capacity available to satisfy the launch request',
};

export function isAlive(instance: CloudInstance): boolean {
  return instance.state !== 'terminated';
}
