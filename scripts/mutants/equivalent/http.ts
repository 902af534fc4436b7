import type { Equivalent } from './equivalent.ts';

export const HTTP: readonly Equivalent[] = [
  {
    file: 'src/http/body.ts',
    on: 'for (let at = 0; at < body.length; at += 1) {',
    original: 'at < body.length',
    mutated: '(at) <= (body.length)',
    why: 'Behind the last byte is `undefined`, which is none of the bytes that count.',
  },
  {
    file: 'src/http/error-problem.ts',
    on: "error instanceof Error && error.name === 'FastifyError' && 'statusCode' in error && Number(error.statusCode) < 500",
    original: 'Number(error.statusCode) < 500',
    mutated: '(Number(error.statusCode)) <= (500)',
    why: '500 has no row in the table of codes: it is a bug either way.',
  },
  {
    file: 'src/http/event-stream.ts',
    on: 'super({ highWaterMark: 1 });',
    original: '1',
    mutated: '2',
    why: 'Whatever is written has more than two bytes.',
  },
  {
    file: 'src/http/event-stream.ts',
    on: 'if (this.#hasEnded) return;',
    original: 'this.#hasEnded',
    mutated: 'false && (this.#hasEnded)',
    why: 'Of `#end`: leaving has this check itself, and Node ends a stream once. (Of `#send` and `#leave` tests notice.)',
  },
  {
    file: 'src/http/problem.filter.ts',
    on: 'if (problem.status >= 500 && problem.cause !== undefined) this.#logTrouble(problem.cause, request);',
    original: 'problem.status >= 500',
    mutated: '(problem.status) > (500)',
    why: 'No problem of the table has the status 500.',
  },
  {
    file: 'src/http/validation-errors.ts',
    on: "return (path?.length ?? 0) > 0 || code === 'unrecognized_keys';",
    original: '0',
    mutated: '1',
    why: 'Of `?? 0`: Zod, which makes all issues, gives each a path. (Of `> 0` a test notices.)',
  },
  {
    file: 'src/http/validation-errors.ts',
    on: 'return issues',
    original: 'issues\n    .slice(0, MAX_ERRORS)',
    mutated: 'issues',
    why: 'It saves work: the faults that are left out are left out of the answer below.',
  },
];
