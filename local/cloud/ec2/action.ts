import { CloudError } from '../errors.ts';
import type { CloudInstance } from '../instance.ts';
import type { Params } from '../params.ts';
import type { World } from '../world.ts';
import type { XmlValue } from '../xml.ts';

export type Call = {
  readonly params: Params;
  readonly world: World;
  /** After the checks, before the effect. @throws DryRunOperation when the caller requested only the checks */
  readonly confirm: () => void;
  /** For the ledger. */
  readonly note: (instances: readonly CloudInstance[]) => void;
};

export type Action = {
  /** First parts of the parameters it reads; any other is refused rather than silently ignored. */
  readonly parameters: readonly string[];
  run(call: Call): { readonly [name: string]: XmlValue };
};

/** Of a call that changes what it names. */
export const MOST_IDS = 1000;

/** The instances a call names, in its order. One id that is unknown or not visible yet fails the whole call, as on EC2. */
export function namedInstances(world: World, ids: readonly string[]): CloudInstance[] {
  for (const id of ids) {
    if (!/^i-[0-9a-f]{8}(?:[0-9a-f]{9})?$/.test(id)) {
      throw new CloudError('InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
    }
  }
  const found = new Map(
    ids.flatMap((id) => {
      const instance = world.instances.get(id);
      return instance !== undefined && isVisible(world, instance) ? [[id, instance] as const] : [];
    }),
  );
  const missing = ids.filter((id) => !found.has(id));
  if (missing.length > 0) {
    const [noun, verb] = missing.length === 1 ? ['ID', 'does'] : ['IDs', 'do'];
    throw new CloudError(
      'InvalidInstanceID.NotFound',
      `The instance ${noun} '${missing.join(', ')}' ${verb} not exist`,
    );
  }
  return [...found.values()];
}

/** Refuses more values than the API reference allows in one call. */
export function refuseMoreThan(most: number, parameter: string, ids: readonly string[]): void {
  if (ids.length <= most) return;
  throw new CloudError(
    'InvalidParameterValue',
    `${ids.length} values for parameter ${parameter}: the maximum is ${most}.`,
  );
}

export function requiredInstances({ params, world, note }: Call): CloudInstance[] {
  const ids = params.list('InstanceId');
  refuseMoreThan(MOST_IDS, 'InstanceId', ids);
  if (ids.length === 0) throw new CloudError('MissingParameter', 'The request must contain the parameter InstanceId');
  const instances = namedInstances(world, ids);
  note(instances);
  return instances;
}

export function isVisible(world: World, instance: CloudInstance): boolean {
  const now = Date.now();
  if (now < instance.visibleAtMs) return false;
  if (instance.terminatedAt === undefined) return true;
  const goneForMs = now - Date.parse(instance.terminatedAt);
  if (goneForMs >= world.settings.terminatedTagsMs) world.tags.delete(instance.id);
  return goneForMs < world.settings.terminatedVisibleMs;
}

export function tagSet(tags: ReadonlyMap<string, string>): XmlValue {
  return [...tags].map(([key, value]) => ({ key, value }));
}
