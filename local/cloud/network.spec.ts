import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  AllocateAddressCommand,
  AssociateAddressCommand,
  DescribeAddressesCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeSubnetsCommand,
  DisassociateAddressCommand,
  ReleaseAddressCommand,
} from '@aws-sdk/client-ec2';
import { ECS_IMAGE_NAME, startTestCloud, type TestCloud } from './test-support.ts';

let test: TestCloud;
beforeEach(async () => {
  test = await startTestCloud();
});
afterEach(async () => test.stop());

describe('images', () => {
  it("are found by owner, name and architecture; a stranger's image of that name only without the owner", async () => {
    const names = async (Owners: string[], architecture: string) => {
      const Filters = [
        { Name: 'name', Values: ['al2023-ami-ecs-hvm-2023.0.*-kernel-6.1-*'] },
        { Name: 'architecture', Values: [architecture] },
        { Name: 'state', Values: ['available'] },
      ];
      const { Images = [] } = await test.ec2.send(new DescribeImagesCommand({ Owners, Filters }));
      const newestFirst = Images.sort((a, b) => (b.CreationDate ?? '').localeCompare(a.CreationDate ?? ''));
      return newestFirst.map(({ Name }) => Name);
    };
    const ours = await names(['amazon'], 'x86_64');
    expect(ours).toEqual([ECS_IMAGE_NAME, expect.stringContaining('20251117')]);
    await expect(names([], 'x86_64')).resolves.toEqual([expect.stringContaining('20991231'), ...ours]);
    await expect(names(['591542846629'], 'arm64')).resolves.toHaveLength(2);
    await expect(names(['self'], 'x86_64')).resolves.toEqual([]);
  });

  it('have the fields callers decide by', async () => {
    const Filters = [{ Name: 'name', Values: [ECS_IMAGE_NAME] }];
    const { Images } = await test.ec2.send(new DescribeImagesCommand({ Filters }));
    expect(Images).toMatchObject([
      {
        OwnerId: '591542846629',
        ImageOwnerAlias: 'amazon',
        Architecture: 'x86_64',
        State: 'available',
        RootDeviceName: '/dev/xvda',
        BlockDeviceMappings: [{ Ebs: { VolumeSize: 30 } }],
      },
    ]);
    const unknown = test.ec2.send(new DescribeImagesCommand({ ImageIds: ['ami-00000000000000000'] }));
    await expect(unknown).rejects.toMatchObject({ name: 'InvalidAMIID.NotFound' });
  });
});

describe('the default VPC', () => {
  it('has three subnets in three zones and one group', async () => {
    const { Subnets = [] } = await test.ec2.send(new DescribeSubnetsCommand({}));
    expect(Subnets.map(({ AvailabilityZone }) => AvailabilityZone)).toEqual(['us-west-2a', 'us-west-2b', 'us-west-2c']);
    const [subnet] = Subnets;
    const [id = ''] = await test.run({ SubnetId: subnet?.SubnetId });
    expect(test.cloud.instance(id)?.spec.availabilityZone).toBe('us-west-2a');
    const after = await test.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [subnet?.SubnetId ?? ''] }));
    expect(after.Subnets?.[0]?.AvailableIpAddressCount).toBe((subnet?.AvailableIpAddressCount ?? 0) - 1);
    const { Reservations } = await test.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const instance = Reservations?.[0]?.Instances?.[0];
    expect(instance).toMatchObject({ SecurityGroups: [{ GroupName: 'default' }], VpcId: subnet?.VpcId });
  });

  it('has the ids that it is given', async () => {
    const networkIds = { subnets: ['subnet-0a', 'subnet-0b', 'subnet-0c'], securityGroup: 'sg-0a' };
    const second = await startTestCloud({ networkIds });
    try {
      const { Subnets = [] } = await second.ec2.send(new DescribeSubnetsCommand({ SubnetIds: networkIds.subnets }));
      expect(Subnets.map(({ AvailabilityZone }) => AvailabilityZone)).toEqual([
        'us-west-2a',
        'us-west-2b',
        'us-west-2c',
      ]);
      const [id = ''] = await second.run({ SubnetId: 'subnet-0b', SecurityGroupIds: ['sg-0a'] });
      expect(second.cloud.instance(id)?.spec.availabilityZone).toBe('us-west-2b');
    } finally {
      await second.stop();
    }
  });

  it('has other addresses than a second cloud that runs at the same time', async () => {
    const second = await startTestCloud();
    try {
      const cidr = async ({ ec2 }: TestCloud) =>
        (await ec2.send(new DescribeSubnetsCommand({}))).Subnets?.[0]?.CidrBlock;
      expect(await cidr(second)).not.toBe(await cidr(test));
    } finally {
      await second.stop();
    }
  });
});

describe('elastic addresses', () => {
  it('move from one instance to another and come back', async () => {
    const [one = ''] = await test.run();
    const [two = ''] = await test.run();
    await Promise.all([test.runtime.booted(one), test.runtime.booted(two)]);
    const { AllocationId = '', PublicIp } = await test.ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
    await associate(AllocationId, one);
    expect(test.cloud.instance(one)?.publicIp).toBe(PublicIp);
    await expect(associate(AllocationId, two, false)).rejects.toMatchObject({ name: 'Resource.AlreadyAssociated' });
    const { AssociationId } = await associate(AllocationId, two);
    expect(test.cloud.instance(two)?.publicIp).toBe(PublicIp);
    expect(test.cloud.instance(one)?.publicIp).toBe(test.cloud.instance(one)?.privateIp);
    const described = await test.ec2.send(new DescribeAddressesCommand({ AllocationIds: [AllocationId] }));
    expect(described.Addresses).toMatchObject([{ PublicIp, InstanceId: two, AssociationId, Domain: 'vpc' }]);

    const release = async () => test.ec2.send(new ReleaseAddressCommand({ AllocationId }));
    await expect(release()).rejects.toMatchObject({ name: 'InvalidIPAddress.InUse' });
    await test.ec2.send(new DisassociateAddressCommand({ AssociationId }));
    await release();
    await expect(release()).rejects.toMatchObject({ name: 'InvalidAllocationID.NotFound' });
  });

  it('do not go to an instance that is still pending', async () => {
    await test.stop();
    test = await startTestCloud({ bootMs: 60_000 });
    const [id = ''] = await test.run();
    await expect(associate(await allocate(), id)).rejects.toMatchObject({ name: 'IncorrectInstanceState' });
  });

  it('are five to an account', async () => {
    for (let count = 0; count < 5; count += 1) await allocate();
    await expect(allocate()).rejects.toMatchObject({ name: 'AddressLimitExceeded' });
  });
});

async function allocate(): Promise<string> {
  const { AllocationId = '' } = await test.ec2.send(new AllocateAddressCommand({}));
  return AllocationId;
}

async function associate(AllocationId: string, InstanceId: string, AllowReassociation = true) {
  return test.ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId, AllowReassociation }));
}
