import { CloudError } from '../errors.ts';
import type { BlockDevice, LaunchSpec, Market } from '../instance.ts';
import { findInstanceType } from '../instance-types.ts';
import type { Image } from '../images.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import { findImage } from './images.ts';
import { findSecurityGroup, findSubnet } from './network.ts';
import { readTagSpecifications } from './tags.ts';

/** A checked RunInstances call; what differs per instance (ids, addresses, subnet when none was named) is still open. */
export type LaunchRequest = {
  readonly least: number;
  readonly most: number;
  readonly clientToken: string | undefined;
  /** Zone or region: what the client token is unique in. */
  readonly tokenScope: string;
  /** In the order they are tried; one only when the call named a subnet or a zone. */
  readonly subnetIds: readonly string[];
  /** Whether it named one. */
  readonly isZoneNamed: boolean;
  readonly userData: string;
  /** Of the instances: those of disks, interfaces and Spot requests are nowhere to be read. */
  readonly tags: ReadonlyMap<string, string>;
  readonly blockDevices: readonly Omit<BlockDevice, 'volumeId'>[];
  readonly spec: Omit<LaunchSpec, 'subnetId' | 'availabilityZone' | 'blockDevices'>;
};

export const LAUNCH_PARAMETERS = [
  'ImageId', 'InstanceType', 'MinCount', 'MaxCount', 'ClientToken', 'UserData', 'SubnetId', 'SecurityGroupId',
  'NetworkInterface', 'Placement', 'IamInstanceProfile', 'InstanceInitiatedShutdownBehavior', 'InstanceMarketOptions', 'BlockDeviceMapping',
  'MetadataOptions', 'TagSpecification', 'EbsOptimized', 'Monitoring', 'KeyName',
  // Read by EC2 and without meaning here: nothing an instance does in the local cloud depends on them.
  'CreditSpecification', 'CapacityReservationSpecification', 'PrivateDnsNameOptions', 'MaintenanceOptions', 'CpuOptions',
]; // prettier-ignore

/** @throws EC2's error for the first thing that is wrong */
export function readLaunchRequest(params: Params, world: World): LaunchRequest {
  const image = findImage(world, params.required('ImageId'));
  const type = readType(params, image);
  const { least, most } = readCounts(params);
  const network = readNetwork(params, world);
  const market = readMarket(params);
  if (params.has('KeyName')) {
    throw new CloudError('InvalidKeyPair.NotFound', `The key pair '${params.text('KeyName') ?? ''}' does not exist`);
  }
  return {
    least,
    most,
    clientToken: readClientToken(params),
    tokenScope: network.zone ?? world.region,
    subnetIds: network.subnetIds,
    isZoneNamed: network.zone !== undefined,
    userData: readUserData(params),
    tags: readTagSpecifications(params, TAGGABLE).get('instance') ?? new Map(),
    blockDevices: readBlockDevices(params, image),
    spec: {
      imageId: image.id,
      instanceType: type.name,
      vcpus: type.vcpus,
      architecture: type.architecture,
      vpcId: world.network.vpcId,
      securityGroupIds: network.securityGroupIds,
      market,
      shutdownBehavior: readShutdownBehavior(params, market),
      profile: readProfile(params.struct('IamInstanceProfile'), world),
      hasPublicIp: network.hasPublicIp,
      metadata: readMetadataOptions(params),
      isEbsOptimized: params.boolean('EbsOptimized') ?? false,
      isMonitored: params.struct('Monitoring')?.only(['Enabled']).boolean('Enabled') ?? false,
      rootDevice: image.rootDevice,
    },
  };
}

const TAGGABLE = ['instance', 'volume', 'network-interface', 'spot-instances-request'];
/** Raw bytes, before base64. */
const LONGEST_USER_DATA = 16_384;
const DEFAULT_TYPE = 'm1.small';

function readType(params: Params, image: Image) {
  const name = params.text('InstanceType') ?? DEFAULT_TYPE;
  const type = findInstanceType(name);
  if (type === undefined) throw new CloudError('InvalidParameterValue', `Invalid value '${name}' for InstanceType.`);
  if (type.architecture !== image.architecture) {
    const message = `The architecture '${type.architecture}' of the specified instance type does not match the architecture '${image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.`;
    throw new CloudError('InvalidParameterValue', message);
  }
  return type;
}

function readCounts(params: Params): { least: number; most: number } {
  const least = params.integer('MinCount');
  const most = params.integer('MaxCount');
  if (least === undefined || most === undefined) {
    const missing = least === undefined ? 'MinCount' : 'MaxCount';
    throw new CloudError('MissingParameter', `The request must contain the parameter ${missing}`);
  }
  if (least < 1) throw params.invalid('MinCount', String(least));
  if (most < least) {
    throw new CloudError(
      'InvalidParameterValue',
      `Value (${most}) for parameter MaxCount is invalid: less than MinCount (${least}).`,
    );
  }
  return { least, most };
}

