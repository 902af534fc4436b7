import { CloudError } from './errors.ts';
import type { Params } from './params.ts';

/** What a filter of each name compares; nothing for a resource that has no such value. */
export type Filters<T> = Readonly<Record<string, (resource: T) => string | undefined>>;

type TagsOf<T> = (resource: T) => ReadonlyMap<string, string>;

/**
 * `Filter.N.Name` and `.Value.N`: all filters must match, any value of each suffices, `*` and `?` are wildcards.
 * An unknown name is an error even when nothing is left to compare, as on EC2.
 */
export function readFilters<T>(params: Params, filters: Filters<T>, tagsOf: TagsOf<T>): (resource: T) => boolean {
  const wanted = params.structs('Filter').map((filter) => {
    const name = filter.only(['Name', 'Value']).required('Name');
    const patterns = filter.list('Value');
    const values = valuesOf(name, filters, tagsOf);
    if (values === undefined) throw new CloudError('InvalidParameterValue', `The filter '${name}' is invalid`);
    if (patterns.length > MAX_FILTER_VALUES) {
      throw new CloudError('FilterLimitExceeded', `The maximum number of filter values is ${MAX_FILTER_VALUES}`);
    }
    const matches = anyOf(patterns);
    return (resource: T) => values(resource).some(matches);
  });
  return (resource) => wanted.every((fits) => fits(resource));
}

/** Also of `tag:KEY`, `tag-key` and `tag-value`, which every taggable resource has. */
function valuesOf<T>(name: string, filters: Filters<T>, tagsOf: TagsOf<T>): ((resource: T) => string[]) | undefined {
  const value = Object.hasOwn(filters, name) ? filters[name] : undefined;
  if (value !== undefined) return (resource) => [value(resource) ?? []].flat();
  if (name === 'tag-key') return (resource) => [...tagsOf(resource).keys()];
  if (name === 'tag-value') return (resource) => [...tagsOf(resource).values()];
  const key = /^tag:(.*)$/s.exec(name)?.[1];
  return key === undefined ? undefined : (resource) => [tagsOf(resource).get(key) ?? []].flat();
}

export type PageLimits = { readonly least: number; readonly most: number };

/** Items must come in a stable order with growing `position`; the token is the last position given out. */
export function readPage<T>(
  params: Params,
  items: readonly T[],
  position: (item: T) => number,
  { least, most }: PageLimits,
): { page: readonly T[]; nextToken: string | undefined } {
  const size = params.integer('MaxResults');
  if (size !== undefined && (size < least || size > most)) {
    throw new CloudError(
      'InvalidParameterValue',
      `Value ( ${size} ) for parameter maxResults is invalid. Expecting a value from ${least} to ${most}.`,
    );
  }
  const after = readToken(params.text('NextToken'));
  const rest = after === undefined ? items : items.filter((item) => position(item) > after);
  const page = size === undefined ? rest : rest.slice(0, size);
  const last = page.at(-1);
  return {
    page,
    nextToken: last === undefined || page.length === rest.length ? undefined : writeToken(position(last)),
  };
}

const MAX_FILTER_VALUES = 200;

function anyOf(patterns: readonly string[]): (value: string) => boolean {
  // Plain values in a set: a look-up of 200 instance ids among thousands must not be a product.
  const plain = new Set(patterns.filter((pattern) => !/[*?\\]/.test(pattern)));
  const wild = patterns.filter((pattern) => !plain.has(pattern)).map(toExpression);
  return (value) => plain.has(value) || wild.some((expression) => expression.test(value));
}

function toExpression(pattern: string): RegExp {
  const source = pattern.replace(/\\([*?\\])|([*?])|([.+^${}()|[\]\\/-])/g, (_, escaped, wildcard, special) => {
    if (escaped !== undefined) return `\\${String(escaped)}`;
    if (wildcard !== undefined) return wildcard === '*' ? '[^]*' : '[^]';
    return `\\${String(special)}`;
  });
  return new RegExp(`^${source}$`);
}

function writeToken(position: number): string {
  return Buffer.from(`after:${position}`).toString('base64url');
}

function readToken(token: string | undefined): number | undefined {
  if (token === undefined || token === '') return undefined;
  const match = /^after:(\d+)$/.exec(Buffer.from(token, 'base64url').toString());
  if (match === null) throw new CloudError('InvalidNextToken', `The NextToken '${token}' is not valid.`);
  return Number(match[1]);
}
