/** Tags by resource id. The journal records every change. */
export type TagStore = {
  of(resourceId: string): ReadonlyMap<string, string>;
  set(resourceId: string, tags: ReadonlyMap<string, string>): void;
  delete(resourceId: string): void;
  entries(): Iterable<readonly [resourceId: string, tags: ReadonlyMap<string, string>]>;
};

export function createTagStore(
  earlier: Iterable<readonly [resourceId: string, tags: ReadonlyMap<string, string>]>,
  onChange: (resourceId: string, tags: ReadonlyMap<string, string>) => void,
): TagStore {
  const tagsById = new Map(earlier);
  const set = (resourceId: string, tags: ReadonlyMap<string, string>): void => {
    if (tags.size === 0) tagsById.delete(resourceId);
    else tagsById.set(resourceId, tags);
    onChange(resourceId, tags);
  };
  return {
    of: (resourceId) => tagsById.get(resourceId) ?? NONE,
    set,
    delete: (resourceId) => {
      if (tagsById.has(resourceId)) set(resourceId, NONE);
    },
    entries: () => tagsById.entries(),
  };
}

/** By the id's prefix, as DescribeTags and TagSpecifications name it. */
export function resourceTypeOf(resourceId: string): string | undefined {
  return RESOURCE_TYPES[resourceId.slice(0, resourceId.lastIndexOf('-'))];
}

const NONE: ReadonlyMap<string, string> = new Map();
const RESOURCE_TYPES: Readonly<Record<string, string>> = {
  i: 'instance',
  vol: 'volume',
  eni: 'network-interface',
  sir: 'spot-instances-request',
  eipalloc: 'elastic-ip',
  subnet: 'subnet',
  sg: 'security-group',
  vpc: 'vpc',
  ami: 'image',
  snap: 'snapshot',
};
