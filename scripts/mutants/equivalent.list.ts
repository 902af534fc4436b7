import type { Mutant } from './draw.ts';

/** Changes that no test can notice, as nothing that is promised depends on them, and why. */
export const EQUIVALENT: readonly (Pick<Mutant, 'file' | 'original' | 'mutated'> & { readonly why: string })[] = [];
