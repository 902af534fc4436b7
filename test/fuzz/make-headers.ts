import type { Operation, Parameter } from './document.ts';
import type { Draw } from './draw.ts';
import { HOSTILE_STRINGS } from './hostile.ts';
import type { Sources } from './sources.ts';
import { textOf } from './values.ts';

type Header = readonly [name: string, value: string];

export function makeHeaders(
  draw: Draw,
  sources: Pick<Sources, 'values' | 'known'>,
  operation: Operation,
  {
    faults,
    authorization,
    bodyType,
  }: {
    readonly faults: number;
    readonly authorization: string | undefined;
    /** Media type of the body, if there is one. */
    readonly bodyType: string | undefined;
  },
): Header[] {
  const headers: Header[] = [
    // Wrong tokens lock an address out: it is another one nearly every time.
    ['x-forwarded-for', draw.chance(0.02) ? '' : `10.${draw.between(0, 255)}.${draw.between(0, 255)}.7`],
    ...(authorization === undefined ? [] : [['authorization', authorization] as const]),
    ...(bodyType === undefined ? [] : [['content-type', contentTypeOf(draw, bodyType, faults)] as const]),
    ...parametersOf(draw, sources, operation, faults),
    ...extrasOf(draw, operation, faults),
  ];
  return headers.map(([name, value]) => [name, toHeader(value)]);
}

function contentTypeOf(draw: Draw, type: string, faults: number): string {
  if (!draw.chance(faults)) return draw.chance(0.9) ? type : `${type}; charset=utf-8`;
  return draw.pick([
    'application/json',
    'application/merge-patch+json',
    'application/x-www-form-urlencoded',
    'application/octet-stream',
    'multipart/form-data; boundary=x',
    'text/plain',
    'text/xml',
    'APPLICATION/JSON',
    'application/json; charset=utf-16',
    'application/json; charset="',
    'application/json, text/html',
    'application/',
    '/',
    '',
    'a'.repeat(5_000),
    '__proto__',
  ]);
}

function parametersOf(
  draw: Draw,
  { values, known }: Pick<Sources, 'values' | 'known'>,
  operation: Operation,
  faults: number,
): Header[] {
  return operation.parameters
    .filter(
      (parameter) => parameter.in === 'header' && (parameter.required ? !draw.chance(faults / 2) : draw.chance(0.2)),
    )
    .map(({ name, schema }) => [name, valueOf(draw, { name, schema }, { values, known }, faults)] as const);
}

function valueOf(
  draw: Draw,
  { name, schema }: Pick<Parameter, 'name' | 'schema'>,
  { values, known }: Pick<Sources, 'values' | 'known'>,
  faults: number,
): string {
  if (draw.chance(faults)) return draw.pick([...HOSTILE_STRINGS, 'a'.repeat(256), '"', 'W/"1"', '*, "1"', '"a","b"']);
  switch (name.toLowerCase()) {
    case 'if-match':
    case 'if-none-match':
      return draw.pick([
        '*',
        '"1"',
        'W/"2"',
        '"x"',
        known.pick('etag', draw) ?? '"1"',
        known.pick('etag', draw) ?? '*',
      ]);
    case 'idempotency-key':
      // Few enough that some come again, with another request.
      return draw.chance(0.5) ? draw.hex(32) : `key-${draw.between(1, 60)}`;
    case 'last-event-id':
      return String(draw.between(0, 500));
    default:
      return textOf(values.make(draw, schema, 0));
  }
}

/** Headers that no route needs and that clients, proxies and attackers send. */
function extrasOf(draw: Draw, { answers }: Operation, faults: number): Header[] {
  const headers: Header[] = [];
  const types = Object.values(answers).flatMap((answer) => Object.keys(answer));
  if (draw.chance(0.2)) headers.push(['accept', draw.pick([...types, '*/*', 'text/html', 'text/event-stream', ''])]);
  if (!draw.chance(faults * 2)) return headers;
  headers.push(
    draw.pick<Header>([
      ['expect', '100-continue'],
      ['expect', 'wonders'],
      ['x-request-id', draw.pick(HOSTILE_STRINGS)],
      ['x-request-id', `fuzz-${draw.hex(6)}`],
      ['content-encoding', draw.pick(['gzip', 'br', 'identity', 'x'])],
      ['accept-encoding', 'gzip, br, *;q=0'],
      ['range', 'bytes=0-1,2-3'],
      ['if-match', draw.pick(['*', '""', ...HOSTILE_STRINGS])],
      ['if-none-match', draw.pick(['*', '"1"', ...HOSTILE_STRINGS])],
      ['if-modified-since', 'never'],
      ['last-event-id', draw.pick(HOSTILE_STRINGS)],
      ['idempotency-key', draw.pick(['a b', 'é', 'a'.repeat(256), ...HOSTILE_STRINGS])],
      ['origin', draw.pick(['null', 'http://127.0.0.1', 'https://evil.example', '://'])],
      ['sec-fetch-site', 'cross-site'],
      ['x-forwarded-host', draw.pick(['evil.example', '', '[::', HOSTILE_STRINGS[1] ?? ''])],
      ['x-forwarded-proto', draw.pick(['https', 'javascript', ''])],
      ['x-forwarded-for', draw.pick(['::1', '1', '999.9.9.9', 'a, b', '2001:db8::1%eth0', ','.repeat(500)])],
      ['x-http-method-override', 'DELETE'],
      ['upgrade', 'websocket'],
      ['connection', draw.pick(['close', 'keep-alive, x', 'upgrade'])],
      ['te', 'trailers'],
      ['cookie', 'a=b; __proto__=c'],
      ['traceparent', draw.pick(['00-0-0-0', `00-${draw.hex(32)}-${draw.hex(16)}-01`, HOSTILE_STRINGS[3] ?? ''])],
      ['a'.repeat(draw.pick([100, 2_000])), 'x'],
    ]),
  );
  return headers;
}

/** As far as a header can carry it: the rest is for raw sockets. */
function toHeader(value: string): string {
  const bytes = Buffer.from(value.toWellFormed().slice(0, 12_000)).filter((byte) => byte >= 0x20 && byte !== 0x7f);
  return Buffer.from(bytes).toString('latin1').trim();
}
