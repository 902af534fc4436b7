import type { Operation } from './document.ts';

export type FuzzRequest = {
  /** The operation it is checked by; undefined: no route is meant. */
  readonly operation: Operation | undefined;
  readonly method: string;
  /** With its query, as it goes over the wire. */
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer | undefined;
};

/** Whether the answer may be parked: a poll, also in a spelling that went astray and leads there; a wait, a stream. */
export function mayPark({ path }: FuzzRequest): boolean {
  return /\/agent\/(v1|%76%31)\/orders|[?&](wait|follow)=/.test(path);
}

const LONGEST_BODY = 400;

/** For a person to repeat it. */
export function toCurl({ method, path, headers, body }: FuzzRequest, url: string): string {
  const parts = ['curl -i --path-as-is', `-X ${quote(method)}`];
  for (const [name, value] of headers) {
    // An empty header is written with a semicolon.
    parts.push(`-H ${quote(value === '' ? `${name};` : `${name}: ${value}`)}`);
  }
  if (body !== undefined) parts.push(`--data-binary ${quoteBytes(body)}`);
  return `${parts.join(' ')} ${quote(url + path)}`;
}

function quote(text: string): string {
  return quoteBytes(Buffer.from(text, 'latin1'));
}

/** As bash reads it; cut short, since some are megabytes. */
function quoteBytes(bytes: Buffer): string {
  const shown = bytes.subarray(0, LONGEST_BODY);
  const cut = bytes.length > shown.length ? ` # and ${bytes.length - shown.length} bytes more` : '';
  const isPlain = shown.every((byte) => byte >= 0x20 && byte < 0x7f && byte !== 0x27);
  if (isPlain) return `'${shown.toString('latin1')}'${cut}`;
  const escaped = [...shown].map((byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, '0')}`,
  );
  return `$'${escaped.join('')}'${cut}`;
}
