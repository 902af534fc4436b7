import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  CreateTagsCommand,
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  DescribeInstanceStatusCommand,
  DescribeVolumesCommand,
  type EbsBlockDevice,
  GetConsoleOutputCommand,
  paginateDescribeInstances,
  RunInstancesCommand,
  type SpotMarketOptions,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { startTestCloud, until, type TestCloud } from './test-support.ts';

let test: TestCloud;
beforeEach(async () => {
  test = await startTestCloud({ profiles: ['job'] });
});
afterEach(async () => test.stop());

const stateOf = (id: string) => test.cloud.instance(id)?.state;
const describeIds = async (input: DescribeInstancesCommandInput) => {
  const { Reservations = [] } = await test.ec2.send(new DescribeInstancesCommand(input));
  return Reservations.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId ?? ''));
};

describe('RunInstances', () => {
  it('launches with everything it was asked for and boots with the decoded user-data', async () => {
    const answer = await test.ec2.send(
      new RunInstancesCommand({
        ImageId: test.imageId,
        InstanceType: 't3.small',
        MinCount: 1,
        MaxCount: 1,
        ClientToken: 'token-1',
        UserData: Buffer.from('#!/bin/sh\necho "Grüße" & <x>\n').toString('base64'),
        InstanceInitiatedShutdownBehavior: 'terminate',
        IamInstanceProfile: { Name: 'job' },
        MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled' },
        BlockDeviceMappings: [
          { DeviceName: '/dev/xvda', Ebs: { VolumeSize: 40, VolumeType: 'gp3', DeleteOnTermination: true } },
        ],
        TagSpecifications: [
          { ResourceType: 'instance', Tags: [{ Key: 'scheduler:cluster', Value: 'a<b>&"c"' }] },
          { ResourceType: 'volume', Tags: [{ Key: 'scheduler:cluster', Value: 'v' }] },
        ],
      }),
    );
    const instance = answer.Instances?.[0];
    expect(instance).toMatchObject({
      State: { Code: 0, Name: 'pending' },
      InstanceType: 't3.small',
      ClientToken: 'token-1',
      Architecture: 'x86_64',
      Tags: [{ Key: 'scheduler:cluster', Value: 'a<b>&"c"' }],
      MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled' },
      IamInstanceProfile: { Arn: 'arn:aws:iam::000000000000:instance-profile/job' },
      NetworkInterfaces: [{ Status: 'in-use' }],
    });
    expect(instance?.LaunchTime).toBeInstanceOf(Date);
    expect(instance?.StateReason).toEqual({ Code: 'pending', Message: 'pending' });
    expect(instance?.PublicIpAddress).toBeUndefined();
    expect(instance?.NetworkInterfaces?.[0]?.Association).toBeUndefined();
    expect(instance?.PrivateIpAddress).toMatch(/^127\.\d+\.\d+\.\d+$/);
    expect(instance?.PrivateIpAddress).not.toBe('127.0.0.1');
    const id = instance?.InstanceId ?? '';
    expect(id).toMatch(/^i-[0-9a-f]{17}$/);

    const boot = await test.runtime.booted(id);
    expect(boot.userData).toBe('#!/bin/sh\necho "Grüße" & <x>\n');
    expect(boot).toMatchObject({ privateIp: instance?.PrivateIpAddress, isFirstBoot: true, instanceType: 't3.small' });
    expect(stateOf(id)).toBe('running');
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const running = Reservations?.[0]?.Instances?.[0];
    expect(running).toMatchObject({ PublicIpAddress: boot.publicIp, State: { Name: 'running' } });
    expect(running?.StateReason).toBeUndefined();
    expect(boot.publicIp).toBe(instance?.PrivateIpAddress);
  });

  it('gives every instance an address of its own', async () => {
    const ids = await test.run({ MinCount: 40, MaxCount: 40 });
    expect(new Set(ids.map((id) => test.cloud.instance(id)?.privateIp)).size).toBe(40);
  });

  it.each([
    ['no image', { ImageId: undefined }, 'MissingParameter'],
    ['a malformed image', { ImageId: 'ami-xyz' }, 'InvalidAMIID.Malformed'],
    ['an unknown image', { ImageId: 'ami-00000000000000000' }, 'InvalidAMIID.NotFound'],
    ['an unknown type', { InstanceType: 'z9.huge' as 't3.micro' }, 'InvalidParameterValue'],
    ['a type of the other architecture', { InstanceType: 't4g.micro' }, 'InvalidParameterValue'],
    ['an unknown subnet', { SubnetId: 'subnet-00000000000000000' }, 'InvalidSubnetID.NotFound'],
    ['an unknown group', { SecurityGroupIds: ['sg-00000000000000000'] }, 'InvalidGroup.NotFound'],
    ['a group by its name', { SecurityGroups: ['default'] }, 'UnknownParameter'],
    ['an unknown zone', { Placement: { AvailabilityZone: 'us-west-2z' } }, 'InvalidParameterValue'],
    ['a profile there is none of', { IamInstanceProfile: { Name: 'other' } }, 'InvalidParameterValue'],
    ['a profile of another account', { IamInstanceProfile: { Arn: profileArn('1', 'job') } }, 'InvalidParameterValue'],
    ['a profile by both', { IamInstanceProfile: { Name: 'job', Arn: 'x' } }, 'InvalidParameterCombination'],
    ['spot that stops itself', { ...spot(), InstanceInitiatedShutdownBehavior: 'stop' }, 'InvalidParameterCombination'],
    ['spot that is stopped', spot({ InstanceInterruptionBehavior: 'stop' }), 'InvalidParameterCombination'],
    ['an unknown key pair', { KeyName: 'mine' }, 'InvalidKeyPair.NotFound'],
    ['more at least than at most', { MinCount: 3, MaxCount: 2 }, 'InvalidParameterValue'],
    ['user-data that is not base64', { UserData: '#!/bin/sh' }, 'InvalidUserData.Malformed'],
    ['user-data over 16 KB', { UserData: Buffer.alloc(16_385).toString('base64') }, 'InvalidUserData.Malformed'],
    ['a disk smaller than its image', disk({ VolumeSize: 8 }), 'InvalidBlockDeviceMapping'],
    ['a reserved tag', { TagSpecifications: [instanceTags('aws:x')] }, 'InvalidParameterValue'],
    ['a resource type twice', { TagSpecifications: [instanceTags('a'), instanceTags('b')] }, 'InvalidParameterValue'],
    ['a parameter that is not implemented', { LaunchTemplate: { LaunchTemplateName: 'x' } }, 'UnknownParameter'],
    ['a disk with a parameter that is not implemented', disk({ VolumeInitializationRate: 100 }), 'UnknownParameter'],
    ['a tenancy that is not implemented', { Placement: { Tenancy: 'dedicated' } }, 'InvalidParameterValue'],
    ['spot with a parameter that is not implemented', spot({ BlockDurationMinutes: 60 }), 'UnknownParameter'],
    ['a placement that is not implemented', { Placement: { GroupName: 'near' } }, 'UnknownParameter'],
    ['only a dry run', { DryRun: true }, 'DryRunOperation'],
  ] as const)('refuses %s', async (_, input, code) => {
    await expect(test.run(input as Parameters<TestCloud['run']>[0])).rejects.toMatchObject({ name: code });
    expect(test.cloud.ledger.instances()).toEqual([]);
  });

  it('takes a profile by its name or its ARN, and refuses others in EC2’s words', async () => {
    await expect(test.run({ IamInstanceProfile: { Name: 'job' } })).resolves.toHaveLength(1);
    await expect(test.run({ IamInstanceProfile: { Arn: profileArn('0', 'job') } })).resolves.toHaveLength(1);
    await expect(test.run({ IamInstanceProfile: { Name: 'jobs' } })).rejects.toMatchObject({
      message: 'Value (jobs) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name',
    });
  });

  it('tells times in whole seconds', async () => {
    const [id = ''] = await test.run();
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const instance = Reservations?.[0]?.Instances?.[0];
    const times = [
      instance?.LaunchTime,
      instance?.UsageOperationUpdateTime,
      instance?.BlockDeviceMappings?.[0]?.Ebs?.AttachTime,
      instance?.NetworkInterfaces?.[0]?.Attachment?.AttachTime,
      (await test.ec2.send(new GetConsoleOutputCommand({ InstanceId: id }))).Timestamp,
    ];
    expect(times.map((time) => (time?.getTime() ?? NaN) % 1000)).toEqual([0, 0, 0, 0, 0]);
    const Values = [`${test.cloud.instance(id)?.pendingAt.slice(0, 19)}.000Z`];
    await expect(describeIds({ Filters: [{ Name: 'launch-time', Values }] })).resolves.toEqual([id]);
  });

  it('takes user-data of exactly 16 KB', async () => {
    await expect(test.run({ UserData: Buffer.alloc(16_384, 'x').toString('base64') })).resolves.toHaveLength(1);
  });

  it('launches as many as fit when MaxCount does not', async () => {
    test.cloud.faults.setCapacity({ type: 't3.micro' }, 3);
    await expect(test.run({ MinCount: 1, MaxCount: 10 })).resolves.toHaveLength(3);
  });
});