function readClientToken(params: Params): string | undefined {
  const token = params.text('ClientToken');
  if (token === undefined || token === '') return undefined;
  // Printable ASCII, as documented.
  if (!/^[\x20-\x7e]{1,64}$/.test(token)) throw params.invalid('ClientToken', token);
  return token;
}

function readNetwork(params: Params, world: World) {
  const [device, ...more] = params.structs('NetworkInterface');
  if (more.length > 0)
    throw new CloudError('Unsupported', 'The local cloud gives every instance one network interface.');
  if (device !== undefined && (params.has('SubnetId') || params.has('SecurityGroupId'))) {
    const message =
      'Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request';
    throw new CloudError('InvalidParameterCombination', message);
  }
  const source = device?.only(DEVICE_FIELDS) ?? params;
  const groups = source.list('SecurityGroupId').map((id) => findSecurityGroup(world, id));
  const { subnetIds, zone } = readSubnets(
    source.text('SubnetId'),
    params.struct('Placement')?.only(['AvailabilityZone', 'Tenancy']),
    world,
  );
  return {
    subnetIds,
    zone,
    securityGroupIds: (groups.length > 0 ? groups : world.network.securityGroups.slice(0, 1)).map((group) => group.id),
    // The subnets of a default VPC give public addresses unless the call says otherwise.
    hasPublicIp: device?.boolean('AssociatePublicIpAddress') ?? true,
  };
}

const DEVICE_FIELDS = [
  'DeviceIndex',
  'SubnetId',
  'SecurityGroupId',
  'AssociatePublicIpAddress',
  'DeleteOnTermination',
  'Description',
];

function readSubnets(subnetId: string | undefined, placement: Params | undefined, world: World) {
  const zone = placement?.text('AvailabilityZone');
  placement?.oneOf('Tenancy', ['default']);
  if (subnetId !== undefined) {
    const subnet = findSubnet(world, subnetId);
    if (zone !== undefined && zone !== subnet.availabilityZone) {
      const message = `The subnet '${subnetId}' is in ${subnet.availabilityZone}, not in the Availability Zone '${zone}'`;
      throw new CloudError('InvalidParameterValue', message);
    }
    return { subnetIds: [subnetId], zone: subnet.availabilityZone };
  }
  const { subnets } = world.network;
  if (zone !== undefined) {
    const inZone = subnets.filter((subnet) => subnet.availabilityZone === zone).map((subnet) => subnet.id);
    if (inZone.length === 0) throw new CloudError('InvalidParameterValue', `Invalid availability zone: [${zone}]`);
    return { subnetIds: inZone, zone };
  }
  const first = world.random.between(0, subnets.length - 1);
  return {
    subnetIds: [...subnets.slice(first), ...subnets.slice(0, first)].map((subnet) => subnet.id),
    zone: undefined,
  };
}

function readUserData(params: Params): string {
  const encoded = params.text('UserData');
  if (encoded === undefined) return '';
  const compact = encoded.replace(/\s/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact) || compact.length % 4 !== 0) {
    throw new CloudError('InvalidUserData.Malformed', 'Invalid BASE64 encoding of user data.');
  }
  if (Buffer.from(compact, 'base64').length > LONGEST_USER_DATA) {
    throw new CloudError('InvalidUserData.Malformed', `User data is limited to ${LONGEST_USER_DATA} bytes`);
  }
  return compact;
}

// A highest price only makes interruptions likelier, and here they happen only on request.
const SPOT_FIELDS = ['SpotInstanceType', 'InstanceInterruptionBehavior', 'MaxPrice'];
const METADATA_FIELDS = [
  'HttpTokens',
  'HttpEndpoint',
  'HttpPutResponseHopLimit',
  'HttpProtocolIpv6',
  'InstanceMetadataTags',
];
// Disks are folders: how fast they are and with which key they are encrypted means nothing.
const EBS_FIELDS = [
  'VolumeSize',
  'VolumeType',
  'Iops',
  'Throughput',
  'Encrypted',
  'KmsKeyId',
  'SnapshotId',
  'DeleteOnTermination',
];

