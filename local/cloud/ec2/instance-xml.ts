import { STATE_CODES, type CloudInstance, type InstanceState, type StateReason } from '../instance.ts';
import { hostname } from '../metadata.ts';
import type { World } from '../world.ts';
import type { XmlValue } from '../xml.ts';
import { tagSet } from './action.ts';

/** `Instance` of the API reference, as RunInstances and DescribeInstances return it. */
export function instanceItem(world: World, instance: CloudInstance): XmlValue {
  const { spec, state } = instance;
  const isTerminated = state === 'terminated';
  const groups = groupSet(world, spec.securityGroupIds);
  return {
    instanceId: instance.id,
    imageId: spec.imageId,
    instanceState: stateItem(state),
    privateDnsName: isTerminated ? '' : hostname(instance.privateIp, world.region),
    dnsName:
      instance.publicIp === undefined
        ? ''
        : `ec2-${instance.publicIp.replaceAll('.', '-')}.${world.region}.compute.amazonaws.com`,
    reason: stateTransitionReason(instance),
    amiLaunchIndex: instance.launchIndex,
    productCodes: [],
    instanceType: spec.instanceType,
    launchTime: new Date(instance.pendingAt),
    placement: { availabilityZone: spec.availabilityZone, groupName: '', tenancy: 'default' },
    monitoring: { state: spec.isMonitored ? 'enabled' : 'disabled' },
    // The network ended with the instance: callers must not read an address that may be another instance's by now.
    ...(isTerminated ? { groupSet: [] } : networkFields(world, instance, groups)),
    stateReason: shownReason(instance),
    architecture: spec.architecture,
    rootDeviceType: 'ebs',
    rootDeviceName: spec.rootDevice,
    blockDeviceMapping: isTerminated ? [] : spec.blockDevices.map((device) => deviceItem(instance, device)),
    virtualizationType: 'hvm',
    clientToken: instance.clientToken ?? '',
    instanceLifecycle: spec.market === 'spot' ? 'spot' : undefined,
    spotInstanceRequestId: instance.spotRequestId,
    tagSet: tagSet(world.tags.of(instance.id)),
    hypervisor: 'xen',
    iamInstanceProfile: spec.profile === undefined ? undefined : profileItem(world, spec.profile),
    ebsOptimized: spec.isEbsOptimized,
    enaSupport: true,
    cpuOptions: { coreCount: Math.max(1, Math.floor(spec.vcpus / 2)), threadsPerCore: spec.vcpus > 1 ? 2 : 1 },
    capacityReservationSpecification: { capacityReservationPreference: 'open' },
    hibernationOptions: { configured: false },
    metadataOptions: {
      state: state === 'pending' ? 'pending' : 'applied',
      httpTokens: 'required',
      httpPutResponseHopLimit: spec.metadata.hopLimit,
      httpEndpoint: spec.metadata.isEnabled ? 'enabled' : 'disabled',
      httpProtocolIpv6: 'disabled',
      instanceMetadataTags: spec.metadata.areTagsEnabled ? 'enabled' : 'disabled',
    },
    enclaveOptions: { enabled: false },
    bootMode: 'uefi-preferred',
    platformDetails: 'Linux/UNIX',
    usageOperation: 'RunInstances',
    usageOperationUpdateTime: new Date(instance.launchedAt),
    maintenanceOptions: { autoRecovery: 'default' },
    currentInstanceBootMode: spec.architecture === 'arm64' ? 'uefi' : 'legacy-bios',
  };
}

export function reservationItem(world: World, instances: readonly CloudInstance[], reservationId: string) {
  return {
    reservationId,
    ownerId: world.accountId,
    groupSet: [],
    instancesSet: instances.map((instance) => instanceItem(world, instance)),
  };
}

/** The reason that describe calls return: for a pending instance EC2 gives `pending`. */
export function shownReason({ state, stateReason }: CloudInstance): StateReason | undefined {
  return state === 'pending' ? { code: 'pending', message: 'pending' } : stateReason && { ...stateReason };
}

export function stateItem(state: InstanceState) {
  return { code: STATE_CODES[state], name: state };
}

export function stateTransitionReason({ stateReason, history }: CloudInstance): string {
  if (stateReason === undefined) return '';
  const at = history.findLast((entry) => entry.reason === stateReason.code)?.at ?? '';
  const words = stateReason.message.split(': ').slice(1).join(': ');
  // EC2's form: `User initiated (2026-01-05 18:00:00 GMT)`.
  const text = stateReason.code === 'Client.UserInitiatedShutdown' ? 'User initiated' : words;
  return `${text} (${at.slice(0, 19).replace('T', ' ')} GMT)`;
}

export function profileArn(world: World, profile: string): string {
  return profile.startsWith('arn:') ? profile : `arn:aws:iam::${world.accountId}:instance-profile/${profile}`;
}

function profileItem(world: World, profile: string) {
  return {
    arn: profileArn(world, profile),
    id: `AIPALOCAL${Buffer.from(profile).toString('hex').toUpperCase().slice(-12).padStart(12, '0')}`,
  };
}

function groupSet(world: World, ids: readonly string[]) {
  return ids.map((groupId) => ({
    groupId,
    groupName: world.network.securityGroups.find((group) => group.id === groupId)?.name,
  }));
}

function deviceItem(instance: CloudInstance, device: CloudInstance['spec']['blockDevices'][number]) {
  const { name, volumeId, isDeletedOnTermination } = device;
  const status = instance.state === 'pending' ? 'attaching' : 'attached';
  return {
    deviceName: name,
    ebs: { volumeId, status, attachTime: new Date(instance.launchedAt), deleteOnTermination: isDeletedOnTermination },
  };
}

function networkFields(
  world: World,
  instance: CloudInstance,
  groups: ReturnType<typeof groupSet>,
): { [name: string]: XmlValue } {
  const { spec, privateIp, publicIp } = instance;
  const elastic = [...world.addresses.values()].some((address) => address.instanceId === instance.id);
  const association =
    publicIp === undefined ? undefined : { publicIp, ipOwnerId: elastic ? world.accountId : 'amazon' };
  const privateDnsName = hostname(privateIp, world.region);
  return {
    subnetId: spec.subnetId,
    vpcId: spec.vpcId,
    privateIpAddress: privateIp,
    ipAddress: publicIp,
    sourceDestCheck: true,
    groupSet: groups,
    networkInterfaceSet: [
      {
        networkInterfaceId: instance.networkInterfaceId,
        subnetId: spec.subnetId,
        vpcId: spec.vpcId,
        description: '',
        ownerId: world.accountId,
        status: 'in-use',
        privateIpAddress: privateIp,
        privateDnsName,
        sourceDestCheck: true,
        groupSet: groups,
        attachment: {
          deviceIndex: 0,
          status: 'attached',
          attachTime: new Date(instance.launchedAt),
          deleteOnTermination: true,
          networkCardIndex: 0,
        },
        association,
        privateIpAddressesSet: [{ privateIpAddress: privateIp, privateDnsName, primary: true, association }],
        ipv6AddressesSet: [],
        interfaceType: 'interface',
      },
    ],
  };
}
