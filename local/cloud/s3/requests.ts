import type { IncomingHttpHeaders } from 'node:http';
import { CloudError } from '../errors.ts';
import { toXml } from '../xml.ts';
import { checkDigests } from './checksums.ts';
import { keptHeaders } from './headers.ts';
import { listAnswer } from './listing.ts';
import type { S3Answer, S3Operation, S3Request } from './operation.ts';
import type { StoredObject } from './store.ts';

/** Which operation a request is. @throws CloudError for one that is not implemented or not well-formed */
export function readS3Request(request: S3Request): S3Operation {
  const { bucket, key } = readPath(request.path);
  const what = `${request.method} ${bucket === '' ? 'service' : key === '' ? 'bucket' : 'object'}`;
  const queryNames = [...new Set(request.query.keys())].filter((name) => name !== 'x-id');
  const only = (allowed: readonly string[], operation: S3Operation): S3Operation => {
    const other = queryNames.find((name) => !allowed.includes(name));
    if (other === undefined) return operation;
    throw new CloudError('NotImplemented', `The local cloud does not implement ${what} with ?${other}.`);
  };
  if (request.headers['x-amz-copy-source'] !== undefined) {
    throw new CloudError('NotImplemented', 'The local cloud does not implement CopyObject.');
  }
  switch (what) {
    case 'GET service':
      return only(['max-buckets', 'prefix', 'continuation-token', 'bucket-region'], listBuckets());
    case 'PUT bucket':
      return only([], createBucket(bucket));
    case 'HEAD bucket':
      return only([], headBucket(bucket, request.region));
    case 'GET bucket':
      if (request.query.get('list-type') !== '2') break;
      return only(LIST_PARAMETERS, {
        action: 'ListObjectsV2',
        run: (store) => xml(listAnswer(bucket, store.list(bucket), request.query)),
      });
    case 'GET object':
    case 'HEAD object':
      return only([], getObject(request, bucket, key));
    case 'PUT object':
      return only([], putObject(request, bucket, key));
    case 'DELETE object':
      return only([], deleteObject(bucket, key));
  }
  throw new CloudError('NotImplemented', `The local cloud does not implement ${what}.`);
}

export function s3ErrorBody({ code, message }: CloudError, resource: string, requestId: string): string {
  const fields = { Code: code, Message: message, Resource: resource, RequestId: requestId, HostId: 'local-cloud' };
  return `<?xml version="1.0" encoding="UTF-8"?>\n${toXml('Error', fields)}`;
}

const LIST_PARAMETERS = [
  'list-type',
  'prefix',
  'delimiter',
  'max-keys',
  'continuation-token',
  'start-after',
  'encoding-type',
  'fetch-owner',
];

function readPath(path: string): { bucket: string; key: string } {
  const slash = path.indexOf('/', 1);
  const [bucket, key] = slash < 0 ? [path.slice(1), ''] : [path.slice(1, slash), path.slice(slash + 1)];
  try {
    const decoded = { bucket: decodeURIComponent(bucket), key: decodeURIComponent(key) };
    if (Buffer.byteLength(decoded.key) > 1024) throw new CloudError('KeyTooLongError', 'Your key is too long');
    return decoded;
  } catch (error) {
    if (error instanceof CloudError) throw error;
    throw new CloudError('InvalidURI', "Couldn't parse the specified URI.");
  }
}

function listBuckets(): S3Operation {
  return {
    action: 'ListBuckets',
    run: (store) => {
      const items = store
        .buckets()
        .map(({ name, createdAt }) => toXml('Bucket', { Name: name, CreationDate: new Date(createdAt) }));
      const owner = toXml('Owner', { ID: 'local-cloud', DisplayName: 'local-cloud' });
      return xml(
        `<ListAllMyBucketsResult xmlns="${NAMESPACE}">${owner}<Buckets>${items.join('')}</Buckets></ListAllMyBucketsResult>`,
      );
    },
  };
}

