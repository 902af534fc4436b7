import { createHash, randomUUID } from 'node:crypto';
import { CloudError } from '../errors.ts';
import { toXml } from '../xml.ts';
import { readUpload } from './body.ts';
import { keptHeaders } from './headers.ts';
import type { S3Operation, S3Request } from './operation.ts';
import type { ObjectStore, Upload } from './store.ts';

export function createUpload({ headers }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: 'CreateMultipartUpload',
    run: (store) => {
      store.list(bucket);
      const uploadId = randomUUID();
      store.uploads.set(uploadId, { bucket, key, headers: keptHeaders(headers), parts: new Map() });
      return answer('InitiateMultipartUploadResult', { Bucket: bucket, Key: key, UploadId: uploadId });
    },
  };
}

export function uploadPart({ headers, query }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: 'UploadPart',
    run: (store, body) => {
      const upload = findUpload(store, query, bucket, key);
      const number = Number(query.get('partNumber'));
      if (!Number.isInteger(number) || number < 1 || number > 10_000) {
        throw new CloudError('InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive');
      }
      const { content, checksum } = readUpload(headers, body);
      const etag = `"${md5(content).toString('hex')}"`;
      upload.parts.set(number, { content, etag });
      const given = checksum === undefined ? {} : { [`x-amz-checksum-${checksum.algorithm}`]: checksum.value };
      return { status: 200, headers: { etag, ...given } };
    },
  };
}

export function completeUpload({ query }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: 'CompleteMultipartUpload',
    run: async (store, body) => {
      const upload = findUpload(store, query, bucket, key);
      const parts = readParts(body.toString(), upload);
      const digests = parts.map(({ content }) => md5(content));
      const etag = `"${md5(Buffer.concat(digests)).toString('hex')}-${parts.length}"`;
      const content = Buffer.concat(parts.map((part) => part.content));
      await store.put(bucket, { key, content, etag, headers: upload.headers, checksum: undefined });
      store.uploads.delete(query.get('uploadId') ?? '');
      return answer('CompleteMultipartUploadResult', {
        Location: `/${bucket}/${key}`,
        Bucket: bucket,
        Key: key,
        ETag: etag,
      });
    },
  };
}

export function abortUpload({ query }: S3Request, bucket: string, key: string): S3Operation {
  return {
    action: 'AbortMultipartUpload',
    run: (store) => {
      findUpload(store, query, bucket, key);
      store.uploads.delete(query.get('uploadId') ?? '');
      return { status: 204 };
    },
  };
}

/** All but the last; smaller ones would be accepted here and refused by S3. */
const LEAST_PART_BYTES = 5 * 1024 * 1024;

function findUpload(store: ObjectStore, query: URLSearchParams, bucket: string, key: string): Upload {
  const upload = store.uploads.get(query.get('uploadId') ?? '');
  if (upload?.bucket === bucket && upload.key === key) return upload;
  throw new CloudError('NoSuchUpload', 'The specified multipart upload does not exist.', 404);
}

/** The parts that the client lists, in its order, which must be ascending. */
function readParts(xml: string, upload: Upload): { readonly content: Buffer }[] {
  const listed = [...xml.matchAll(/<Part>([^]*?)<\/Part>/g)].map(([, part = '']) => ({
    number: Number(/<PartNumber>\s*(\d+)\s*<\/PartNumber>/.exec(part)?.[1]),
    etag: /<ETag>([^<]*)<\/ETag>/
      .exec(part)?.[1]
      ?.replaceAll('&quot;', '')
      .replaceAll('&#34;', '')
      .replaceAll('"', '')
      .trim(),
  }));
  if (listed.length === 0) throw new CloudError('MalformedXML', 'The XML you provided was not well-formed');
  if (listed.some(({ number }, index) => number <= (listed[index - 1]?.number ?? 0))) {
    throw new CloudError('InvalidPartOrder', 'The list of parts was not in ascending order.');
  }
  return listed.map(({ number, etag }, index) => {
    const part = upload.parts.get(number);
    if (part?.etag !== `"${etag ?? ''}"`) {
      throw new CloudError('InvalidPart', `Part ${number} was not uploaded, or its entity tag does not match.`);
    }
    if (index < listed.length - 1 && part.content.length < LEAST_PART_BYTES) {
      throw new CloudError('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
    }
    return part;
  });
}

function md5(content: Buffer): Buffer {
  return createHash('md5').update(content).digest();
}

function answer(name: string, fields: Readonly<Record<string, string>>) {
  const body = toXml(name, fields, ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"');
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}`,
  };
}
