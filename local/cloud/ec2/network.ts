import { CloudError } from '../errors.ts';
import { readFilters, readPage, type Filters } from '../filters.ts';
import { subnetNotFound, type SecurityGroup, type Subnet } from '../network.ts';
import type { World } from '../world.ts';
import { tagSet, type Action } from './action.ts';

export const describeSubnets: Action = {
  parameters: ['SubnetId', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const { subnets } = world.network;
    const ids = params.list('SubnetId');
    ids.forEach((id) => findSubnet(world, id));
    const filter = readFilters(params, FILTERS, ({ id }) => world.tags.of(id));
    const found = subnets.filter((subnet) => ids.length === 0 || ids.includes(subnet.id)).filter(filter);
    const { page, nextToken } = readPage(params, found, (subnet) => subnets.indexOf(subnet) + 1, {
      least: 5,
      most: 1000,
    });
    confirm();
    return { subnetSet: page.map((subnet) => subnetItem(world, subnet)), nextToken };
  },
};

export function findSubnet(world: World, id: string): Subnet {
  const subnet = world.network.subnets.find((candidate) => candidate.id === id);
  if (subnet === undefined) throw subnetNotFound(id);
  return subnet;
}

export function findSecurityGroup(world: World, id: string): SecurityGroup {
  const group = world.network.securityGroups.find((candidate) => candidate.id === id);
  if (group === undefined) throw new CloudError('InvalidGroup.NotFound', `The security group '${id}' does not exist`);
  return group;
}

const FILTERS: Filters<Subnet> = {
  'availability-zone': ({ availabilityZone }) => availabilityZone,
  'default-for-az': () => 'true',
  state: () => 'available',
  'subnet-id': ({ id }) => id,
  'vpc-id': ({ vpcId }) => vpcId,
};

function subnetItem(world: World, subnet: Subnet) {
  return {
    subnetId: subnet.id,
    subnetArn: `arn:aws:ec2:${world.region}:${world.accountId}:subnet/${subnet.id}`,
    state: 'available',
    ownerId: world.accountId,
    vpcId: subnet.vpcId,
    cidrBlock: subnet.cidr,
    ipv6CidrBlockAssociationSet: [],
    assignIpv6AddressOnCreation: false,
    availableIpAddressCount: world.network.freeAddresses(subnet.id),
    availabilityZone: subnet.availabilityZone,
    availabilityZoneId: subnet.availabilityZoneId,
    defaultForAz: true,
    mapPublicIpOnLaunch: true,
    ipv6Native: false,
    tagSet: tagSet(world.tags.of(subnet.id)),
  };
}
