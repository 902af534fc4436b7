import { CloudError } from '../errors.ts';
import type { BlockDevice, LaunchSpec, Market } from '../instance.ts';
import { findInstanceType } from '../instance-types.ts';
import type { Image } from '../images.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import { findImage } from './images.ts';
import { findSecurityGroup, findSecurityGroupByName, findSubnet } from './network.ts';
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
  readonly userData: string;
  readonly tags: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly blockDevices: readonly Omit<BlockDevice, 'volumeId'>[];
  readonly spec: Omit<LaunchSpec, 'subnetId' | 'availabilityZone' | 'blockDevices'>;
};

export const LAUNCH_PARAMETERS = [
  'ImageId', 'InstanceType', 'MinCount', 'MaxCount', 'ClientToken', 'UserData', 'SubnetId', 'SecurityGroupId', 'SecurityGroup',
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
  const profile = params.struct('IamInstanceProfile');
  if (params.has('KeyName')) {
    throw new CloudError('InvalidKeyPair.NotFound', `The key pair '${params.text('KeyName') ?? ''}' does not exist`);
  }
  return {
    least,
    most,
    clientToken: readClientToken(params),
    tokenScope: network.zone ?? world.region,
    subnetIds: network.subnetIds,
    userData: readUserData(params),
    tags: readTagSpecifications(params, TAGGABLE),
    blockDevices: readBlockDevices(params, image),
    spec: {
      imageId: image.id,
      instanceType: type.name,
      vcpus: type.vcpus,
      architecture: type.architecture,
      vpcId: world.network.vpcId,
      securityGroupIds: network.securityGroupIds,
      market: readMarket(params),
      shutdownBehavior: params.oneOf('InstanceInitiatedShutdownBehavior', ['stop', 'terminate']) ?? 'stop',
      profile: profile?.text('Arn') ?? profile?.text('Name'),
      hasPublicIp: network.hasPublicIp,
      metadata: readMetadataOptions(params),
      isEbsOptimized: params.boolean('EbsOptimized') ?? false,
      isMonitored: params.struct('Monitoring')?.boolean('Enabled') ?? false,
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
  if (
    device !== undefined &&
    (params.has('SubnetId') || params.has('SecurityGroupId') || params.has('SecurityGroup'))
  ) {
    const message =
      'Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request';
    throw new CloudError('InvalidParameterCombination', message);
  }
  const unknown = device?.names().find((name) => !DEVICE_FIELDS.includes(name));
  if (unknown !== undefined) {
    throw new CloudError('UnknownParameter', `The parameter NetworkInterface.1.${unknown} is not recognized`);
  }
  const source = device ?? params;
  const groups = [
    ...source.list('SecurityGroupId').map((id) => findSecurityGroup(world, id)),
    ...params.list('SecurityGroup').map((name) => findSecurityGroupByName(world, name)),
  ];
  const { subnetIds, zone } = readSubnets(source.text('SubnetId'), params.struct('Placement'), world);
  return {
    subnetIds,
    zone,
    securityGroupIds: (groups.length > 0 ? groups : world.network.securityGroups.slice(0, 1)).map((group) => group.id),
    // The subnets of a default VPC give public addresses unless told otherwise.
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

function readMarket(params: Params): Market {
  const options = params.struct('InstanceMarketOptions');
  if (options === undefined) return 'on-demand';
  const type = options.oneOf('MarketType', ['spot', 'capacity-block']);
  if (type === 'capacity-block') throw new CloudError('Unsupported', 'The local cloud has no capacity blocks.');
  const spot = options.struct('SpotOptions');
  if (spot?.oneOf('SpotInstanceType', ['one-time', 'persistent']) === 'persistent') {
    throw new CloudError('Unsupported', 'The local cloud has one-time Spot requests only.');
  }
  spot?.oneOf('InstanceInterruptionBehavior', ['terminate']);
  return type === 'spot' ? 'spot' : 'on-demand';
}

function readMetadataOptions(params: Params): LaunchSpec['metadata'] {
  const options = params.struct('MetadataOptions');
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
  return {
    hopLimit,
    isEnabled: options?.oneOf('HttpEndpoint', ['enabled', 'disabled']) !== 'disabled',
    areTagsEnabled: options?.oneOf('InstanceMetadataTags', ['enabled', 'disabled']) === 'enabled',
  };
}

function readBlockDevices(params: Params, image: Image): Omit<BlockDevice, 'volumeId'>[] {
  const devices = params.structs('BlockDeviceMapping').filter((device) => !device.has('NoDevice'));
  const named = devices.map((device) => {
    const name = device.required('DeviceName');
    const ebs = device.struct('Ebs');
    const isRoot = name === image.rootDevice;
    const size = ebs?.integer('VolumeSize');
    if (isRoot && size !== undefined && size < image.rootGiB) {
      const message = `Volume of size ${size}GB is smaller than snapshot '${image.snapshotId}', expect size >= ${image.rootGiB}GB`;
      throw new CloudError('InvalidBlockDeviceMapping', message);
    }
    ebs?.oneOf('VolumeType', ['gp2', 'gp3', 'io1', 'io2', 'st1', 'sc1', 'standard']);
    // Root volumes go with the instance by default, further ones stay.
    return { name, isDeletedOnTermination: ebs?.boolean('DeleteOnTermination') ?? isRoot };
  });
  const hasRoot = named.some((device) => device.name === image.rootDevice);
  return hasRoot ? named : [{ name: image.rootDevice, isDeletedOnTermination: true }, ...named];
}
