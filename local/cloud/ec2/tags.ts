import { CloudError } from '../errors.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import { MOST_IDS, namedInstances, refuseMoreThan, type Action } from './action.ts';

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
  const other = ids.find((id) => !id.startsWith('i-') && !world.addresses.has(id) && !world.snapshots.has(id));
  if (other !== undefined) throw new CloudError('InvalidID', `The ID '${other}' is not valid`);
  return ids;
}
