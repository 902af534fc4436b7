import type { JobDefinition } from './job-definition.js';

// A definition as its column holds it. Processes of the version before read and write the same rows while an upgrade is
// under way, and rows of theirs stay: what they call otherwise, or do not know, is put right here and nowhere else.

/** What RunInstances calls an AMI, and the version before this one, too. */
type StoredInstance = JobDefinition['instance'] & { readonly imageId?: string };

export type StoredDefinition = Omit<JobDefinition, 'instance' | 'init' | 'noNewPrivileges'> & {
  readonly instance: StoredInstance;
  readonly init?: boolean;
  readonly noNewPrivileges?: boolean;
};

/** What holds for a definition that does not say: the version before knew nothing else. */
const BEFORE = { init: true, noNewPrivileges: true };

/** With the names and the meaning of today. */
export function definitionOf({ instance: stored, ...definition }: StoredDefinition): JobDefinition {
  const { imageId, ...instance } = stored;
  return { ...BEFORE, ...definition, instance: imageId === undefined ? instance : { ami: imageId, ...instance } };
}

/** JSON for the column. An AMI stands there under both names: a process of the version before reads the old one. */
export function storedJson(definition: JobDefinition): string {
  const { ami } = definition.instance;
  const stored = ami === undefined ? definition : { ...definition, instance: { ...definition.instance, imageId: ami } };
  return JSON.stringify(stored satisfies StoredDefinition);
}
