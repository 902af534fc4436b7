import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  paginateListObjectsV2,
  PutObjectCommand,
  type PutObjectCommandInput,
} from '@aws-sdk/client-s3';
import { CHECKSUMS } from './s3/checksums.ts';
import { startTestCloud, type TestCloud } from './test-support.ts';

const Bucket = 'secrets-bucket';

describe.each(['memory', 'disk'])('S3 in %s', (where) => {
  let test: TestCloud;
  let stateDir: string;
  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'local-cloud-'));
    test = await startTestCloud(where === 'disk' ? { stateDir } : {});
    await test.s3.send(new CreateBucketCommand({ Bucket }));
  });
  afterEach(async () => {
    await test.stop();
    await rm(stateDir, { recursive: true });
  });

  const put = async (Key: string, Body: string, input: Partial<PutObjectCommandInput> = {}) =>
    test.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...input }));
  const get = async (Key: string, input = {}) => test.s3.send(new GetObjectCommand({ Bucket, Key, ...input }));

  it('gives back what was put, type, metadata and checksum included', async () => {
    const Key = 'secrets/ä b+c&d%.env';
    const { ETag } = await put(Key, 'A=1\r\nB=ü\n', { ContentType: 'text/plain', Metadata: { by: 'me' } });
    const found = await get(Key, { ChecksumMode: 'ENABLED' });
    expect(found).toMatchObject({ ETag, ContentType: 'text/plain', ContentLength: 10, Metadata: { by: 'me' } });
    expect(found.ChecksumCRC32).toBeDefined();
    expect(found.ContentEncoding).toBeUndefined();
    expect(await found.Body?.transformToString()).toBe('A=1\r\nB=ü\n');
    const head = await test.s3.send(new HeadObjectCommand({ Bucket, Key }));
    expect(head).toMatchObject({ ETag, ContentLength: 10 });
  });

  it.each(['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const)('verifies %s', async (ChecksumAlgorithm) => {
    const right = await CHECKSUMS[ChecksumAlgorithm.toLowerCase()]!(Buffer.from('hello'));
    const given = { [`Checksum${ChecksumAlgorithm}`]: right };
    await expect(put('a', 'hello', given)).resolves.toHaveProperty('ETag');
    await expect(put('a', 'hallo', given)).rejects.toMatchObject({ name: 'BadDigest' });
    expect(await (await get('a')).Body?.transformToString()).toBe('hello');
  });

  it('replaces and deletes', async () => {
    await put('a', 'one');
    await put('a', 'two');
    expect(await (await get('a')).Body?.transformToString()).toBe('two');
    await test.s3.send(new DeleteObjectCommand({ Bucket, Key: 'a' }));
    await test.s3.send(new DeleteObjectCommand({ Bucket, Key: 'a' }));
    await expect(get('a')).rejects.toMatchObject({ name: 'NoSuchKey', $metadata: { httpStatusCode: 404 } });
    await expect(test.s3.send(new HeadObjectCommand({ Bucket, Key: 'a' }))).rejects.toMatchObject({ name: 'NotFound' });
  });

  it('gives ranges', async () => {
    await put('a', '0123456789');
    const range = async (Range: string) => {
      const part = await get('a', { Range, ChecksumMode: 'ENABLED' });
      return [await part.Body?.transformToString(), part.ContentRange];
    };
    await expect(range('bytes=2-4')).resolves.toEqual(['234', 'bytes 2-4/10']);
    await expect(range('bytes=7-')).resolves.toEqual(['789', 'bytes 7-9/10']);
    await expect(range('bytes=-2')).resolves.toEqual(['89', 'bytes 8-9/10']);
    await expect(range('bytes=10-')).rejects.toMatchObject({ name: 'InvalidRange' });
  });

  it('writes on conditions: the lock of a Terraform state', async () => {
    await put('lock', 'mine', { IfNoneMatch: '*' });
    const both = await Promise.allSettled([put('b', '1', { IfNoneMatch: '*' }), put('b', '2', { IfNoneMatch: '*' })]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await expect(put('lock', 'yours', { IfNoneMatch: '*' })).rejects.toMatchObject({ name: 'PreconditionFailed' });
    await expect(put('lock', 'x', { IfMatch: '"0"' })).rejects.toMatchObject({ name: 'PreconditionFailed' });
  });

  it('tells times in whole seconds', async () => {
    await put('a', '1');
    const { Contents } = await test.s3.send(new ListObjectsV2Command({ Bucket }));
    const { Buckets } = await test.s3.send(new ListBucketsCommand({}));
    const times = [Contents?.[0]?.LastModified, (await get('a')).LastModified, Buckets?.[0]?.CreationDate];
    expect(times.map((time) => (time?.getTime() ?? NaN) % 1000)).toEqual([0, 0, 0]);
  });

  it('lists by prefix, delimiter and page', async () => {
    for (const key of ['a/1', 'a/2', 'a/b/3', 'c', 'z<&>']) await put(key, key);
    const list = async (input = {}) => {
      const { Contents = [], CommonPrefixes = [] } = await test.s3.send(new ListObjectsV2Command({ Bucket, ...input }));
      return [...Contents.map(({ Key }) => Key), ...CommonPrefixes.map(({ Prefix }) => Prefix)];
    };
    await expect(list()).resolves.toEqual(['a/1', 'a/2', 'a/b/3', 'c', 'z<&>']);
    await expect(list({ Delimiter: '/' })).resolves.toEqual(['c', 'z<&>', 'a/']);
    await expect(list({ Prefix: 'a/', Delimiter: '/' })).resolves.toEqual(['a/1', 'a/2', 'a/b/']);
    await expect(list({ StartAfter: 'a/b/3' })).resolves.toEqual(['c', 'z<&>']);
    const pages: (string | undefined)[][] = [];
    for await (const page of paginateListObjectsV2({ client: test.s3, pageSize: 2 }, { Bucket })) {
      pages.push((page.Contents ?? []).map(({ Key }) => Key));
    }
    expect(pages).toEqual([['a/1', 'a/2'], ['a/b/3', 'c'], ['z<&>']]);
  });

  it('says what is not there or not possible', async () => {
    const elsewhere = test.s3.send(new PutObjectCommand({ Bucket: 'other', Key: 'a', Body: 'x' }));
    await expect(elsewhere).rejects.toMatchObject({ name: 'NoSuchBucket' });
    const again = test.s3.send(new CreateBucketCommand({ Bucket }));
    await expect(again).rejects.toMatchObject({ name: 'BucketAlreadyOwnedByYou' });
    const invalid = test.s3.send(new CreateBucketCommand({ Bucket: 'Not_A_Bucket' }));
    await expect(invalid).rejects.toMatchObject({ name: 'InvalidBucketName' });
    const copy = test.s3.send(new CopyObjectCommand({ Bucket, Key: 'b', CopySource: `${Bucket}/a` }));
    await expect(copy).rejects.toMatchObject({ name: 'NotImplemented' });
    const unsigned = await fetch(`${test.cloud.endpoint}/${Bucket}/a`);
    expect([unsigned.status, await unsigned.text()]).toEqual([403, expect.stringContaining('AccessDenied')]);
    test.cloud.faults.failNext('GetObject', { code: 'SlowDown' });
    await expect(get('a')).rejects.toMatchObject({ name: 'SlowDown', $metadata: { httpStatusCode: 503 } });
  });
});
