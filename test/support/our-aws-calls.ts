import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import type { TestCloud } from '../../local/cloud/test-support.ts';
import { Ec2 } from '../../src/aws/ec2.ts';
import { CLUSTER_TAG, LAUNCH_TAG, SNAPSHOT_TAG, STACK_TAG } from '../../src/aws/ec2-types.ts';
import { Ecr } from '../../src/aws/ecr.ts';
import { ObjectStore } from '../../src/aws/s3.ts';
import { launchInput } from '../../src/fleet/launch-input.ts';
import { VOLUME } from './aws-calls.ts';
import { sdkCallsIn } from './calls-in-code.ts';

/** Every action that src/aws calls, by its own text: one that is not checked would be missed otherwise. */
export async function ourActions(): Promise<string[]> {
  const folder = join(import.meta.dirname, '../../src/aws');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return texts.flatMap(sdkCallsIn).map((call) => call.slice(call.indexOf(':') + 1));
}

/** By the clients that the product has, configured as its operator does: launches first, with all that a job may name. */
export async function makeOurCalls(test: TestCloud, endpoint: string): Promise<void> {
  Object.assign(process.env, test.cloud.clientEnvironment, { AWS_ENDPOINT_URL: endpoint });
  const ec2 = new Ec2({ region: test.cloud.region });
  const ids = await launchAll(test, ec2);
  for await (const page of ec2.describeByTag('default')) if (page.length === 0) throw new Error('nothing was launched');
  await ec2.describeByIds(ids);
  await ec2.describeExactly(ids);
  await ec2.describeByClientToken(LAUNCH_ID);
  await ec2.describeStatuses(ids);
  await ec2.createTags(ids, [{ Key: 'Name', Value: 'job' }]);
  await ec2.findDefaultSubnets();
  const image = await ec2.findImage({ name: 'al2023-ami-ecs-hvm-2023.0.*', architecture: 'x86_64' });
  await ec2.describeImage(image?.id ?? '');
  await ec2.describeSnapshots('default');
  await ec2.deleteSnapshot(await ec2.createSnapshot(VOLUME, SNAPSHOT_TAGS));
  await ec2.terminate(ids);
  ec2.close();
  await new Ecr().getToken(test.cloud.region);
  await keepObjects(test);
}

const SNAPSHOT_TAGS = [
  { Key: STACK_TAG, Value: 'default' },
  { Key: SNAPSHOT_TAG, Value: '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11' },
];
const LAUNCH_ID = '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11';

async function launchAll(test: TestCloud, ec2: Ec2): Promise<string[]> {
  const [subnetId = ''] = await ec2.findDefaultSubnets();
  const ami = await ec2.findImage({ name: 'al2023-ami-ecs-hvm-2023.0.*', architecture: 'x86_64' });
  if (ami === null) throw new Error('there is no image');
  const launched: string[] = [];
  for (const [market, profile, publicIp] of [
    ['on-demand', null, true],
    ['on-demand', 'job', false],
    ['spot', null, true],
  ] as const) {
    const input = launchInput({
      spec: { profile, diskGiB: 30, publicIp },
      securityGroupIds: profile === null ? [] : [await defaultGroup(test)],
      offer: { type: 't3.small', subnetId, market },
      count: 2,
      ami,
      userDataBase64: Buffer.from('#!/bin/sh\n').toString('base64'),
      launchId: LAUNCH_ID,
      cluster: 'default',
      tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
    });
    const instances = await ec2.runInstances(
      input,
      `${LAUNCH_ID}-${market}-${profile ?? 'none'}-${Date.now()}`.slice(-64),
    );
    launched.push(...instances.map(({ id }) => id));
  }
  return launched;
}

async function defaultGroup(test: TestCloud): Promise<string> {
  const [id = ''] = await test.run();
  return test.cloud.instance(id)?.spec.securityGroupIds[0] ?? '';
}

async function keepObjects(test: TestCloud): Promise<void> {
  const store = new ObjectStore({ region: test.cloud.region, isPathStyle: true });
  const [bucket, key] = ['ours', 'logs/web/1.gz'];
  await test.s3.send(new CreateBucketCommand({ Bucket: bucket })).catch(() => undefined);
  await store.put({ bucket, key }, Buffer.from('lines'), 'application/gzip');
  await store.readText({ bucket, key });
  await store.get({ bucket, key });
  for await (const keys of store.list(bucket, 'logs/')) if (keys.length === 0) throw new Error('nothing was kept');
  await store.delete({ bucket, key });
  store.close();
}
