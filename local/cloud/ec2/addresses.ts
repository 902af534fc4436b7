import { CloudError } from '../errors.ts';
import { readFilters, type Filters } from '../filters.ts';
import type { CloudInstance } from '../instance.ts';
import { automaticPublicIp, type ElasticAddress, type World } from '../world.ts';
import { namedInstances, tagSet, type Action } from './action.ts';
import { readTagSpecifications } from './tags.ts';

export const allocateAddress: Action = {
  parameters: ['Domain', 'TagSpecification', 'NetworkBorderGroup'],
  run: ({ params, world, confirm }) => {
    params.oneOf('Domain', ['vpc']);
    const tags = readTagSpecifications(params, ['elastic-ip']).get('elastic-ip');
    if (world.addresses.size >= world.settings.addressLimit) {
      throw new CloudError('AddressLimitExceeded', 'The maximum number of addresses has been reached.');
    }
    confirm();
    const allocationId = world.newId('eipalloc');
    const publicIp = world.network.takeElasticAddress();
    world.addresses.set(allocationId, { allocationId, publicIp, instanceId: undefined, associationId: undefined });
    world.onAddress(allocationId, publicIp);
    if (tags !== undefined) world.tags.set(allocationId, tags);
    return { publicIp, allocationId, domain: 'vpc', publicIpv4Pool: 'amazon', networkBorderGroup: world.region };
  },
};

export const associateAddress: Action = {
  parameters: ['AllocationId', 'PublicIp', 'InstanceId', 'AllowReassociation'],
  run: ({ params, world, confirm, note }) => {
    const address = readAddress(params.text('AllocationId'), params.text('PublicIp'), world);
    const [instance] = namedInstances(world, [params.required('InstanceId')]);
    if (instance === undefined) throw new CloudError('InvalidInstanceID.NotFound', 'The instance does not exist');
    note([instance]);
    if (instance.state !== 'running' && instance.state !== 'stopped') {
      const message = `The pending instance '${instance.id}' is not in a valid state for this operation.`;
      throw new CloudError('IncorrectInstanceState', message);
    }
    const isElsewhere = address.instanceId !== undefined && address.instanceId !== instance.id;
    if (isElsewhere && params.boolean('AllowReassociation') === false) {
      const message = `resource ${address.allocationId} is already associated with associate-id ${address.associationId ?? ''}`;
      throw new CloudError('Resource.AlreadyAssociated', message);
    }
    confirm();
    if (isElsewhere) disassociate(world, address);
    for (const other of world.addresses.values()) {
      if (other !== address && other.instanceId === instance.id) disassociate(world, other);
    }
    address.associationId ??= world.newId('eipassoc');
    address.instanceId = instance.id;
    instance.publicIp = address.publicIp;
    return { return: true, associationId: address.associationId };
  },
};

export const disassociateAddress: Action = {
  parameters: ['AssociationId', 'PublicIp'],
  run: ({ params, world, confirm }) => {
    const associationId = params.text('AssociationId');
    const address =
      associationId === undefined
        ? readAddress(undefined, params.text('PublicIp'), world)
        : [...world.addresses.values()].find((candidate) => candidate.associationId === associationId);
    if (address === undefined) {
      throw new CloudError(
        'InvalidAssociationID.NotFound',
        `The association ID '${associationId ?? ''}' does not exist`,
      );
    }
    confirm();
    disassociate(world, address);
    return { return: true };
  },
};

export const releaseAddress: Action = {
  parameters: ['AllocationId', 'PublicIp', 'NetworkBorderGroup'],
  run: ({ params, world, confirm }) => {
    const address = readAddress(params.text('AllocationId'), params.text('PublicIp'), world);
    if (address.associationId !== undefined) {
      throw new CloudError('InvalidIPAddress.InUse', `Address ${address.publicIp} is in use.`);
    }
    confirm();
    world.addresses.delete(address.allocationId);
    world.network.giveBackElasticAddress(address.publicIp);
    world.tags.delete(address.allocationId);
    world.onAddress(address.allocationId, undefined);
    return { return: true };
  },
};

export const describeAddresses: Action = {
  parameters: ['AllocationId', 'PublicIp', 'Filter'],
  run: ({ params, world, confirm }) => {
    const named = [
      ...params.list('AllocationId').map((id) => readAddress(id, undefined, world)),
      ...params.list('PublicIp').map((ip) => readAddress(undefined, ip, world)),
    ];
    const found = [...world.addresses.values()]
      .filter((address) => named.length === 0 || named.includes(address))
      .filter(readFilters(params, filtersOf(world), ({ allocationId }) => world.tags.of(allocationId)));
    confirm();
    return { addressesSet: found.map((address) => addressItem(world, address)) };
  },
};

function readAddress(allocationId: string | undefined, publicIp: string | undefined, world: World): ElasticAddress {
  const all = [...world.addresses.values()];
  if (allocationId !== undefined) {
    const address = world.addresses.get(allocationId);
    if (address !== undefined) return address;
    throw new CloudError('InvalidAllocationID.NotFound', `The allocation ID '${allocationId}' does not exist`);
  }
  if (publicIp === undefined) {
    throw new CloudError('MissingParameter', 'Either public IP or allocation id must be specified');
  }
  const address = all.find((candidate) => candidate.publicIp === publicIp);
  if (address === undefined) throw new CloudError('InvalidAddress.NotFound', `Address '${publicIp}' not found.`);
  return address;
}

function disassociate(world: World, address: ElasticAddress): void {
  const instance: CloudInstance | undefined = world.instances.get(address.instanceId ?? '');
  if (instance !== undefined) {
    instance.publicIp = automaticPublicIp(instance);
  }
  address.instanceId = undefined;
  address.associationId = undefined;
}

function filtersOf(world: World): Filters<ElasticAddress> {
  const instanceOf = ({ instanceId = '' }: ElasticAddress) => world.instances.get(instanceId);
  return {
    'allocation-id': ({ allocationId }) => allocationId,
    'association-id': ({ associationId }) => associationId,
    domain: () => 'vpc',
    'instance-id': ({ instanceId }) => instanceId,
    'network-interface-id': (address) => instanceOf(address)?.networkInterfaceId,
    'private-ip-address': (address) => instanceOf(address)?.privateIp,
    'public-ip': ({ publicIp }) => publicIp,
  };
}

function addressItem(world: World, address: ElasticAddress) {
  const instance = world.instances.get(address.instanceId ?? '');
  return {
    publicIp: address.publicIp,
    allocationId: address.allocationId,
    domain: 'vpc',
    instanceId: instance?.id,
    associationId: address.associationId,
    networkInterfaceId: instance?.networkInterfaceId,
    networkInterfaceOwnerId: instance === undefined ? undefined : world.accountId,
    privateIpAddress: instance?.privateIp,
    publicIpv4Pool: 'amazon',
    networkBorderGroup: world.region,
    tagSet: tagSet(world.tags.of(address.allocationId)),
  };
}
