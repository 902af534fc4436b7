import { createBuckets, type Buckets } from './buckets.ts';
import { createCapacity, type Capacity } from './capacity.ts';
import { STATE_REASONS, type CloudInstance, type StateReason } from './instance.ts';
import { createImages, type Image } from './images.ts';
import type { Journal } from './journal.ts';
import { createLaunches, type Launches } from './launches.ts';
import type { Machines } from './machines.ts';
import { createNetwork, type Network, type NetworkIds } from './network.ts';
import { createOfferings, type Offerings } from './offerings.ts';
import type { Random } from './random.ts';
import type { Elsewhere } from './s3/elsewhere.ts';
import type { Listable } from './s3/hidden-keys.ts';
import type { CloudSnapshot, SnapshotState } from './snapshots.ts';
import { createTagStore, type TagStore } from './tag-store.ts';

/** Everything the EC2 actions work on. Lives in memory; the journal is what survives. */
export type World = {
  readonly region: string;
  readonly accountId: string;
  readonly settings: WorldSettings;
  readonly random: Random;
  readonly network: Network;
  /** Newest first, of each kind. */
  readonly images: Image[];
  readonly buckets: Buckets;
  readonly capacity: Capacity;
  readonly offerings: Offerings;
  readonly launches: Launches;
  readonly tags: TagStore;
  readonly addresses: Map<string, ElasticAddress>;
  /** In the order in which they were begun. */
  readonly snapshots: Map<string, CloudSnapshot>;
  /** What is unusual about buckets. */
  readonly s3: { readonly elsewhere: Elsewhere; readonly listable: Listable };
  /** Zones that are out. */
  readonly zonesOut: Set<string>;
  /** All instances ever, by id, in the order of launch. */
  readonly instances: Map<string, CloudInstance>;
  /** A resource id never given out before. */
  newId(prefix: string): string;
  nextSequence(): number;
  /** An elastic address was allocated, or released when undefined. */
  onAddress(allocationId: string, publicIp: string | undefined): void;
  /** A snapshot was begun, or deleted when undefined. */
  onSnapshot(id: string, snapshot: CloudSnapshot | undefined): void;
  /** Set once the machines exist: they need the world, and actions need them. */
  machines: Machines;
};

export type WorldSettings = {
  visibilityMs: number;
  /** Terminated instances are described this long, then only the ledger knows them (EC2: about an hour). */
  readonly terminatedVisibleMs: number;
  /** Tags of terminated instances are dropped earlier, as on EC2. */
  readonly terminatedTagsMs: number;
  readonly statusCheckMs: number;
  readonly addressLimit: number;
  /** Names of the instance profiles there are. */
  readonly profiles: readonly string[];
  /** Sizes in GiB of volumes in addition to the disks of instances. */
  readonly volumes: Readonly<Record<string, number>>;
  readonly snapshotMs: number;
  /** What becomes of snapshots that are begun from now on. */
  snapshotEnd: SnapshotState;
  /** What RunInstances makes ends before it runs, for so many calls. */
  endAtLaunch?: { readonly reason: StateReason; callsLeft: number } | undefined;
};

export type ElasticAddress = {
  readonly allocationId: string;
  readonly publicIp: string;
  instanceId: string | undefined;
  associationId: string | undefined;
};

export type WorldOptions = {
  readonly region: string;
  readonly accountId: string;
  readonly quotas: 'ec2' | 'none';
  readonly settings: WorldSettings;
  readonly random: Random;
  readonly blockBase: number;
  readonly networkIds: NetworkIds;
  readonly journal: Journal;
  readonly machines: Machines;
};

export function createWorld(options: WorldOptions): World {
  const { journal, random, region } = options;
  const instances = readInstances(journal);
  const given = [...instances.values()].map(({ privateIp }) => privateIp);
  const network = createNetwork(region, options.blockBase, options.networkIds, given);
  const launches = journal.earlier.flatMap((entry) => (entry.kind === 'launch' ? [entry.launch] : []));
  const earlierTags = journal.earlier.flatMap((entry) => (entry.kind === 'tags' ? [entry] : []));
  const tags = createTagStore(
    earlierTags.map((entry) => [entry.id, new Map(entry.tags)] as const),
    (id, changed) => journal.append({ kind: 'tags', id, tags: [...changed] }),
  );
  const addresses = readAddresses(journal, network);
  const snapshots = readSnapshots(journal);
  const used = new Set([...instances.keys(), ...addresses.keys(), ...snapshots.keys()]);
  let sequence = Math.max(0, ...[...instances.values(), ...snapshots.values()].map((one) => one.sequence));
  return {
    region,
    accountId: options.accountId,
    settings: options.settings,
    random,
    network,
    images: createImages(),
    buckets: createBuckets(options.quotas, Date.now),
    capacity: createCapacity(),
    offerings: createOfferings(),
    launches: createLaunches(launches, (launch) => journal.append({ kind: 'launch', launch })),
    tags,
    addresses,
    snapshots,
    s3: { elsewhere: new Map(), listable: new Map() },
    zonesOut: new Set(),
    instances,
    newId: (prefix) => {
      // A seed repeats its ids in every run; the ledger of earlier runs keeps an id from meaning two instances.
      for (;;) {
        const id = `${prefix}-${random.hex(17)}`;
        if (used.has(id)) continue;
        used.add(id);
        return id;
      }
    },
    nextSequence: () => (sequence += 1),
    onAddress: (allocationId, publicIp) => journal.append({ kind: 'address', allocationId, publicIp }),
    onSnapshot: (id, snapshot) => journal.append({ kind: 'snapshot', id, snapshot }),
    machines: options.machines,
  };
}

