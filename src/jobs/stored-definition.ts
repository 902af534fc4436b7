import type { JobDefinition } from './job-definition.js';

// A definition as its column holds it. Processes of the previous version read and write the same rows during an
// upgrade, and their rows stay: names and fields that differ there are converted here and nowhere else.

/** The name of an AMI in RunInstances, and in the previous version. */
type StoredInstance = JobDefinition['instance'] & { readonly imageId?: string };

export type StoredDefinition = Omit<JobDefinition, 'instance' | 'init' | 'noNewPrivileges' | 'route'> & {
  readonly instance: StoredInstance;
  readonly init?: boolean;
  readonly noNewPrivileges?: boolean;
  readonly route?: JobDefinition['route'];
};

/** The values of a definition without these fields: in the previous version they were fixed. */
const BEFORE = { init: true, noNewPrivileges: true, route: false } as const;

/** With the present names and meaning. */
export function definitionOf({ instance: stored, ...definition }: StoredDefinition): JobDefinition {
  const { imageId, ...instance } = stored;
  return { ...BEFORE, ...definition, instance: imageId === undefined ? instance : { ami: imageId, ...instance } };
}

/** JSON for the column. It has an AMI under both names: a process of the previous version reads the old one. */
export function storedJson(definition: JobDefinition): string {
  const { ami } = definition.instance;
  const stored = ami === undefined ? definition : { ...definition, instance: { ...definition.instance, imageId: ami } };
  return JSON.stringify(stored satisfies StoredDefinition);
}
