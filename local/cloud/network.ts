import { createHash } from 'node:crypto';
import { BLOCK_SIZE, toAddress } from './address-block.ts';
import { CloudError } from './errors.ts';

export type Subnet = {
  readonly id: string;
  readonly vpcId: string;
  readonly availabilityZone: string;
  readonly availabilityZoneId: string;
  readonly cidr: string;
};

export type SecurityGroup = {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly vpcId: string;
};

/** For example of resources that Terraform made elsewhere, whose ids user data names. */
export type NetworkIds = {
  /** Of the zones a, b and c. */
  readonly subnets?: readonly string[];
  readonly securityGroup?: string;
};

/** The default VPC: three subnets in three zones, one security group. Ids not given depend on the region only. */
export type Network = {
  readonly vpcId: string;
  readonly subnets: readonly Subnet[];
  readonly securityGroups: readonly SecurityGroup[];
  freeAddresses(subnetId: string): number;
  /** @throws InsufficientFreeAddressesInSubnet */
  takeAddress(subnetId: string): string;
  giveBackAddress(address: string): void;
  /** For tests: how many addresses a subnet has left. */
  setFreeAddresses(subnetId: string, free: number): void;
  /** For tests: from now on an instance gets the address that was given back last, as EC2 may do any time. */
  reuseAddresses(): void;
  takeElasticAddress(): string;
  reserveElasticAddress(address: string): boolean;
  giveBackElasticAddress(address: string): void;
};

/** @param earlier addresses that earlier runs gave, in their order: what follows goes on from there */
export function createNetwork(
  region: string,
  base: number,
  ids: NetworkIds = {},
  earlier: readonly string[] = [],
): Network {
  const vpcId = stableId('vpc', region);
  const pools = new Map<string, Pool>();
  const subnets = ['a', 'b', 'c'].map((letter, index): Subnet => {
    const availabilityZone = `${region}${letter}`;
    const id = ids.subnets?.[index] ?? stableId('subnet', availabilityZone);
    const first = base + index * SUBNET_SIZE;
    pools.set(id, createPool(first, earlier));
    return { id, vpcId, availabilityZone, availabilityZoneId: `lcl1-az${index + 1}`, cidr: `${toAddress(first)}/20` };
  });
  const groupId = ids.securityGroup ?? stableId('sg', region);
  const elastic = createPool(base + 3 * SUBNET_SIZE);
  const poolOf = (subnetId: string): Pool => {
    const pool = pools.get(subnetId);
    if (pool === undefined) throw subnetNotFound(subnetId);
    return pool;
  };
  return {
    vpcId,
    subnets,
    securityGroups: [{ id: groupId, name: 'default', description: 'default VPC security group', vpcId }],
    freeAddresses: (subnetId) => poolOf(subnetId).free(),
    takeAddress: (subnetId) => {
      const address = poolOf(subnetId).take();
      if (address === undefined) throw noFreeAddresses(subnetId);
      return address;
    },
    giveBackAddress: (address) => [...pools.values()].forEach((pool) => pool.giveBack(address)),
    setFreeAddresses: (subnetId, free) => poolOf(subnetId).setFree(free),
    reuseAddresses: () => [...pools.values()].forEach((pool) => pool.reuse()),
    takeElasticAddress: () => {
      const address = elastic.take();
      if (address === undefined) throw new CloudError('InsufficientAddressCapacity', 'No elastic address is free.');
      return address;
    },
    reserveElasticAddress: (address) => elastic.reserve(address),
    giveBackElasticAddress: (address) => elastic.giveBack(address),
  };
}

export function subnetNotFound(id: string): CloudError {
  return new CloudError('InvalidSubnetID.NotFound', `The subnet ID '${id}' does not exist`);
}

export function noFreeAddresses(subnetId: string): CloudError {
  const message = `There are not enough free addresses in subnet '${subnetId}' to satisfy the requested number of instances.`;
  return new CloudError('InsufficientFreeAddressesInSubnet', message);
}

type Pool = {
  free(): number;
  setFree(free: number): void;
  reuse(): void;
  take(): string | undefined;
  reserve(address: string): boolean;
  giveBack(address: string): void;
};

const SUBNET_SIZE = BLOCK_SIZE / 4;
// AWS keeps the first four addresses and the last of every subnet.
const FIRST_USABLE = 4;
const USABLE = SUBNET_SIZE - FIRST_USABLE - 1;

function createPool(first: number, earlier: readonly string[] = []): Pool {
  const usable = Array.from({ length: USABLE }, (_, index) => toAddress(first + FIRST_USABLE + index));
  const taken = new Set<string>();
  /** Addresses given back, the last one at the end; none as long as they are not to be used again at once. */
  let givenBack: string[] | undefined;
  let size = USABLE;
  let next = (usable.indexOf(earlier.findLast((address) => usable.includes(address)) ?? '') + 1) % USABLE;
  return {
    free: () => Math.max(0, size - taken.size),
    setFree: (free) => {
      size = Math.min(USABLE, taken.size + free);
    },
    take: () => {
      if (taken.size >= size) return undefined;
      const again = givenBack?.pop();
      if (again !== undefined) {
        taken.add(again);
        return again;
      }
      // Onwards from the last one: an address just given back is not used again while a client may still call it.
      for (;;) {
        const address = usable[next];
        next = (next + 1) % USABLE;
        if (address === undefined || taken.has(address)) continue;
        taken.add(address);
        return address;
      }
    },
    reuse: () => {
      givenBack ??= [];
    },
    reserve: (address) => {
      const isOurs = usable.includes(address);
      if (isOurs) taken.add(address);
      return isOurs;
    },
    giveBack: (address) => {
      if (taken.delete(address)) givenBack?.push(address);
    },
  };
}

function stableId(kind: string, name: string): string {
  return `${kind}-${createHash('sha256').update(`local-cloud/${kind}/${name}`).digest('hex').slice(0, 17)}`;
}
