import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DescribeInstancesCommand, DescribeInstanceStatusCommand, DescribeSubnetsCommand } from '@aws-sdk/client-ec2';
import { startTestCloud, type TestCloud } from './test-support.ts';

describe('the outage of a zone', () => {
  let test: TestCloud;
  beforeEach(async () => {
    test = await startTestCloud();
  });
  afterEach(() => test.stop());

  it('fails describes without ids or with ids of that zone, and no others, until it is over', async () => {
    const [here = ''] = await test.run();
    const spec = test.cloud.instance(here)!.spec;
    const [there = ''] = await test.run({ SubnetId: await otherSubnet(spec.subnetId) });
    const describeIds = (...InstanceIds: string[]) => test.ec2.send(new DescribeInstancesCommand({ InstanceIds }));

    test.cloud.faults.loseZone(spec.availabilityZone);
    await expect(test.ec2.send(new DescribeInstancesCommand({}))).rejects.toMatchObject({ name: 'Unavailable' });
    const byFilter = new DescribeInstancesCommand({ Filters: [{ Name: 'instance-id', Values: [there] }] });
    await expect(test.ec2.send(byFilter)).rejects.toMatchObject({ $metadata: { httpStatusCode: 503 } });
    await expect(describeIds(here)).rejects.toMatchObject({ name: 'Unavailable' });
    await expect(describeIds(here, there)).rejects.toMatchObject({ name: 'Unavailable' });
    expect((await describeIds(there)).Reservations).toHaveLength(1);
    await expect(
      test.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [here], IncludeAllInstances: true })),
    ).rejects.toMatchObject({ name: 'Unavailable' });

    test.cloud.faults.restoreZone(spec.availabilityZone);
    expect((await describeIds(here, there)).Reservations).toHaveLength(2);
  });

  async function otherSubnet(than: string): Promise<string> {
    const { Subnets = [] } = await test.ec2.send(new DescribeSubnetsCommand({}));
    return Subnets.find(({ SubnetId }) => SubnetId !== than)?.SubnetId ?? '';
  }
});
