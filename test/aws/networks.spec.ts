import { afterEach, expect, it } from '@jest/globals';
import { DescribeSubnetsCommand } from '@aws-sdk/client-ec2';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
const reason = whyNoAccount();

// Where a stack may go, and what is refused before anything costs: the real provider against moto.
describeWhen(reason === undefined, reason ?? '', 'the network of a deployment', () => {
  let account: AwsAccount;
  afterEach(async () => await account.dispose(), MINUTES);

  it(
    'is a zone that has the instance’s type: us-east-1e has no t3',
    async () => {
      account = await startAccount(SETTINGS, { region: 'us-east-1' });
      const { Subnets = [] } = await account.ec2.send(new DescribeSubnetsCommand({}));
      const zoneOf = new Map(Subnets.map(({ SubnetId, AvailabilityZone }) => [SubnetId, AvailabilityZone]));
      const [inE] = [...zoneOf].filter(([, zone]) => zone === 'us-east-1e').map(([id]) => id);
      const others = [...zoneOf.keys()].filter((id) => id !== inE);
      // As if its id came first, which is one time in six.
      const output = await account.mustDeploy([], {
        AWS_REGION: 'us-east-1',
        TF_VAR_job_subnet_ids: JSON.stringify([inE, ...others]),
      });
      const [instance] = await account.instances();
      expect(instance?.Placement?.AvailabilityZone).not.toBe('us-east-1e');
      expect(instance?.Placement?.AvailabilityZone).toMatch(/^us-east-1/);
      expect(output).toContain('in us-east-1');

      const refused = await account.deploy([], { AWS_REGION: 'us-east-1', TF_VAR_subnet_id: inE ?? '' });
      expect(refused.code).not.toBe(0);
      expect(refused.output.replaceAll(/\s+/g, ' ')).toContain('us-east-1e, the zone of');
      // The state is of us-east-1.
      const elsewhere = await account.deploy([], { AWS_REGION: 'us-west-2' });
      expect(elsewhere).toMatchObject({ code: 1, output: expect.stringContaining('is of a stack in us-east-1') });
    },
    15 * MINUTES,
  );

  it(
    'has names: a VPC without them is refused, and says what to switch on',
    async () => {
      account = await startAccount(SETTINGS);
      const { Vpc } = await account.aws<{ Vpc: { VpcId: string } }>('ec2', 'create-vpc', '--cidr-block', '10.1.0.0/16');
      const make = ['ec2', 'create-subnet', '--vpc-id', Vpc.VpcId, '--availability-zone', 'us-west-2b'];
      const { Subnet } = await account.aws<{ Subnet: { SubnetId: string } }>(...make, '--cidr-block', '10.1.1.0/24');
      const environment = {
        TF_VAR_vpc_id: Vpc.VpcId,
        TF_VAR_subnet_id: Subnet.SubnetId,
        TF_VAR_job_subnet_ids: JSON.stringify([Subnet.SubnetId]),
      };
      const refused = await account.deploy([], environment);
      expect(refused.code).not.toBe(0);
      expect(refused.output.replaceAll(/[\s│]+/g, ' ')).toContain('switch on its DNS resolution and DNS hostnames');
      expect(await account.instances()).toEqual([]);

      await account.aws(
        'ec2',
        'modify-vpc-attribute',
        '--vpc-id',
        Vpc.VpcId,
        '--enable-dns-hostnames',
        '{"Value":true}',
      );
      await account.mustDeploy([], environment);
      expect((await account.instances())[0]).toMatchObject({ SubnetId: Subnet.SubnetId, VpcId: Vpc.VpcId });
    },
    15 * MINUTES,
  );
});
