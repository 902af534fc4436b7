import { CloudError } from '../errors.ts';
import { escapeXml, toXml } from '../xml.ts';
import type { StoredObject } from './store.ts';

/** ListObjectsV2 over objects in key order. Keys that share a prefix up to the delimiter count as one entry. */
export function listAnswer(bucket: string, objects: readonly StoredObject[], query: URLSearchParams): string {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const most = readMaxKeys(query.get('max-keys'));
  const encode = query.get('encoding-type') === 'url' ? encodeKey : (key: string) => key;
  const after = readToken(query.get('continuation-token')) ?? query.get('start-after') ?? '';

  const entries = collapse(objects, prefix, delimiter).filter(({ name }) => compare(name, after) > 0);
  const page = entries.slice(0, most);
  const isTruncated = most > 0 && entries.length > page.length;
  const last = page.at(-1);
  const head = {
    Name: bucket,
    Prefix: encode(prefix),
    Delimiter: delimiter === '' ? undefined : encode(delimiter),
    MaxKeys: most,
    EncodingType: query.get('encoding-type') ?? undefined,
    KeyCount: page.length,
    IsTruncated: isTruncated,
    ContinuationToken: query.get('continuation-token') ?? undefined,
    NextContinuationToken: isTruncated && last !== undefined ? writeToken(last.name) : undefined,
    StartAfter: query.get('start-after') ?? undefined,
  };
  const inner = Object.entries(head).map(([name, value]) => toXml(name, value));
  const items = page.map(({ name, object }) =>
    object === undefined
      ? `<CommonPrefixes><Prefix>${escapeXml(encode(name))}</Prefix></CommonPrefixes>`
      : toXml('Contents', {
          Key: encode(name),
          LastModified: new Date(object.lastModified),
          ETag: object.etag,
          Size: object.size,
          StorageClass: 'STANDARD',
        }),
  );
  const body = [...inner, ...items].join('');
  return `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${body}</ListBucketResult>`;
}

type Entry = { readonly name: string; readonly object: StoredObject | undefined };

function collapse(objects: readonly StoredObject[], prefix: string, delimiter: string): Entry[] {
  const entries: Entry[] = [];
  for (const object of objects) {
    if (!object.key.startsWith(prefix)) continue;
    const end = delimiter === '' ? -1 : object.key.indexOf(delimiter, prefix.length);
    const common = end < 0 ? undefined : object.key.slice(0, end + delimiter.length);
    if (common === undefined) entries.push({ name: object.key, object });
    else if (entries.at(-1)?.name !== common) entries.push({ name: common, object: undefined });
  }
  return entries;
}

function readMaxKeys(text: string | null): number {
  if (text === null) return 1000;
  if (!/^\d{1,9}$/.test(text))
    throw new CloudError('InvalidArgument', `Provided max-keys not an integer or within integer range: ${text}`);
  return Math.min(1000, Number(text));
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function encodeKey(key: string): string {
  return encodeURIComponent(key).replaceAll('%2F', '/').replaceAll('%20', '+');
}

function writeToken(name: string): string {
  return Buffer.from(`after ${name}`).toString('base64url');
}

function readToken(token: string | null): string | undefined {
  if (token === null) return undefined;
  const text = Buffer.from(token, 'base64url').toString();
  if (!text.startsWith('after '))
    throw new CloudError('InvalidArgument', 'The continuation token provided is incorrect');
  return text.slice('after '.length);
}