describe('client tokens', () => {
  it('give the same instances again', async () => {
    const [first] = await test.run({ ClientToken: 'same' });
    await expect(test.run({ ClientToken: 'same' })).resolves.toEqual([first]);
    expect(test.cloud.ledger.instances()).toHaveLength(1);
  });

  it('are refused with other parameters', async () => {
    await test.run({ ClientToken: 'same' });
    const other = test.run({ ClientToken: 'same', InstanceType: 't3.small' });
    await expect(other).rejects.toMatchObject({ name: 'IdempotentParameterMismatch', $fault: 'client' });
  });

  it('are spent when their instance is terminated', async () => {
    const [id = ''] = await test.run({ ClientToken: 'same' });
    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await until(() => stateOf(id) === 'terminated', 'terminated');
    await expect(test.run({ ClientToken: 'same' })).rejects.toMatchObject({ name: 'IdempotentInstanceTerminated' });
  });

  it('count per zone when one is named', async () => {
    const [west = ''] = await test.run({ ClientToken: 'same', Placement: { AvailabilityZone: 'us-west-2a' } });
    const [east = ''] = await test.run({ ClientToken: 'same', Placement: { AvailabilityZone: 'us-west-2b' } });
    expect(east).not.toBe(west);
    await expect(describeIds({ Filters: [{ Name: 'client-token', Values: ['same'] }] })).resolves.toEqual([west, east]);
  });

  it('are free again when the call launched nothing', async () => {
    test.cloud.faults.setCapacity({}, 0);
    await expect(test.run({ ClientToken: 'same' })).rejects.toMatchObject({ name: 'InsufficientInstanceCapacity' });
    test.cloud.faults.setCapacity({}, Infinity);
    await expect(test.run({ ClientToken: 'same' })).resolves.toHaveLength(1);
  });
});

