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
  {
    file: 'src/logs/log-upload.ts',
    on: 'const marked = this.#marks.at(-1)?.bytes ?? 0;',
    original: '1',
    mutated: '2',
    why: 'Marks come more often than every 64 KiB: the middle of the upload is known more exactly, and nothing else.',
  },
  {
    file: 'src/logs/log-upload.ts',
    on: 'const offered = this.#pending.slice(0, this.#offered);',
    original: 'this.#pending.slice(0, this.#offered)',
    mutated: 'this.#pending',
    why: 'What is pending is stored next, before this state is used for anything but lines that come later still.',
  },
  {
    file: 'src/logs/upload-statements.ts',
    on: 'ORDER BY l.attempt_id FOR UPDATE OF l',
    original: '',
    mutated: ' DESC',
    why: 'Only this statement locks rows of several attempts: any order is right that is the same for all.',
  },
  {
    file: 'src/scheduler/apply-job-plans.ts',
    on: 'const rows = [...byKey].map(([key, spec]) => ({ key, spec })).sort((a, b) => (a.key < b.key ? -1 : 1));',
    original: '1',
    mutated: '2',
    why: 'Of a comparison only the sign counts.',
  },
  {
    file: 'src/scheduler/plan/plan-healing.ts',
    on: "look.purpose === 'inspect-exit' && first?.answeredAt && look.createdAt >= first.answeredAt && isOutOfMemory(look),",
    original: "look.purpose === 'inspect-exit' && first?.answeredAt",
    mutated: "(look.purpose === 'inspect-exit') || (first?.answeredAt)",
    why: 'Every look at a container after an exit, whatever it is for, shows how that exit came about.',
  },
];
