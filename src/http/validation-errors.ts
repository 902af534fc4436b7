import type { ProblemError } from './problem.js';
import './wording.js';

/** Standard Schema's issue, and what Zod adds where a path alone does not say which field is meant. */
export type Issue = {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
  readonly code?: string;
  /** Zod `unrecognized_keys`. */
  readonly keys?: readonly string[];
  /** Zod `invalid_key`: what is wrong with a name in a map. */
  readonly issues?: readonly Issue[];
  /** Zod `invalid_union`: the issues of each alternative. */
  readonly errors?: readonly (readonly Issue[])[];
};

type Fault = { readonly path: readonly PropertyKey[]; readonly detail: string };

/** A body of 1 MiB can hold some hundred thousand faults: no client needs them all, and the answer must stay small. */
const MAX_ERRORS = 50;

/** Faults of a body, by JSON pointer (RFC 6901, as a URI fragment). */
export function bodyErrors(issues: readonly Issue[]): ProblemError[] {
  return faultsOf(issues, []).map(({ path, detail }) => ({ pointer: toPointer(path), detail }));
}

/** Faults of a query or a path, by parameter. `name`: of the one parameter that was checked alone. */
export function parameterErrors(issues: readonly Issue[], name?: string): ProblemError[] {
  return faultsOf(issues, []).map(({ path, detail }) => ({ parameter: name ?? String(path[0] ?? ''), detail }));
}

/** One sentence for `detail`, so that a client that shows nothing else still shows where the fault is. */
export function summarize(errors: readonly ProblemError[]): string {
  const [first] = errors;
  if (first === undefined) return 'The request is not valid.';
  const where = 'pointer' in first ? first.pointer : 'parameter' in first ? first.parameter : first.header;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return `${where}: ${first.detail}${more}`;
}

function faultsOf(issues: readonly Issue[], base: readonly PropertyKey[]): Fault[] {
  return issues
    .slice(0, MAX_ERRORS)
    .flatMap((issue) => faultsOfIssue(issue, base))
    .slice(0, MAX_ERRORS);
}

function faultsOfIssue(issue: Issue, base: readonly PropertyKey[]): Fault[] {
  const path = [...base, ...(issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part))];
  if (issue.code === 'unrecognized_keys' && issue.keys) {
    return issue.keys.map((key) => ({ path: [...path, key], detail: 'is not a known field' }));
  }
  if (issue.code === 'invalid_key' && issue.issues) {
    return issue.issues.map(({ message }) => ({ path, detail: `the name ${message}` }));
  }
  if (issue.code === 'invalid_union' && issue.errors) return faultsOfUnion(issue, issue.errors, path);
  return [{ path, detail: issue.message }];
}

/** The alternative that was meant is the one that got past its own type: it complains further inside. */
function faultsOfUnion(
  issue: Issue,
  alternatives: readonly (readonly Issue[])[],
  path: readonly PropertyKey[],
): Fault[] {
  const meant = alternatives.find((issues) => issues.some(isInside));
  if (meant) return faultsOf(meant, path);
  const details = alternatives.flatMap((issues) => issues.slice(0, 1).map(({ message }) => message));
  return [
    { path, detail: issue.message === 'Invalid input' && details.length > 0 ? details.join(', or ') : issue.message },
  ];
}

function isInside({ path, code }: Issue): boolean {
  return (path?.length ?? 0) > 0 || code === 'unrecognized_keys';
}

/** RFC 6901, as a URI fragment. */
export function toPointer(path: readonly PropertyKey[]): string {
  // Half a surrogate pair, which a key may be, has no encoding.
  const names = path.map((part) => String(part).toWellFormed());
  const parts = names.map((name) => encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1')));
  return ['#', ...parts].join('/');
}
