// Our own types for what the rest of the program uses of EC2; the SDK's types stay in this folder.

/** An instance as a describe shows it. */
export type Ec2Instance = {
  readonly id: string;
  readonly state: Ec2InstanceState;
  /** EC2's own code, like Server.SpotInstanceTermination; null while nothing happened. */
  readonly stateReason: string | null;
  readonly launchedAt: Date;
  readonly availabilityZone: string | null;
  readonly type: string | null;
  readonly imageId: string | null;
  readonly privateIp: string | null;
  readonly publicIp: string | null;
  readonly tags: Readonly<Record<string, string>>;
};

export type Ec2InstanceState = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';

/** An image instances are launched from. */
export type Ami = {
  readonly id: string;
  /** A mapping of any other name is a second volume. */
  readonly rootDevice: string;
  /** Size of its snapshot: no disk may be smaller. Absent: EC2 did not return it. */
  readonly rootGiB?: number | undefined;
  /** As EC2 calls it: x86_64, arm64 and others; null: EC2 did not return it. */
  readonly architecture: string | null;
};

/** EC2's own checks of an instance: `impaired` when one fails, `unknown` when EC2 did not return them. */
export type Ec2Health = 'ok' | 'impaired' | 'initializing' | 'unknown';

/** RunInstances as it is sent, except the ClientToken. Plain JSON: it is stored and repeated byte for byte. */
export type RunInput = {
  readonly ImageId: string;
  readonly InstanceType: string;
  readonly MinCount: number;
  readonly MaxCount: number;
  /** Base64. */
  readonly UserData: string;
  readonly InstanceInitiatedShutdownBehavior: 'terminate';
  readonly MetadataOptions: {
    readonly HttpEndpoint: 'enabled';
    readonly HttpTokens: 'required';
    readonly HttpPutResponseHopLimit: number;
    readonly InstanceMetadataTags: 'disabled';
  };
  readonly BlockDeviceMappings: {
    readonly DeviceName: string;
    readonly Ebs: {
      readonly VolumeType: 'gp3';
      readonly VolumeSize: number;
      readonly Encrypted: true;
      readonly DeleteOnTermination: true;
    };
  }[];
  readonly NetworkInterfaces: {
    readonly DeviceIndex: number;
    readonly SubnetId: string;
    readonly AssociatePublicIpAddress: boolean;
    readonly DeleteOnTermination: true;
    readonly Groups?: string[];
  }[];
  readonly IamInstanceProfile?: { readonly Name: string };
  readonly InstanceMarketOptions?: {
    readonly MarketType: 'spot';
    readonly SpotOptions: { readonly SpotInstanceType: 'one-time'; readonly InstanceInterruptionBehavior: 'terminate' };
  };
  readonly TagSpecifications: { readonly ResourceType: TaggedResource; readonly Tags: Tag[] }[];
};

/** A snapshot of ours as a describe shows it. */
export type Ec2Snapshot = {
  readonly id: string;
  readonly volumeId: string;
  readonly state: 'pending' | 'completed' | 'error' | 'recoverable' | 'recovering';
  readonly startedAt: Date;
  readonly tags: Readonly<Record<string, string>>;
};

export type TaggedResource = 'instance' | 'volume' | 'network-interface' | 'spot-instances-request';
export type Tag = { readonly Key: string; readonly Value: string };

/** On everything this cluster launches; the sweep lists by it, and an IAM policy can demand it. */
export const CLUSTER_TAG = 'scheduler-api:cluster';
/** Id of the launch: by it an instance found in EC2 is matched with our row. */
export const LAUNCH_TAG = 'scheduler-api:launch';
/** On all that Terraform made for the cluster of that name, and on the snapshots of its volume. */
export const STACK_TAG = 'scheduler-api:stack';
/** Id of our row: on the snapshots that we made, and on no other. Only those are ever deleted. */
export const SNAPSHOT_TAG = 'scheduler-api:snapshot';
