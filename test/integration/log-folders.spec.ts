import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { CreateBucketCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { startTestCloud, type TestCloud } from '../../local/cloud/test-support.ts';
import { ObjectStore } from '../../src/aws/s3.ts';
import { chunkKey, type ObjectFolder } from '../../src/logs/chunk-objects.ts';
import { DirectoryFolder } from '../../src/logs/directory-folder.ts';
import { S3Folder } from '../../src/logs/s3-folder.ts';

describe('a folder of log objects', () => {
  let cloud: TestCloud;
  let directory: string;
  let folders: Record<string, ObjectFolder>;
  const before = { ...process.env };

  beforeAll(async () => {
    cloud = await startTestCloud();
    await cloud.s3.send(new CreateBucketCommand({ Bucket: 'logs' }));
    Object.assign(process.env, cloud.cloud.clientEnvironment);
    directory = await mkdtemp(join(tmpdir(), 'scheduler-logs-'));
    const store = new ObjectStore({ region: 'us-west-2', isPathStyle: true });
    folders = {
      s3: new S3Folder(store, 'logs', 'jobs/'),
      'another prefix of the bucket': new S3Folder(store, 'logs', 'job'),
      directory: new DirectoryFolder(join(directory, 'made/when/needed')),
    };
  });
  afterAll(async () => {
    process.env = before;
    await cloud.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it.each(['s3', 'directory'])('of %s keeps, replaces, lists and forgets', async (kind) => {
    const folder = folders[kind]!;
    const keys = [1, 501, 1001].map((firstLine) => chunkKey({ jobId: 'one', firstLine, lastLine: firstLine + 499 }));
    const elsewhere = chunkKey({ jobId: 'two', firstLine: 1, lastLine: 2 });
    expect(await folder.get(keys[0]!)).toBeUndefined();
    expect(await listed(folder, 'one/')).toEqual([]);
    await folder.delete(keys);
    for (const key of [...keys, elsewhere]) await folder.put(key, Buffer.from(`first of ${key}`));
    await folder.put(keys[1]!, Buffer.from([0, 255, 10]));
    expect(Buffer.from((await folder.get(keys[1]!))!)).toEqual(Buffer.from([0, 255, 10]));
    expect(await listed(folder, 'one/')).toEqual(keys);
    await folder.delete(keys.slice(0, 2));
    expect(await listed(folder, 'one/')).toEqual(keys.slice(2));
    expect(await folder.get(keys[0]!)).toBeUndefined();
    expect(await folder.get(elsewhere)).toBeDefined();
  });

  it('knows nothing of what others keep in the same bucket', async () => {
    await folders['another prefix of the bucket']!.put('x', Buffer.from('x'));
    expect(await folders['s3']!.get('x')).toBeUndefined();
    expect(await listed(folders['s3']!, 'x')).toEqual([]);
  });

  it('fails loudly when there is no such bucket, in time', async () => {
    const store = new ObjectStore({ region: 'us-west-2', isPathStyle: true, timeoutMs: 5_000 });
    const folder = new S3Folder(store, 'nowhere', '');
    await expect(folder.put('x', Buffer.from('x'))).rejects.toThrow();
    await expect(folder.get('x')).rejects.toThrow();
    await expect(listed(folder, '')).rejects.toThrow();
  });

  describe('in a bucket of another region', () => {
    afterEach(() => cloud.cloud.faults.clear());

    it.each(['redirect', 'malformed'] as const)(
      'asks where S3 says that it is (%s), and from then on there',
      async (answer) => {
        cloud.cloud.faults.moveBucket('logs', 'eu-west-1', answer);
        const store = new ObjectStore({ region: 'us-west-2', isPathStyle: true });
        const folder = new S3Folder(store, 'logs', `${answer}/`);
        const calls = () =>
          cloud.cloud.ledger
            .calls()
            .filter(({ service }) => service === 's3')
            .map(({ outcome }) => outcome);
        const before = calls().length;
        await folder.put('one', Buffer.from('1'));
        expect(Buffer.from((await folder.get('one'))!).toString()).toBe('1');
        expect(await listed(folder, '')).toEqual(['one']);
        expect(await store.readText({ bucket: 'logs', key: `${answer}/one` })).toBe('1');
        await folder.delete(['one']);
        expect(await folder.get('one')).toBeUndefined();
        const wrong = answer === 'redirect' ? 'PermanentRedirect' : 'AuthorizationHeaderMalformed';
        expect(calls().slice(before)).toEqual([wrong, 'ok', 'ok', 'ok', 'ok', 'ok', 'NoSuchKey']);
        store.close();
      },
    );

    it('is read and written by many at once', async () => {
      cloud.cloud.faults.moveBucket('logs', 'eu-west-1');
      const store = new ObjectStore({ region: 'us-west-2', isPathStyle: true });
      const folder = new S3Folder(store, 'logs', 'many/');
      const keys = Array.from({ length: 24 }, (_, n) => `object-${n}`);
      await Promise.all(keys.map((key) => folder.put(key, Buffer.from(key))));
      const found = await Promise.all(keys.map(async (key) => Buffer.from((await folder.get(key))!).toString()));
      expect(found).toEqual(keys);
      store.close();
    });

    it('is named also in answers to HEAD, as S3 names it', async () => {
      cloud.cloud.faults.moveBucket('logs', 'eu-west-1');
      const head = cloud.s3.send(new HeadObjectCommand({ Bucket: 'logs', Key: 'x' }));
      await expect(head).rejects.toMatchObject({
        $metadata: { httpStatusCode: 301 },
        $response: { headers: { 'x-amz-bucket-region': 'eu-west-1' } },
      });
    });
  });

  describe('below a prefix, of a bucket that may be listed there only', () => {
    afterEach(() => cloud.cloud.faults.clear());

    it('is told that an object is gone, although S3 does not say so', async () => {
      const folder = folders['s3']!;
      cloud.cloud.faults.limitListing('logs', 'jobs/');
      await expect(cloud.s3.send(new HeadObjectCommand({ Bucket: 'logs', Key: 'jobs/x/gone' }))).rejects.toMatchObject({
        $metadata: { httpStatusCode: 403 },
      });
      // The key of another begins as this one does.
      await folder.put('x/gone-not', Buffer.from('1'));
      expect(await folder.get('x/gone')).toBeUndefined();
    });

    it('is not told so of one that it may not read, nor when it cannot know', async () => {
      const folder = folders['s3']!;
      await folder.put('x/kept', Buffer.from('1'));
      cloud.cloud.faults.denyAction('GetObject');
      await expect(folder.get('x/kept')).rejects.toMatchObject({ name: 'AccessDenied' });
      cloud.cloud.faults.clear();
      cloud.cloud.faults.limitListing('logs', 'elsewhere/');
      await expect(folder.get('x/gone')).rejects.toMatchObject({ name: 'AccessDenied' });
    });
  });

  async function listed(folder: ObjectFolder, prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const some of folder.list(prefix)) keys.push(...some);
    return keys.toSorted();
  }
});
