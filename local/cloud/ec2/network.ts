import { CloudError } from '../errors.ts';
import { readFilters, readPage, tagFilterValues } from '../filters.ts';
import { subnetNotFound, type SecurityGroup, type Subnet } from '../network.ts';
import type { World } from '../world.ts';
import { tagSet, type Action } from './action.ts';

export const describeSubnets: Action = {
  parameters: ['SubnetId', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const { subnets } = world.network;
    const ids = params.list('SubnetId');
    ids.forEach((id) => findSubnet(world, id));
    const filter = readFilters<Subnet | undefined>(
      params,
      (subnet, name) => subnetValues(world, subnet, name),
      subnets[0],
    );
    const found = subnets.filter((subnet) => ids.length === 0 || ids.includes(subnet.id)).filter(filter);
    const { page, nextToken } = readPage(params, found, (subnet) => subnets.indexOf(subnet) + 1, {
      least: 5,
      most: 1000,
    });
    confirm();
    return { subnetSet: page.map((subnet) => subnetItem(world, subnet)), nextToken };
  },
};

export const describeSecurityGroups: Action = {
  parameters: ['GroupId', 'GroupName', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const { securityGroups } = world.network;
    const named = [
      ...params.list('GroupId').map((id) => findSecurityGroup(world, id)),
      ...params.list('GroupName').map((name) => findSecurityGroupByName(world, name)),
    ];
    const values = (group: SecurityGroup | undefined, name: string) => groupValues(world, group, name);
    const found = securityGroups
      .filter((group) => named.length === 0 || named.includes(group))
      .filter(readFilters<SecurityGroup | undefined>(params, values, securityGroups[0]));
    const { page, nextToken } = readPage(params, found, (group) => securityGroups.indexOf(group) + 1, {
      least: 5,
      most: 1000,
    });
    confirm();
    return { securityGroupInfo: page.map((group) => groupItem(world, group)), nextToken };
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

export function findSecurityGroupByName(world: World, name: string): SecurityGroup {
  const group = world.network.securityGroups.find((candidate) => candidate.name === name);
  if (group === undefined) {
    const message = `The security group '${name}' does not exist in default VPC '${world.network.vpcId}'`;
    throw new CloudError('InvalidGroup.NotFound', message);
  }
  return group;
}

function subnetValues(world: World, subnet: Subnet | undefined, name: string): readonly string[] | undefined {
  if (subnet === undefined) return undefined;
  const values: Readonly<Record<string, readonly string[]>> = {
    'availability-zone': [subnet.availabilityZone],
    'availability-zone-id': [subnet.availabilityZoneId],
    'cidr-block': [subnet.cidr],
    'default-for-az': ['true'],
    'map-public-ip-on-launch': ['true'],
    'owner-id': [world.accountId],
    state: ['available'],
    'subnet-id': [subnet.id],
    'vpc-id': [subnet.vpcId],
  };
  return Object.hasOwn(values, name) ? values[name] : tagFilterValues(world.tags.of(subnet.id), name);
}

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

function groupValues(world: World, group: SecurityGroup | undefined, name: string): readonly string[] | undefined {
  if (group === undefined) return undefined;
  const values: Readonly<Record<string, readonly string[]>> = {
    description: [group.description],
    'group-id': [group.id],
    'group-name': [group.name],
    'owner-id': [world.accountId],
    'vpc-id': [group.vpcId],
  };
  return Object.hasOwn(values, name) ? values[name] : tagFilterValues(world.tags.of(group.id), name);
}

function groupItem(world: World, group: SecurityGroup) {
  const everything = {
    ipProtocol: '-1',
    groups: [],
    ipRanges: [{ cidrIp: '0.0.0.0/0' }],
    ipv6Ranges: [],
    prefixListIds: [],
  };
  const itself = {
    ipProtocol: '-1',
    groups: [{ userId: world.accountId, groupId: group.id }],
    ipRanges: [],
    ipv6Ranges: [],
    prefixListIds: [],
  };
  return {
    ownerId: world.accountId,
    groupId: group.id,
    groupName: group.name,
    groupDescription: group.description,
    vpcId: group.vpcId,
    ipPermissions: [itself],
    ipPermissionsEgress: [everything],
    tagSet: tagSet(world.tags.of(group.id)),
  };
}
