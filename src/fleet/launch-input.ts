import type { Ami, RunInput, TaggedResource } from '../aws/ec2-types.js';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import type { Offer } from './plan/plan-capacity.js';

export type LaunchInputParts = {
  readonly spec: Pick<ShapeSpec, 'profile' | 'diskGiB' | 'publicIp'>;
  /** None = the VPC's default group. */
  readonly securityGroupIds: readonly string[];
  readonly offer: Offer;
  readonly count: number;
  readonly ami: Ami;
  readonly userDataBase64: string;
  readonly launchId: string;
  readonly cluster: string;
  /** Tag keys, from src/aws, which a pure file must not import. */
  readonly tagKeys: { readonly cluster: string; readonly launch: string };
};

/** The complete RunInstances input of a launch; the same parts give the same bytes. */
export function launchInput(parts: LaunchInputParts): RunInput {
  const { spec, securityGroupIds, offer, count, ami, userDataBase64, launchId, cluster, tagKeys } = parts;
  const isSpot = offer.market === 'spot';
  // An IAM policy that demands our tag refuses a call that leaves out any resource it creates.
  const tagged: TaggedResource[] = ['instance', 'volume', 'network-interface'];
  if (isSpot) tagged.push('spot-instances-request');
  return {
    ImageId: ami.id,
    InstanceType: offer.type,
    // EC2 launches as many as it has: the rest is launched elsewhere.
    MinCount: 1,
    MaxCount: count,
    UserData: userDataBase64,
    // So that the agent's dead-man switch terminates the instance, which ends the bill, instead of stopping it.
    InstanceInitiatedShutdownBehavior: 'terminate',
    MetadataOptions: {
      HttpEndpoint: 'enabled',
      HttpTokens: 'required',
      // The hop to a container is the second: only the container of a job that names a profile may read credentials.
      HttpPutResponseHopLimit: spec.profile === null ? 1 : 2,
      InstanceMetadataTags: 'disabled',
    },
    BlockDeviceMappings: [
      {
        DeviceName: ami.rootDevice,
        Ebs: { VolumeType: 'gp3', VolumeSize: spec.diskGiB, Encrypted: true, DeleteOnTermination: true },
      },
    ],
    NetworkInterfaces: [
      {
        DeviceIndex: 0,
        SubnetId: offer.subnetId,
        AssociatePublicIpAddress: spec.publicIp,
        DeleteOnTermination: true,
        ...(securityGroupIds.length > 0 && { Groups: [...securityGroupIds] }),
      },
    ],
    ...(spec.profile !== null && { IamInstanceProfile: { Name: spec.profile } }),
    ...(isSpot && {
      // Without MaxPrice: a maximum only makes interruptions likelier.
      InstanceMarketOptions: {
        MarketType: 'spot' as const,
        SpotOptions: { SpotInstanceType: 'one-time' as const, InstanceInterruptionBehavior: 'terminate' as const },
      },
    }),
    TagSpecifications: tagged.map((ResourceType) => ({
      ResourceType,
      Tags: [
        { Key: tagKeys.cluster, Value: cluster },
        { Key: tagKeys.launch, Value: launchId },
      ],
    })),
  };
}
