import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import {
  AllocateAddressCommand,
  DescribeAddressesCommand,
  DescribeInstancesCommand,
  StopInstancesCommand,
} from '@aws-sdk/client-ec2';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import type { CloudIdentity } from './runtime.ts';
import { startLocalCloud } from './local-cloud.ts';
import { startTestCloud, until, type TestCloud } from './test-support.ts';

let stateDir: string;
let test: TestCloud;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'local-cloud-'));
  test = await startTestCloud({ stateDir });
});
afterEach(async () => {
  await test.stop();
  await rm(stateDir, { recursive: true });
});

const restart = async (options: Parameters<typeof startTestCloud>[0] = {}): Promise<void> => {
  await test.stop();
  test = await startTestCloud({ stateDir, ...options });
};

it('reads living instances as terminated and never gives their ids or tokens out again', async () => {
  const TagSpecifications = [{ ResourceType: 'instance' as const, Tags: [{ Key: 'job', Value: 'web' }] }];
  const UserData = Buffer.from('a secret').toString('base64');
  const [id = ''] = await test.run({ ClientToken: 'same', TagSpecifications, UserData });
  await test.runtime.booted(id);
  await restart();
  const Filters = [{ Name: 'tag:job', Values: ['web'] }];
  const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ Filters }));
  expect(Reservations?.[0]?.Instances).toMatchObject([
    { InstanceId: id, State: { Name: 'terminated' }, StateReason: { Code: 'Server.InternalError' } },
  ]);
  const again = test.run({ ClientToken: 'same', TagSpecifications, UserData });
  await expect(again).rejects.toMatchObject({ name: 'IdempotentInstanceTerminated' });
  // The seed is the same, so the second run draws the same ids first.
  const ids = await test.run({ MinCount: 5, MaxCount: 5 });
  expect(ids).not.toContain(id);
  expect(test.cloud.ledger.instances().map((instance) => instance.id)).toEqual([id, ...ids]);
  expect(test.cloud.ledger.calls('RunInstances').map(({ outcome }) => outcome)).toEqual([
    'ok',
    'IdempotentInstanceTerminated',
    'ok',
  ]);
  expect(await readFile(join(stateDir, 'ledger.jsonl'), 'utf8')).not.toContain(UserData);
});

it('keeps objects, addresses and the identity', async () => {
  const { endpoint, identityCertificatePem } = test.cloud;
  await test.s3.send(new CreateBucketCommand({ Bucket: 'kept' }));
  await test.s3.send(new PutObjectCommand({ Bucket: 'kept', Key: 'secrets/.env', Body: 'A=1' }));
  const { AllocationId } = await test.ec2.send(new AllocateAddressCommand({}));
  await restart({ port: Number(new URL(endpoint).port) });
  const { Body } = await test.s3.send(new GetObjectCommand({ Bucket: 'kept', Key: 'secrets/.env' }));
  expect(await Body?.transformToString()).toBe('A=1');
  expect(test.cloud.identityCertificatePem).toBe(identityCertificatePem);
  const { Addresses } = await test.ec2.send(new DescribeAddressesCommand({}));
  expect(Addresses).toMatchObject([{ AllocationId }]);
});

it('reads a ledger whose last line was cut off by a kill', async () => {
  const [id] = await test.run();
  await test.stop();
  await appendFile(join(stateDir, 'ledger.jsonl'), '{"kind":"call","ca');
  test = await startTestCloud({ stateDir });
  expect(test.cloud.ledger.instances().map((instance) => instance.id)).toEqual([id]);
});

it('tells the runtime the same name of the cloud each time', async () => {
  const opened: CloudIdentity[] = [];
  const runtime = {
    ...test.runtime,
    open: async (cloud: CloudIdentity) => {
      opened.push(cloud);
      return Promise.resolve();
    },
  };
  await restart({ runtime });
  await restart({ runtime });
  expect(opened).toHaveLength(2);
  expect(opened[0]?.id).toMatch(/^[a-z0-9-]+$/);
  expect(opened[1]?.id).toBe(opened[0]?.id);
});

it('halts what still runs, and what is stopped but has a disk, when it stops', async () => {
  const [running = '', stopped = ''] = await test.run({ MinCount: 2, MaxCount: 2 });
  await Promise.all([test.runtime.booted(running), test.runtime.booted(stopped)]);
  await test.ec2.send(new StopInstancesCommand({ InstanceIds: [stopped] }));
  await until(() => test.cloud.instance(stopped)?.state === 'stopped', 'stopped');
  const { runtime } = test;
  await test.stop();
  expect(runtime.halts).toEqual([
    { id: stopped, how: 'stop' },
    { id: running, how: 'terminate' },
    { id: stopped, how: 'terminate' },
  ]);
});

it('says which port is taken', async () => {
  const port = Number(new URL(test.cloud.endpoint).port);
  await expect(startLocalCloud({ port, runtime: test.runtime })).rejects.toThrow(`port ${port} of 127.0.0.1 is in use`);
});
