/** Tags by resource id. The journal records every change. */
export type TagStore = {
  of(resourceId: string): ReadonlyMap<string, string>;
  set(resourceId: string, tags: ReadonlyMap<string, string>): void;
  delete(resourceId: string): void;
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
  };
}

const NONE: ReadonlyMap<string, string> = new Map();