describe('DescribeInstances', () => {
  it('finds by filters with wildcards, all of which must match', async () => {
    const [web = ''] = await test.run({ TagSpecifications: [instanceTags('job', 'web-1')] });
    const [api = ''] = await test.run({ TagSpecifications: [instanceTags('job', 'api[1]')] });
    const by = async (...Filters: { Name: string; Values: string[] }[]) => describeIds({ Filters });
    await expect(by({ Name: 'tag:job', Values: ['web-*'] })).resolves.toEqual([web]);
    await expect(by({ Name: 'tag:job', Values: ['web-?', 'api[1]'] })).resolves.toEqual([web, api]);
    await expect(by({ Name: 'tag:job', Values: ['web-\\*'] })).resolves.toEqual([]);
    await expect(by({ Name: 'tag-key', Values: ['job'] })).resolves.toEqual([web, api]);
    await expect(
      by(
        { Name: 'instance-id', Values: [api, 'i-0'] },
        { Name: 'instance-state-name', Values: ['pending', 'running'] },
      ),
    ).resolves.toEqual([api]);
    const address = test.cloud.instance(web)?.privateIp ?? '';
    await expect(by({ Name: 'private-ip-address', Values: [address] })).resolves.toEqual([web]);
    await expect(by({ Name: 'no-such-filter', Values: ['x'] })).rejects.toMatchObject({
      name: 'InvalidParameterValue',
    });
  });

  it('gives pages that together are everything once', async () => {
    const ids = await test.run({ MinCount: 23, MaxCount: 23 });
    const pages: string[][] = [];
    for await (const page of paginateDescribeInstances({ client: test.ec2, pageSize: 10 }, {})) {
      pages.push((page.Reservations ?? []).flatMap((r) => (r.Instances ?? []).map((i) => i.InstanceId ?? '')));
    }
    expect(pages.map((page) => page.length)).toEqual([10, 10, 3]);
    expect(pages.flat()).toEqual(ids);
  });

  it.each([
    ['an unknown id among known ones', ['i-00000000000000000'], {}, 'InvalidInstanceID.NotFound'],
    ['a malformed id', ['web'], {}, 'InvalidInstanceID.Malformed'],
    ['a page size with ids', [], { MaxResults: 10 }, 'InvalidParameterCombination'],
  ])('refuses %s', async (_, extra, input, code) => {
    const [id = ''] = await test.run();
    await expect(describeIds({ InstanceIds: [id, ...extra], ...input })).rejects.toMatchObject({ name: code });
  });

  it.each([{ MaxResults: 1001 }, { MaxResults: 4 }])('refuses a page of %j', async (input) => {
    await expect(describeIds(input)).rejects.toMatchObject({ name: 'InvalidParameterValue' });
  });

  it('refuses a token it never gave', async () => {
    await expect(describeIds({ NextToken: 'abc' })).rejects.toMatchObject({ name: 'InvalidNextToken' });
  });
});