/** Gives what comes with a state, and frees what it no longer holds. */
export function followState(world: World, instance: CloudInstance): void {
  if (instance.state === 'running') instance.publicIp ??= automaticPublicIp(instance);
  if (instance.state !== 'stopped' && instance.state !== 'terminated') return;
  world.capacity.giveBack(instance.id);
  if (instance.state === 'stopped') {
    // An automatic public address is given up at stop; the private one stays.
    const hasElastic = [...world.addresses.values()].some((address) => address.instanceId === instance.id);
    if (!hasElastic) instance.publicIp = undefined;
    return;
  }
  instance.publicIp = undefined;
  instance.spotActionAt = undefined;
  world.network.giveBackAddress(instance.privateIp);
  for (const address of world.addresses.values()) {
    if (address.instanceId !== instance.id) continue;
    address.instanceId = undefined;
    address.associationId = undefined;
  }
}

/** The public address EC2 gives by itself: here the private one, as nothing translates addresses on loopback. */
export function automaticPublicIp({ spec, state, privateIp }: CloudInstance): string | undefined {
  return spec.hasPublicIp && (state === 'running' || state === 'stopping') ? privateIp : undefined;
}

function readInstances(journal: Journal): Map<string, CloudInstance> {
  const instances = new Map<string, CloudInstance>();
  for (const entry of journal.earlier) {
    if (entry.kind === 'instance') instances.set(entry.instance.id, { ...entry.instance, userData: '' });
    if (entry.kind !== 'state') continue;
    const instance = instances.get(entry.id);
    if (instance === undefined) continue;
    instance.state = entry.state;
    instance.stateReason = entry.reason;
    if (entry.state === 'running') instance.runningAt = entry.at;
    if (entry.state === 'terminated') instance.terminatedAt = entry.at;
    instance.history.push({ state: entry.state, at: entry.at, ...(entry.reason && { reason: entry.reason.code }) });
  }
  const at = new Date().toISOString();
  for (const instance of instances.values()) {
    instance.publicIp = undefined;
    if (instance.state === 'terminated') continue;
    // Its guest ended with the process that ran it, as on a host of EC2 that fails.
    const reason = STATE_REASONS.hostFailed;
    instance.state = 'terminated';
    instance.stateReason = reason;
    instance.terminatedAt = at;
    instance.history.push({ state: 'terminated', at, reason: reason.code });
    journal.append({ kind: 'state', id: instance.id, state: 'terminated', at, reason });
  }
  return instances;
}

function readAddresses(journal: Journal, network: Network): Map<string, ElasticAddress> {
  const addresses = new Map<string, ElasticAddress>();
  for (const entry of journal.earlier) {
    if (entry.kind !== 'address') continue;
    const { allocationId, publicIp } = entry;
    if (publicIp === undefined) addresses.delete(allocationId);
    else addresses.set(allocationId, { allocationId, publicIp, instanceId: undefined, associationId: undefined });
  }
  for (const { allocationId, publicIp } of [...addresses.values()]) {
    // On another port the cloud has another block; an address outside it could never be reached again.
    if (network.reserveElasticAddress(publicIp)) continue;
    addresses.delete(allocationId);
    journal.append({ kind: 'address', allocationId, publicIp: undefined });
  }
  return addresses;
}

function readSnapshots(journal: Journal): Map<string, CloudSnapshot> {
  const snapshots = new Map<string, CloudSnapshot>();
  for (const entry of journal.earlier) {
    if (entry.kind !== 'snapshot') continue;
    if (entry.snapshot === undefined) snapshots.delete(entry.id);
    else snapshots.set(entry.id, entry.snapshot);
  }
  return snapshots;
}
