import { hash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../errors.ts';
import type { ProvenChecksum } from './checksums.ts';

export type StoredObject = {
  readonly key: string;
  /** With its quotes, as on the wire. */
  readonly etag: string;
  readonly size: number;
  /** ISO 8601 */
  readonly lastModified: string;
  /** Returned on GET: content-type, cache-control, x-amz-meta-… */
  readonly headers: Readonly<Record<string, string>>;
  readonly checksum: ProvenChecksum | undefined;
};

export type NewObject = Pick<StoredObject, 'key' | 'headers' | 'checksum'> & { readonly content: Buffer };

/** Buckets and objects; on disk when there is a folder, in memory otherwise. A write is whole or not at all. */
export type ObjectStore = {
  buckets(): readonly { readonly name: string; readonly createdAt: string }[];
  createBucket(name: string): Promise<void>;
  /** In key order (UTF-8 bytes). @throws NoSuchBucket, as all below */
  list(bucket: string): readonly StoredObject[];
  find(bucket: string, key: string): StoredObject | undefined;
  read(bucket: string, object: StoredObject): Promise<Buffer>;
  put(bucket: string, object: NewObject): Promise<StoredObject>;
  delete(bucket: string, key: string): Promise<void>;
};

export async function openObjectStore(folder: string | undefined): Promise<ObjectStore> {
  const buckets = folder === undefined ? new Map<string, Bucket>() : await readBuckets(folder);
  const bucketOf = (name: string): Bucket => {
    const bucket = buckets.get(name);
    if (bucket === undefined) throw new CloudError('NoSuchBucket', 'The specified bucket does not exist');
    return bucket;
  };
  const pathOf = (bucket: string, ...parts: string[]): string => join(folder ?? '', bucket, ...parts);

  return {
    buckets: () => [...buckets].map(([name, { createdAt }]) => ({ name, createdAt })),
    createBucket: async (name) => {
      const bucket: Bucket = { createdAt: new Date().toISOString(), objects: new Map() };
      if (folder !== undefined) {
        await mkdir(pathOf(name), { recursive: true });
        await writeWhole(pathOf(name, BUCKET_FILE), JSON.stringify({ createdAt: bucket.createdAt }));
      }
      buckets.set(name, bucket);
    },
    list: (name) => {
      const bucket = bucketOf(name);
      bucket.sorted ??= [...bucket.objects.values()]
        .map(({ object }) => object)
        .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
      return bucket.sorted;
    },
    find: (name, key) => bucketOf(name).objects.get(key)?.object,
    read: async (name, object) => {
      const held = bucketOf(name).objects.get(object.key)?.content;
      return held ?? readFile(pathOf(name, contentFile(object)));
    },
    put: async (name, { content, ...rest }) => {
      const bucket = bucketOf(name);
      const etag = `"${hash('md5', content)}"`;
      const object: StoredObject = { ...rest, etag, size: content.length, lastModified: new Date().toISOString() };
      const before = bucket.objects.get(rest.key)?.object;
      if (folder !== undefined) {
        // The content's name carries its digest: the description switches from the old one to the new in one rename.
        await writeWhole(pathOf(name, contentFile(object)), content);
        await writeWhole(pathOf(name, `${hashOf(object.key)}.json`), JSON.stringify(object));
      }
      bucket.objects.set(object.key, { object, content: folder === undefined ? content : undefined });
      bucket.sorted = undefined;
      if (folder !== undefined && before !== undefined && before.etag !== etag)
        await rm(pathOf(name, contentFile(before)), { force: true });
      return object;
    },
    delete: async (name, key) => {
      const bucket = bucketOf(name);
      const object = bucket.objects.get(key)?.object;
      if (object === undefined) return;
      bucket.objects.delete(key);
      bucket.sorted = undefined;
      if (folder === undefined) return;
      await rm(pathOf(name, `${hashOf(key)}.json`), { force: true });
      await rm(pathOf(name, contentFile(object)), { force: true });
    },
  };
}

type Bucket = {
  readonly createdAt: string;
  readonly objects: Map<string, { readonly object: StoredObject; readonly content: Buffer | undefined }>;
  sorted?: readonly StoredObject[] | undefined;
};

const BUCKET_FILE = 'bucket.json';

// Keys may hold slashes, dots and 1,024 bytes: none of that is left to the file system.
function hashOf(key: string): string {
  return hash('sha256', key);
}

function contentFile({ key, etag }: StoredObject): string {
  return `${hashOf(key)}.${etag.replaceAll('"', '')}`;
}

async function readBuckets(folder: string): Promise<Map<string, Bucket>> {
  await mkdir(folder, { recursive: true });
  const buckets = new Map<string, Bucket>();
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(folder, entry.name);
    const files = await readdir(path);
    if (!files.includes(BUCKET_FILE)) continue;
    const { createdAt } = JSON.parse(await readFile(join(path, BUCKET_FILE), 'utf8')) as { createdAt: string };
    const descriptions = files.filter((file) => file.endsWith('.json') && file !== BUCKET_FILE);
    const objects: Bucket['objects'] = new Map();
    for (const file of descriptions) {
      const object = JSON.parse(await readFile(join(path, file), 'utf8')) as StoredObject;
      objects.set(object.key, { object, content: undefined });
    }
    buckets.set(entry.name, { createdAt, objects });
  }
  return buckets;
}

async function writeWhole(path: string, content: string | Buffer): Promise<void> {
  const temporary = `${path}.${process.hrtime.bigint()}.new`;
  await writeFile(temporary, content, { mode: 0o600 });
  await rename(temporary, path);
}