describe('visibility', () => {
  it('comes after the launch, for describing and for terminating', async () => {
    test.cloud.faults.delayVisibility(60_000);
    const [id = ''] = await test.run();
    const notFound = { name: 'InvalidInstanceID.NotFound' };
    await expect(describeIds({ InstanceIds: [id] })).rejects.toMatchObject(notFound);
    await expect(describeIds({})).resolves.toEqual([]);
    const terminated = test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await expect(terminated).rejects.toMatchObject(notFound);

    test.cloud.faults.delayVisibility(50);
    const [soon = ''] = await test.run();
    const visibleAtMs = test.cloud.instance(soon)?.visibleAtMs ?? 0;
    await until(() => Date.now() >= visibleAtMs, 'visible');
    await expect(describeIds({ InstanceIds: [soon] })).resolves.toEqual([soon]);
  });

  it.each([
    ['without its tags first', { terminatedTagsMs: 0 }, true],
    ['then not at all', { terminatedVisibleMs: 0 }, false],
  ])('of a terminated instance ends: %s', async (_, options, isDescribed) => {
    await test.stop();
    test = await startTestCloud(options);
    const [id = ''] = await test.run({ TagSpecifications: [instanceTags('job', 'web')] });
    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await until(() => stateOf(id) === 'terminated', 'terminated');
    await expect(describeIds({ Filters: [{ Name: 'tag:job', Values: ['web'] }] })).resolves.toEqual([]);
    await expect(describeIds({})).resolves.toEqual(isDescribed ? [id] : []);
    expect(test.cloud.ledger.instances().map((instance) => instance.id)).toEqual([id]);
  });
});

