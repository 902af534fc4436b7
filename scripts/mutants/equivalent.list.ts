import type { Mutant } from './draw.ts';

export type Equivalent = Pick<Mutant, 'file' | 'on' | 'original' | 'mutated'> & { readonly why: string };

/** Changes that no test can notice, as nothing that is promised depends on them, and why. */
export const EQUIVALENT: readonly Equivalent[] = [
  {
    file: 'src/agent/stream-tail.ts',
    on: 'if (this.#isTooLong) this.#open = Buffer.alloc(0);',
    original: '0',
    mutated: '1',
    why: 'What is open of a line that is too long is never read: it is emptied at the end of that line.',
  },
];
