import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateSnapshotCommand,
  DeleteSnapshotCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
} from '@aws-sdk/client-ec2';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { CloudOptions } from './local-cloud.ts';
import { startTestCloud, until, type TestCloud } from './test-support.ts';

const VolumeId = 'vol-0123456789abcdef0';

describe('snapshots', () => {
  let test: TestCloud;
  const start = async (options: Partial<CloudOptions> = {}) => {
    test = await startTestCloud({ volumes: { [VolumeId]: 40 }, snapshotMs: 0, ...options });
  };
  afterEach(() => test.stop());

  const create = async (input = {}) => {
    const { SnapshotId = '' } = await test.ec2.send(new CreateSnapshotCommand({ VolumeId, ...input }));
    return SnapshotId;
  };
  const list = async (input = {}) => (await test.ec2.send(new DescribeSnapshotsCommand(input))).Snapshots ?? [];
  const tagged = (Key: string) => ({
    TagSpecifications: [{ ResourceType: 'snapshot' as const, Tags: [{ Key, Value: 'x' }] }],
  });

  it('are pending first, then completed, failed, or neither', async () => {
    await start({ snapshotMs: 300 });
    const ids = [];
    for (const end of ['completed', 'error', 'pending'] as const) {
      test.cloud.faults.endSnapshots(end);
      const { SnapshotId = '', State } = await test.ec2.send(new CreateSnapshotCommand({ VolumeId }));
      expect(State).toBe('pending');
      ids.push(SnapshotId);
    }
    const begun = Date.now();
    await until(() => Date.now() > begun + 300, 'they have had their time');
    const shown = (await list({ SnapshotIds: ids })).map(({ State, Progress, VolumeSize }) => [
      State,
      Progress,
      VolumeSize,
    ]);
    expect(shown).toEqual([['completed', '100%', 40], ['error', '0%', 40], ['pending', '0%', 40]]); // prettier-ignore
  });

  it('are found by owner, tag and state, page by page', async () => {
    await start();
    const ours = [];
    for (let n = 0; n < 7; n += 1) ours.push(await create(tagged(n < 6 ? 'ours' : 'theirs')));
    const Filters = [{ Name: 'tag-key', Values: ['ours'] }, { Name: 'status', Values: ['completed'] }]; // prettier-ignore
    const first = await test.ec2.send(new DescribeSnapshotsCommand({ Filters, OwnerIds: ['self'], MaxResults: 5 }));
    const second = await test.ec2.send(new DescribeSnapshotsCommand({ Filters, NextToken: first.NextToken }));
    const found = [...(first.Snapshots ?? []), ...(second.Snapshots ?? [])].map(({ SnapshotId }) => SnapshotId);
    expect(found).toEqual(ours.slice(0, 6));
    expect(await list({ OwnerIds: ['amazon'] })).toEqual([]);
    const [theirs] = await list({ SnapshotIds: [ours[6]] });
    expect(theirs?.Tags).toEqual([{ Key: 'theirs', Value: 'x' }]);
  });

  it('can be of a disk of an instance', async () => {
    await start();
    const [id = ''] = await test.run();
    await test.runtime.booted(id);
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const disk = Reservations?.[0]?.Instances?.[0]?.BlockDeviceMappings?.[0]?.Ebs?.VolumeId;
    expect(await create({ VolumeId: disk })).toMatch(/^snap-[0-9a-f]{17}$/);
  });

  it('are refused as EC2 refuses them', async () => {
    await start({ snapshotMs: 60_000 });
    const SnapshotId = await create();
    const table: [string, () => Promise<unknown>][] = [
      ['InvalidVolume.NotFound', () => create({ VolumeId: 'vol-0ffffffffffffffff' })],
      ['InvalidVolumeID.Malformed', () => create({ VolumeId: 'volume' })],
      ['InvalidParameterValue', () => create({ TagSpecifications: [{ ResourceType: 'volume', Tags: [] }] })],
      ['UnknownParameter', () => create({ OutpostArn: 'x' })],
      ['DryRunOperation', () => create({ DryRun: true })],
      ['InvalidSnapshot.NotFound', () => list({ SnapshotIds: ['snap-0ffffffffffffffff'] })],
      ['InvalidParameterCombination', () => list({ SnapshotIds: [SnapshotId], MaxResults: 5 })],
      ['InvalidParameterValue', () => list({ MaxResults: 4 })],
      ['InvalidParameterValue', () => list({ Filters: [{ Name: 'colour', Values: ['red'] }] })],
      ['InvalidSnapshotID.Malformed', () => test.ec2.send(new DeleteSnapshotCommand({ SnapshotId: 'x' }))],
    ];
    for (const [name, ask] of table) await expect(ask()).rejects.toMatchObject({ name });
    for (let n = 1; n < 5; n += 1) await create();
    await expect(create()).rejects.toMatchObject({ name: 'ConcurrentSnapshotLimitExceeded' });
    await test.ec2.send(new DeleteSnapshotCommand({ SnapshotId }));
    await expect(test.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))).rejects.toMatchObject({
      name: 'InvalidSnapshot.NotFound',
    });
  });

  it('outlive the cloud', async () => {
    const stateDir = await mkdtemp(join(tmpdir(), 'local-cloud-'));
    try {
      await start({ stateDir });
      const [kept, deleted] = [await create(tagged('ours')), await create()];
      await test.ec2.send(new DeleteSnapshotCommand({ SnapshotId: deleted }));
      await test.stop();
      await start({ stateDir });
      expect((await list()).map(({ SnapshotId, Tags }) => [SnapshotId, Tags])).toEqual([
        [kept, [{ Key: 'ours', Value: 'x' }]],
      ]);
    } finally {
      await rm(stateDir, { recursive: true });
    }
  });
});