describe('states', () => {
  it('terminates: guest halted, address and tags of the parts given back, again allowed', async () => {
    const [id = ''] = await test.run();
    await test.runtime.booted(id);
    const terminate = async () => test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    const { TerminatingInstances } = await terminate();
    expect(TerminatingInstances).toMatchObject([
      { InstanceId: id, PreviousState: { Name: 'running' }, CurrentState: { Code: 32, Name: 'shutting-down' } },
    ]);
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.runtime.halts).toEqual([{ id, how: 'terminate' }]);
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const instance = Reservations?.[0]?.Instances?.[0];
    expect(instance?.StateReason?.Code).toBe('Client.UserInitiatedShutdown');
    expect(instance?.PrivateIpAddress).toBeUndefined();
    const again = await terminate();
    expect(again.TerminatingInstances?.[0]?.CurrentState?.Name).toBe('terminated');
  });

  it('asks and changes no more than EC2 lets one call name', async () => {
    const many = (count: number) => Array.from({ length: count }, () => 'i-00000000000000000');
    const tooMany = { name: 'InvalidParameterValue', message: expect.stringContaining('the maximum is') };
    const Tags = [{ Key: 'a', Value: '1' }];
    for (const command of [
      new DescribeInstanceStatusCommand({ InstanceIds: many(101) }),
      new TerminateInstancesCommand({ InstanceIds: many(1001) }),
      new CreateTagsCommand({ Resources: many(1001), Tags }),
    ]) {
      await expect(test.ec2.send(command as TerminateInstancesCommand)).rejects.toMatchObject(tooMany);
    }
    const most = test.ec2.send(new TerminateInstancesCommand({ InstanceIds: many(1000) }));
    await expect(most).rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' });
  });

  it('terminates none when one id is unknown', async () => {
    const [id = ''] = await test.run();
    const both = test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id, 'i-00000000000000000'] }));
    await expect(both).rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' });
    expect(stateOf(id)).not.toBe('shutting-down');
  });

  it('never boots what is terminated while pending', async () => {
    await test.stop();
    test = await startTestCloud({ bootMs: 60_000 });
    const [id = ''] = await test.run();
    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.runtime.boots).toEqual([]);
  });

  it('reboots on the same disk, and stops', async () => {
    const [id = ''] = await test.run();
    const first = await test.runtime.booted(id);
    test.cloud.faults.reboot(id);
    expect(first.signal.aborted).toBe(true);
    const { isFirstBoot, privateIp, metadataEndpoint } = await test.runtime.booted(id, 2);
    expect([isFirstBoot, privateIp, metadataEndpoint]).toEqual([false, first.privateIp, first.metadataEndpoint]);
    const stop = async () => test.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
    await stop();
    await until(() => stateOf(id) === 'stopped', 'stopped');
    expect(test.runtime.halts.map(({ how }) => how)).toEqual(['reboot', 'stop']);
    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await expect(stop()).rejects.toMatchObject({ name: 'IncorrectInstanceState' });
  });

  it.each([
    ['terminate', 'terminated'],
    ['stop', 'stopped'],
  ] as const)('shut down from inside with behaviour %s is %s', async (behavior, state) => {
    const [id = ''] = await test.run({ InstanceInitiatedShutdownBehavior: behavior });
    const { guest } = await test.runtime.booted(id);
    guest.shutdown('halt');
    await until(() => stateOf(id) === state, state);
    expect(test.cloud.instance(id)?.stateReason?.code).toBe('Client.InstanceInitiatedShutdown');
  });

  it('restarts from inside', async () => {
    const [id = ''] = await test.run();
    const first = await test.runtime.booted(id);
    first.guest.shutdown('reboot');
    await test.runtime.booted(id, 2);
    // The old boot is over: what its guest still does is ignored.
    first.guest.shutdown('halt');
    expect(stateOf(id)).toBe('running');
  });

  it('ends the boot of a first reboot when a second follows', async () => {
    const [id = ''] = await test.run();
    const { guest } = await test.runtime.booted(id);
    guest.shutdown('reboot');
    test.cloud.faults.reboot(id);
    await test.runtime.booted(id, 3);
    const aborted = test.runtime.boots.map(({ signal }) => signal.aborted);
    expect(aborted).toEqual([true, true, false]);
  });

  it('ends an instance whose guest cannot be started', async () => {
    test.runtime.failNextBoot();
    const [id = ''] = await test.run();
    await until(() => stateOf(id) === 'terminated', 'terminated');
    expect(test.cloud.instance(id)?.stateReason?.code).toBe('Server.InternalError');
    const { Output } = await test.ec2.send(new GetConsoleOutputCommand({ InstanceId: id }));
    expect(Buffer.from(Output ?? '', 'base64').toString()).toContain('no such guest');
  });

  it('shows status checks of running instances only, unless asked', async () => {
    await test.stop();
    test = await startTestCloud({ statusCheckMs: 0 });
    const [id = ''] = await test.run();
    await test.runtime.booted(id);
    const status = async () => test.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id] }));
    await expect(status()).resolves.toMatchObject({
      InstanceStatuses: [{ InstanceId: id, InstanceStatus: { Status: 'ok' }, SystemStatus: { Status: 'ok' } }],
    });
    await test.cloud.faults.freeze(id);
    await expect(status()).resolves.toMatchObject({
      InstanceStatuses: [{ InstanceStatus: { Status: 'impaired', Details: [{ Status: 'failed' }] } }],
    });
    await test.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await expect(status()).resolves.toMatchObject({ InstanceStatuses: [] });
    const all = await test.ec2.send(new DescribeInstanceStatusCommand({ IncludeAllInstances: true }));
    expect(all.InstanceStatuses).toMatchObject([{ InstanceId: id, InstanceStatus: { Status: 'not-applicable' } }]);
  });
});

