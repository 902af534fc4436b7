import { encode } from './bodies.ts';
import { pickCaller } from './callers.ts';
import type { Operation } from './document.ts';
import type { Draw } from './draw.ts';
import { HOSTILE_QUERIES, HOSTILE_SEGMENTS } from './hostile.ts';
import { makeHeaders } from './make-headers.ts';
import type { FuzzRequest } from './request.ts';
import type { Sources } from './sources.ts';
import { mutate, textOf } from './values.ts';

export type Wish = {
  /** Probability of a fault at each place. */
  readonly faults: number;
  /** Parameters of the path, and fields of the body, that are decided. */
  readonly given?: Readonly<Record<string, string>>;
  /** Who sends it. Default: drawn. */
  readonly authorization?: string;
};

export function makeRequest(draw: Draw, sources: Sources, operation: Operation, wish: Wish): FuzzRequest {
  const { faults, given = {} } = wish;
  const path = pathOf(draw, sources, operation, { faults, given });
  const body = bodyOf(draw, sources, operation, { faults, given });
  const caller =
    wish.authorization === undefined ? pickCaller(draw, sources.callers, operation).authorization : wish.authorization;
  const request: FuzzRequest = {
    operation,
    method: operation.method,
    path: path.text,
    headers: makeHeaders(draw, sources, operation, { faults, authorization: caller, bodyType: body?.type }),
    body: body?.bytes,
  };
  if (!path.isIntact) return { ...request, operation: undefined };
  return draw.chance(faults / 4) ? astray(draw, request) : request;
}

function pathOf(
  draw: Draw,
  { values, known }: Sources,
  { path, parameters }: Operation,
  { faults, given }: { readonly faults: number; readonly given: Readonly<Record<string, string>> },
): { readonly text: string; readonly isIntact: boolean } {
  let isIntact = true;
  const text = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const decided = given[name];
    if (decided !== undefined) return encodeURIComponent(decided);
    if (draw.chance(faults / 3)) {
      isIntact = false;
      return draw.pick(HOSTILE_SEGMENTS);
    }
    const prefix = path.slice(0, path.indexOf(`{${name}}`) + name.length + 2);
    const found = draw.chance(0.8) ? known.pick(prefix, draw) : undefined;
    if (found !== undefined) return encodeURIComponent(found);
    const schema = parameters.find((one) => one.in === 'path' && one.name === name)?.schema ?? {};
    const made = textOf(values.make(draw, schema, faults));
    // An empty one leads to another route, and so do dots.
    if (made === '' || /^\.+$/.test(made)) isIntact = false;
    return encodeURIComponent(made);
  });
  const query = queryOf(draw, { values, known }, { path, parameters }, faults);
  return { text: query === '' ? text : `${text}?${query}`, isIntact };
}

/** Parameters that take `nextCursor` of a page. */
const CURSORS = new Set(['cursor', 'after', 'before']);

function queryOf(
  draw: Draw,
  { values, known }: Pick<Sources, 'values' | 'known'>,
  { path, parameters }: Pick<Operation, 'path' | 'parameters'>,
  faults: number,
): string {
  const parts = parameters
    .filter((parameter) => parameter.in === 'query' && (parameter.required || draw.chance(0.4)))
    .map(({ name, schema }) => {
      const isCursor = CURSORS.has(name);
      const cursor = isCursor ? known.pick(`${path}?cursor`, draw) : undefined;
      // A cursor that the API did not return is a fault.
      const isMade = !isCursor || schema['type'] === 'integer' || draw.chance(faults);
      // Beyond what the document says of a field: Postgres keeps no text that holds one.
      const isNul = draw.chance(faults / 20);
      const value = cursor ?? (isNul ? 'a\0b' : isMade ? values.make(draw, schema, faults) : undefined);
      if (value === undefined) return '';
      return `${encodeURIComponent(name)}=${encodeURIComponent(textOf(value))}`;
    });
  if (draw.chance(faults / 2)) parts.push(draw.pick(HOSTILE_QUERIES));
  if (draw.chance(faults / 2)) parts.push(...parts);
  return parts
    .filter((part) => part !== '')
    .join('&')
    .slice(0, 12_000);
}

/** The API accepts 1 MiB. */
const TOO_LARGE = 1_100_000;

function bodyOf(
  draw: Draw,
  { values, document, forms }: Sources,
  operation: Operation,
  { faults, given }: { readonly faults: number; readonly given: Readonly<Record<string, string>> },
) {
  const declared = Object.entries(operation.bodies);
  if (operation.method !== 'GET' && draw.chance(faults / 15)) {
    return { type: declared[0]?.[0] ?? 'application/json', bytes: Buffer.alloc(TOO_LARGE, '"') };
  }
  if (declared.length === 0) {
    // Nothing is wanted: some clients send an empty object all the same, and some send anything.
    if (operation.method === 'GET' ? !draw.chance(faults / 8) : !draw.chance(faults)) return undefined;
    return { type: 'application/json', bytes: Buffer.from(draw.pick(['{}', '', 'null', '{"a":1}', '[', 'x'])) };
  }
  if (draw.chance(faults / 4)) return undefined;
  const [type, schema] = draw.pick(declared);
  const form = operation.path === '/agent/v1/register' && draw.chance(0.5) ? forms().at(-1) : undefined;
  const made =
    form === undefined ? values.make(draw, schema, faults) : Object.fromEntries(new URLSearchParams(form).entries());
  const properties = Object.keys(document.resolve(schema)['properties'] ?? {});
  const decided = Object.entries(given).filter(([name]) => properties.includes(name));
  const isObject = typeof made === 'object' && made !== null && !Array.isArray(made);
  const whole = isObject && decided.length > 0 ? { ...made, ...Object.fromEntries(decided) } : made;
  const value = draw.chance(faults) ? mutate(draw, whole) : whole;
  return { type, bytes: encode(draw, type, value, faults) };
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'LINK', 'M-SEARCH'];

/** The same to another method or another place: whatever is there must refuse it properly. */
function astray(draw: Draw, request: FuzzRequest): FuzzRequest {
  const [plain = '', query] = request.path.split(/\?(.*)/s);
  const withQuery = (path: string): string => (query === undefined ? path : `${path}?${query}`);
  if (draw.chance(0.5)) return { ...request, operation: undefined, method: draw.pick(METHODS) };
  const path = draw.pick<string>([
    `${plain}/`,
    `/${plain}`,
    plain.toUpperCase(),
    plain.replace('/v1', '/v2'),
    plain.replace('/v1', '/v1/..'),
    plain.replace('v1', '%76%31'),
    `${plain}/${draw.pick(HOSTILE_SEGMENTS)}`,
    `${plain};x=1`,
    `${plain}%2f`,
    plain.replaceAll('/', '\\'),
    '/',
    '//',
    '/*',
    '/docs/../v1/jobs',
    '/docs/%2e%2e/%2e%2e/package.json',
    '/docs/swagger-ui.css/../../../../../../etc/passwd',
    '/favicon.ico',
    '/metrics',
    '/agent/v1',
    `/${'a/'.repeat(2_000)}`,
    `http://127.0.0.1${plain}`,
  ]);
  return { ...request, operation: undefined, path: withQuery(path) };
}
