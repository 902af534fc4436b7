import { CloudError } from '../errors.ts';
import { readFilters, readPage, type Filters } from '../filters.ts';
import { isCompleted, stateOf, type CloudSnapshot } from '../snapshots.ts';
import type { World } from '../world.ts';
import { tagSet, type Action } from './action.ts';
import { readTagSpecifications } from './tags.ts';

export const createSnapshot: Action = {
  parameters: ['VolumeId', 'Description', 'TagSpecification'],
  run: ({ params, world, confirm }) => {
    const volumeId = params.required('VolumeId');
    const sizeGiB = sizeOfVolume(world, volumeId);
    const tags = readTagSpecifications(params, ['snapshot']).get('snapshot');
    const underWay = [...world.snapshots.values()].filter(
      (one) => one.volumeId === volumeId && stateOf(one) === 'pending',
    );
    if (underWay.length >= MOST_PENDING) {
      throw new CloudError(
        'ConcurrentSnapshotLimitExceeded',
        'Maximum allowed in-progress snapshots for a single volume exceeded.',
      );
    }
    confirm();
    const snapshot: CloudSnapshot = {
      id: world.newId('snap'),
      sequence: world.nextSequence(),
      volumeId,
      sizeGiB,
      description: params.text('Description') ?? '',
      startedAt: new Date().toISOString(),
      takesMs: world.settings.snapshotMs,
      end: world.settings.snapshotEnd,
    };
    world.snapshots.set(snapshot.id, snapshot);
    world.onSnapshot(snapshot.id, snapshot);
    if (tags !== undefined) world.tags.set(snapshot.id, tags);
    return snapshotItem(world, snapshot);
  },
};

export const describeSnapshots: Action = {
  parameters: ['SnapshotId', 'Owner', 'RestorableBy', 'Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const ids = params.list('SnapshotId');
    if (ids.length > 0 && params.has('MaxResults')) {
      const message = 'The parameter snapshotSet cannot be used with the parameter maxResults';
      throw new CloudError('InvalidParameterCombination', message);
    }
    const named = ids.map((id) => findSnapshot(world, id));
    const owners = params.list('Owner');
    const found = (ids.length > 0 ? named : [...world.snapshots.values()])
      .filter(() => owners.length === 0 || owners.includes('self') || owners.includes(world.accountId))
      .filter(readFilters(params, FILTERS, ({ id }) => world.tags.of(id)));
    const { page, nextToken } = readPage(params, found, ({ sequence }) => sequence, { least: 5, most: 1000 });
    confirm();
    return { snapshotSet: page.map((snapshot) => snapshotItem(world, snapshot)), nextToken };
  },
};

export const deleteSnapshot: Action = {
  parameters: ['SnapshotId'],
  run: ({ params, world, confirm }) => {
    const { id } = findSnapshot(world, params.required('SnapshotId'));
    confirm();
    world.snapshots.delete(id);
    world.onSnapshot(id, undefined);
    world.tags.delete(id);
    return { return: true };
  },
};

/** EC2's quota for a gp3 volume. */
const MOST_PENDING = 5;

function sizeOfVolume(world: World, id: string): number {
  if (!/^vol-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(id)) {
    throw new CloudError('InvalidVolumeID.Malformed', `Invalid id: "${id}" (expecting "vol-...")`);
  }
  const instances = [...world.instances.values()].filter(({ state }) => state !== 'terminated');
  const isDisk = instances.some(({ spec }) => spec.blockDevices.some(({ volumeId }) => volumeId === id));
  // Disks of instances have no size here.
  const sizeGiB = world.settings.volumes[id] ?? (isDisk ? 30 : undefined);
  if (sizeGiB === undefined) throw new CloudError('InvalidVolume.NotFound', `The volume '${id}' does not exist.`);
  return sizeGiB;
}

function findSnapshot(world: World, id: string): CloudSnapshot {
  if (!/^snap-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(id)) {
    throw new CloudError('InvalidSnapshotID.Malformed', `Invalid id: "${id}" (expecting "snap-...")`);
  }
  const snapshot = world.snapshots.get(id);
  if (snapshot === undefined) throw new CloudError('InvalidSnapshot.NotFound', `The snapshot '${id}' does not exist.`);
  return snapshot;
}

const FILTERS: Filters<CloudSnapshot> = {
  'snapshot-id': ({ id }) => id,
  status: stateOf,
  'volume-id': ({ volumeId }) => volumeId,
};

function snapshotItem(world: World, snapshot: CloudSnapshot) {
  const state = stateOf(snapshot);
  return {
    snapshotId: snapshot.id,
    volumeId: snapshot.volumeId,
    status: state,
    statusMessage: state === 'error' ? 'The snapshot could not be created.' : undefined,
    startTime: new Date(snapshot.startedAt),
    completionTime: isCompleted(snapshot) ? new Date(Date.parse(snapshot.startedAt) + snapshot.takesMs) : undefined,
    progress: progressOf(snapshot),
    ownerId: world.accountId,
    volumeSize: snapshot.sizeGiB,
    description: snapshot.description,
    encrypted: true,
    storageTier: 'standard',
    tagSet: tagSet(world.tags.of(snapshot.id)),
  };
}

function progressOf(snapshot: CloudSnapshot): string {
  return isCompleted(snapshot) ? '100%' : '0%';
}
