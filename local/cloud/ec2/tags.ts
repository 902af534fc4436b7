import { CloudError } from '../errors.ts';
import { readFilters, readPage } from '../filters.ts';
import type { Params } from '../params.ts';
import type { CloudInstance } from '../instance.ts';
import { resourceTypeOf } from '../tag-store.ts';
import type { World } from '../world.ts';
import { isVisible, MOST_IDS, namedInstances, refuseMoreThan, type Action } from './action.ts';

/** `TagSpecification.N`: the tags of each resource type a call creates. */
export function readTagSpecifications(params: Params, taggable: readonly string[]): Map<string, Map<string, string>> {
  const byType = new Map<string, Map<string, string>>();
  for (const specification of params.structs('TagSpecification')) {
    const type = specification.only(['ResourceType', 'Tag']).required('ResourceType');
    if (!taggable.includes(type)) {
      const message = `'${type}' is not a valid taggable resource type for this operation.`;
      throw new CloudError('InvalidParameterValue', message);
    }
    if (byType.has(type)) {
      throw new CloudError('InvalidParameterValue', `Duplicate resource type '${type}' in TagSpecifications.`);
    }
    byType.set(type, readTags(specification));
  }
  return byType;
}

export const createTags: Action = {
  parameters: ['ResourceId', 'Tag'],
  run: ({ params, world, confirm }) => {
    const ids = readResourceIds(params, world);
    const tags = readTags(params);
    if (tags.size === 0) throw new CloudError('MissingParameter', 'The request must contain the parameter Tag');
    const changed = ids.map((id) => [id, new Map([...world.tags.of(id), ...tags])] as const);
    for (const [, all] of changed) refuseTooMany(all);
    confirm();
    for (const [id, all] of changed) world.tags.set(id, all);
    return { return: true };
  },
};

export const deleteTags: Action = {
  parameters: ['ResourceId', 'Tag'],
  run: ({ params, world, confirm }) => {
    const ids = readResourceIds(params, world);
    const wanted = params.structs('Tag').map((tag) => ({ key: tag.required('Key'), value: tag.text('Value') }));
    confirm();
    for (const id of ids) {
      const kept = [...world.tags.of(id)].filter(([key, value]) => !isWanted(wanted, key, value));
      world.tags.set(id, new Map(kept));
    }
    return { return: true };
  },
};

export const describeTags: Action = {
  parameters: ['Filter', 'MaxResults', 'NextToken'],
  run: ({ params, world, confirm }) => {
    const rows = [...world.tags.entries()]
      .filter(([id]) => isResourceVisible(world, id))
      .flatMap(([id, tags]) => [...tags].map(([key, value]) => ({ id, key, value })));
    const filter = readFilters(params, tagRowValues, { id: '', key: '', value: '' });
    const numbered = rows.filter(filter).map((row, index) => ({ ...row, position: index + 1 }));
    const { page, nextToken } = readPage(params, numbered, (row) => row.position, { least: 5, most: 1000 });
    confirm();
    const items = page.map(({ id, key, value }) => ({ resourceId: id, resourceType: resourceTypeOf(id), key, value }));
    return { tagSet: items, nextToken };
  },
};

type TagRow = { readonly id: string; readonly key: string; readonly value: string };

const MOST_TAGS = 50;

function readTags(params: Params): Map<string, string> {
  const tags = new Map<string, string>();
  for (const tag of params.structs('Tag')) {
    const key = tag.only(['Key', 'Value']).required('Key');
    const value = tag.text('Value') ?? '';
    if (/^aws:/i.test(key)) {
      throw new CloudError(
        'InvalidParameterValue',
        `Tag keys starting with 'aws:' are reserved for internal use: ${key}`,
      );
    }
    if (key.length > 128 || value.length > 256) {
      throw new CloudError(
        'InvalidParameterValue',
        `Tag ${key} is too long: 128 characters for a key, 256 for a value`,
      );
    }
    if (tags.has(key)) throw new CloudError('InvalidParameterValue', `Duplicate tag key '${key}' specified.`);
    tags.set(key, value);
  }
  refuseTooMany(tags);
  return tags;
}

function refuseTooMany(tags: ReadonlyMap<string, string>): void {
  if (tags.size > MOST_TAGS) throw new CloudError('TagLimitExceeded', `More than ${MOST_TAGS} tags on one resource.`);
}

function readResourceIds(params: Params, world: World): string[] {
  const ids = params.list('ResourceId');
  refuseMoreThan(MOST_IDS, 'ResourceId', ids);
  if (ids.length === 0) throw new CloudError('MissingParameter', 'The request must contain the parameter ResourceId');
  const instances = ids.filter((id) => id.startsWith('i-'));
  namedInstances(world, instances);
  for (const id of ids) {
    if (!id.startsWith('i-') && !exists(world, id)) throw new CloudError('InvalidID', `The ID '${id}' is not valid`);
  }
  return ids;
}

function exists(world: World, id: string): boolean {
  const { network } = world;
  return (
    world.addresses.has(id) ||
    world.snapshots.has(id) ||
    id === network.vpcId ||
    [...network.subnets, ...network.securityGroups, ...world.images].some((resource) => resource.id === id) ||
    [...world.instances.values()].some((instance) => isPartOf(instance, id))
  );
}

function isPartOf(instance: CloudInstance, id: string): boolean {
  if (instance.state === 'terminated') return false;
  const { networkInterfaceId, spotRequestId, spec } = instance;
  return (
    networkInterfaceId === id || spotRequestId === id || spec.blockDevices.some((device) => device.volumeId === id)
  );
}

function isResourceVisible(world: World, id: string): boolean {
  const instance = world.instances.get(id);
  return instance === undefined || isVisible(world, instance);
}

function isWanted(wanted: readonly { key: string; value: string | undefined }[], key: string, value: string): boolean {
  // Without any Tag, DeleteTags removes all; with a value, only that value.
  return (
    wanted.length === 0 || wanted.some((tag) => tag.key === key && (tag.value === undefined || tag.value === value))
  );
}

function tagRowValues(row: TagRow, name: string): readonly string[] | undefined {
  if (name === 'key') return [row.key];
  if (name === 'value') return [row.value];
  if (name === 'resource-id') return [row.id];
  if (name === 'resource-type') return [resourceTypeOf(row.id) ?? ''];
  if (name.startsWith('tag:')) return row.key === name.slice('tag:'.length) ? [row.value] : [];
  return undefined;
}