describe('tags', () => {
  it('are added and replaced', async () => {
    const [id = ''] = await test.run({ TagSpecifications: [instanceTags('a', '1')] });
    await test.ec2.send(
      new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'a', Value: '2' }, { Key: 'b', Value: '' }] }),
    ); // prettier-ignore
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    expect(Reservations?.[0]?.Instances?.[0]?.Tags).toEqual([{ Key: 'a', Value: '2' }, { Key: 'b', Value: '' }]); // prettier-ignore
    const foreign = test.ec2.send(new CreateTagsCommand({ Resources: ['vol-0123'], Tags: [{ Key: 'a', Value: '1' }] }));
    await expect(foreign).rejects.toMatchObject({ name: 'InvalidID' });
  });
});

describe('the wire', () => {
  it("answers an action it does not have with EC2's error", async () => {
    await expect(test.ec2.send(new DescribeVolumesCommand({}))).rejects.toMatchObject({
      name: 'InvalidAction',
      $metadata: { httpStatusCode: 400 },
    });
  });

  it('refuses calls without a signature', async () => {
    const answer = await fetch(test.cloud.endpoint, {
      method: 'POST',
      body: 'Action=DescribeInstances&Version=2016-11-15',
    });
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain('<Code>MissingAuthenticationToken</Code>');
  });
});

function instanceTags(Key: string, Value = 'x') {
  return { ResourceType: 'instance' as const, Tags: [{ Key, Value }] };
}

function profileArn(digit: string, name: string) {
  return `arn:aws:iam::${digit.repeat(12)}:instance-profile/team/${name}`;
}

function spot(SpotOptions?: SpotMarketOptions) {
  return { InstanceMarketOptions: { MarketType: 'spot' as const, SpotOptions } };
}

function disk(Ebs: EbsBlockDevice) {
  return { BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs }] };
}
