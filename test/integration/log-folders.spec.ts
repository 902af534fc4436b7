import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import { startTestCloud, type TestCloud } from '../../local/cloud/test-support.ts';
import { ObjectStore } from '../../src/aws/s3.js';
import { chunkKey, type ObjectFolder } from '../../src/logs/chunk-objects.js';
import { DirectoryFolder } from '../../src/logs/directory-folder.js';
import { S3Folder } from '../../src/logs/s3-folder.js';

describe('a folder of log objects', () => {
  let cloud: TestCloud;
  let directory: string;
  let folders: Record<string, ObjectFolder>;
  const before = { ...process.env };

  beforeAll(async () => {
    cloud = await startTestCloud();
    await cloud.s3.send(new CreateBucketCommand({ Bucket: 'logs' }));
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: cloud.cloud.endpoint,
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
    });
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

  async function listed(folder: ObjectFolder, prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const some of folder.list(prefix)) keys.push(...some);
    return keys.toSorted();
  }
});