function createBucket(bucket: string): S3Operation {
  return {
    action: 'CreateBucket',
    run: async (store) => {
      if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || bucket.includes('..')) {
        throw new CloudError('InvalidBucketName', `The specified bucket is not valid: ${bucket}`);
      }
      if (store.buckets().some(({ name }) => name === bucket)) {
        const message = 'Your previous request to create the named bucket succeeded and you already own it.';
        throw new CloudError('BucketAlreadyOwnedByYou', message);
      }
      await store.createBucket(bucket);
      return { status: 200, headers: { location: `/${bucket}` } };
    },
  };
}

function headBucket(bucket: string, region: string): S3Operation {
  return {
    action: 'HeadBucket',
    run: (store) => {
      store.list(bucket);
      return { status: 200, headers: { 'x-amz-bucket-region': region } };
    },
  };
}

function getObject({ method, headers }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: method === 'HEAD' ? 'HeadObject' : 'GetObject',
    run: async (store) => {
      const object = store.find(bucket, key);
      if (object === undefined) throw new CloudError('NoSuchKey', 'The specified key does not exist.');
      refuseUnmatched(headers, object);
      const matching = headers['if-none-match'];
      if (matching !== undefined && matchesEtag(matching, object))
        return { status: 304, headers: { etag: object.etag } };
      const range = readRange(headers.range, object.size);
      const answered: Record<string, string> = {
        ...object.headers,
        etag: object.etag,
        'last-modified': new Date(object.lastModified).toUTCString(),
        'accept-ranges': 'bytes',
        'content-length': String(range === undefined ? object.size : range.last - range.first + 1),
      };
      if (range !== undefined) answered['content-range'] = `bytes ${range.first}-${range.last}/${object.size}`;
      // The checksum is that of the whole: with a part it would make the client reject the answer.
      else if (headers['x-amz-checksum-mode'] === 'ENABLED') Object.assign(answered, checksumHeaders(object));
      const status = range === undefined ? 200 : 206;
      if (method === 'HEAD') return { status, headers: answered };
      const content = await store.read(bucket, object);
      return {
        status,
        headers: answered,
        body: range === undefined ? content : content.subarray(range.first, range.last + 1),
      };
    },
  };
}

function putObject({ headers }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: 'PutObject',
    run: async (store, content) => {
      const before = store.find(bucket, key);
      if (headers['if-none-match'] === '*' && before !== undefined) throw preconditionFailed();
      if (headers['if-match'] !== undefined && before === undefined) {
        throw new CloudError('NoSuchKey', 'The specified key does not exist.');
      }
      if (before !== undefined) refuseUnmatched(headers, before);
      const checksum = await checkDigests(headers, content);
      const object = await store.put(bucket, { key, content, checksum, headers: keptHeaders(headers) });
      return { status: 200, headers: { etag: object.etag, ...checksumHeaders(object) } };
    },
  };
}

function deleteObject(bucket: string, key: string): S3Operation {
  return {
    action: 'DeleteObject',
    run: async (store) => {
      await store.delete(bucket, key);
      return { status: 204 };
    },
  };
}

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';

function checksumHeaders({ checksum }: StoredObject): Record<string, string> {
  if (checksum === undefined) return {};
  return { [`x-amz-checksum-${checksum.algorithm}`]: checksum.value, 'x-amz-checksum-type': 'FULL_OBJECT' };
}

function refuseUnmatched(headers: IncomingHttpHeaders, object: StoredObject): void {
  const wanted = headers['if-match'];
  if (wanted !== undefined && !matchesEtag(wanted, object)) throw preconditionFailed();
}

function matchesEtag(list: string, { etag }: StoredObject): boolean {
  const bare = etag.replaceAll('"', '');
  return list === '*' || list.split(',').some((entry) => entry.trim().replace(/^W\//, '').replaceAll('"', '') === bare);
}

function preconditionFailed(): CloudError {
  return new CloudError('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
}

function readRange(header: string | undefined, size: number): { first: number; last: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  // Several ranges, or none that can be read: S3 answers with the whole.
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  const [, from = '', to = ''] = match;
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (first > last) throw new CloudError('InvalidRange', 'The requested range is not satisfiable');
  return { first, last };
}

function xml(body: string): S3Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}`,
  };
}
