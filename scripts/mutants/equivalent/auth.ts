import type { Equivalent } from './equivalent.ts';

export const AUTH: readonly Equivalent[] = [
  {
    file: 'src/auth/failed-attempts.ts',
    on: "return hash('sha256', token, 'base64').slice(0, 16);",
    original: "hash('sha256', token, 'base64').slice(0, 16)",
    mutated: "hash('sha256', token, 'base64')",
    why: 'It only tells guesses apart: more of the digest takes more memory.',
  },
  {
    file: 'src/auth/failed-attempts.ts',
    on: "return hash('sha256', token, 'base64').slice(0, 16);",
    original: '0',
    mutated: '1',
    why: 'As above: 90 bits are as good as 96.',
  },
  {
    file: 'src/auth/failed-attempts.ts',
    on: "return hash('sha256', token, 'base64').slice(0, 16);",
    original: '16',
    mutated: '17',
    why: 'As above.',
  },
  {
    file: 'src/auth/tokens.ts',
    on: 'if (this.#unknown.size >= MOST_KNOWN) this.#unknown.clear();',
    original: 'this.#unknown.size >= MOST_KNOWN',
    mutated: '(this.#unknown.size) > (MOST_KNOWN)',
    why: 'It bounds memory, as above.',
  },
  {
    file: 'src/auth/tokens.ts',
    on: 'this.#signals += 1;',
    original: '1',
    mutated: '2',
    why: 'Only whether there was a signal meanwhile is asked.',
  },
  {
    file: 'src/auth/write-budget.ts',
    on: 'if (this.#buckets.size >= MANY_CALLERS) this.#forgetIdle(now);',
    original: 'this.#buckets.size >= MANY_CALLERS',
    mutated: 'true || (this.#buckets.size >= MANY_CALLERS)',
    why: 'A full bucket is as good as none: forgetting each as soon as it is full costs time, and changes no answer.',
  },
];