function readMarket(params: Params): Market {
  const options = params.struct('InstanceMarketOptions')?.only(['MarketType', 'SpotOptions']);
  if (options === undefined) return 'on-demand';
  const type = options.oneOf('MarketType', ['spot', 'capacity-block']);
  if (type === 'capacity-block') throw new CloudError('Unsupported', 'The local cloud has no capacity blocks.');
  const spot = options.struct('SpotOptions')?.only(SPOT_FIELDS);
  if (spot?.oneOf('SpotInstanceType', ['one-time', 'persistent']) === 'persistent') {
    throw new CloudError('Unsupported', 'The local cloud has one-time Spot requests only.');
  }
  const interruption = spot?.oneOf('InstanceInterruptionBehavior', ['terminate', 'stop', 'hibernate']) ?? 'terminate';
  if (interruption !== 'terminate') {
    const message = `The request with type 'one-time' is not supported when instanceInterruptionBehavior is set to '${interruption}'.`;
    throw new CloudError('InvalidParameterCombination', message);
  }
  return type === 'spot' ? 'spot' : 'on-demand';
}

/** What a one-time Spot request has made cannot be stopped, so it cannot stop itself either. */
function readShutdownBehavior(params: Params, market: Market): LaunchSpec['shutdownBehavior'] {
  const behavior = params.oneOf('InstanceInitiatedShutdownBehavior', ['stop', 'terminate']);
  if (market === 'spot' && behavior === 'stop') {
    const message =
      "The request with type 'one-time' is not supported when instanceInitiatedShutdownBehavior is set to 'stop'.";
    throw new CloudError('InvalidParameterCombination', message);
  }
  return behavior ?? (market === 'spot' ? 'terminate' : 'stop');
}

function readProfile(profile: Params | undefined, { settings, accountId }: World): string | undefined {
  if (profile === undefined) return undefined;
  const [name, arn] = [profile.only(['Name', 'Arn']).text('Name'), profile.text('Arn')];
  if (name !== undefined && arn !== undefined) {
    const message =
      "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'";
    throw new CloudError('InvalidParameterCombination', message);
  }
  if (arn !== undefined) {
    const [, account, named = ''] = /^arn:aws:iam::(\d{12}):instance-profile\/(?:.*\/)?([^/]+)$/.exec(arn) ?? [];
    if (account === accountId && settings.profiles.includes(named)) return arn;
    throw invalidProfile(
      `Value (${arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN`,
    );
  }
  if (name === undefined || settings.profiles.includes(name)) return name;
  throw invalidProfile(
    `Value (${name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name`,
  );
}

function invalidProfile(message: string): CloudError {
  return new CloudError('InvalidParameterValue', message);
}

function readMetadataOptions(params: Params): LaunchSpec['metadata'] {
  const options = params.struct('MetadataOptions')?.only(METADATA_FIELDS);
  const hopLimit = options?.integer('HttpPutResponseHopLimit') ?? 2;
  if (hopLimit < 1 || hopLimit > 64) {
    throw new CloudError(
      'InvalidParameterValue',
      `Value (${hopLimit}) for parameter HttpPutResponseHopLimit is invalid.`,
    );
  }
  if (options?.oneOf('HttpTokens', ['required', 'optional']) === 'optional') {
    throw new CloudError(
      'Unsupported',
      'The local cloud has IMDSv2 only: MetadataOptions.HttpTokens must be required.',
    );
  }
  options?.oneOf('HttpProtocolIpv6', ['disabled']);
  return {
    hopLimit,
    isEnabled: options?.oneOf('HttpEndpoint', ['enabled', 'disabled']) !== 'disabled',
    areTagsEnabled: options?.oneOf('InstanceMetadataTags', ['enabled', 'disabled']) === 'enabled',
  };
}

function readBlockDevices(params: Params, image: Image): Omit<BlockDevice, 'volumeId'>[] {
  const devices = params
    .structs('BlockDeviceMapping')
    .map((device) => device.only(['DeviceName', 'NoDevice', 'Ebs']))
    .filter((device) => !device.has('NoDevice'));
  const named = devices.map((device) => {
    const name = device.required('DeviceName');
    const ebs = device.struct('Ebs')?.only(EBS_FIELDS);
    const isRoot = name === image.rootDevice;
    const size = ebs?.integer('VolumeSize');
    if (isRoot && size !== undefined && size < image.rootGiB) {
      const message = `Volume of size ${size}GB is smaller than snapshot '${image.snapshotId}', expect size >= ${image.rootGiB}GB`;
      throw new CloudError('InvalidBlockDeviceMapping', message);
    }
    ebs?.oneOf('VolumeType', ['gp2', 'gp3', 'io1', 'io2', 'st1', 'sc1', 'standard']);
    // Root volumes are deleted with the instance by default, further ones stay.
    return { name, isDeletedOnTermination: ebs?.boolean('DeleteOnTermination') ?? isRoot };
  });
  const hasRoot = named.some((device) => device.name === image.rootDevice);
  return hasRoot ? named : [{ name: image.rootDevice, isDeletedOnTermination: true }, ...named];
}
