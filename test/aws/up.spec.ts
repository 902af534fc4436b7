import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DescribeVolumesCommand, RunInstancesCommand } from '@aws-sdk/client-ec2';
import { GetBucketLifecycleConfigurationCommand, GetBucketVersioningCommand } from '@aws-sdk/client-s3';
import { GetPublicAccessBlockCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
const ME = '203.0.113.9';
const BUCKET = 'scheduler-api-123456789012-us-west-2';

const reason = whyNoAccount();

describeWhen(reason === undefined, reason ?? '', 'scheduler-deploy up and down, from credentials alone', () => {
  let account: AwsAccount;
  const whoAmI = createServer((_request, response) => response.end(`${ME}\n`));
  beforeAll(async () => {
    account = await startAccount(null, { bucket: BUCKET });
    await new Promise<void>((done) => whoAmI.listen(0, '127.0.0.1', done));
  }, 10 * MINUTES);
  afterAll(async () => {
    whoAmI.close();
    await account.dispose();
  }, MINUTES);

  const environment = (): Record<string, string> => ({
    TF_STATE_BUCKET: '',
    TF_VAR_allowed_cidrs: '',
    DEPLOY_YES: '1',
    ADDRESS_URL: `http://127.0.0.1:${(whoAmI.address() as AddressInfo).port}/`,
  });
  const volumes = async (): Promise<(string | undefined)[]> =>
    (
      (
        await account.ec2.send(
          new DescribeVolumesCommand({ Filters: [{ Name: 'tag:Name', Values: ['scheduler-data'] }] }),
        )
      ).Volumes ?? []
    ).map(({ VolumeId }) => VolumeId);

  it(
    'asks before it makes anything, and somebody must be there to answer',
    async () => {
      const { code, output } = await account.deploy(['up'], { ...environment(), DEPLOY_YES: '' });
      expect(code).toBe(1);
      expect(output).toMatch(
        /Make the bucket scheduler-api-123456789012-us-west-2 in us-west-2.* There is no terminal to answer in/,
      );
      await expect(account.read('secrets/.env')).rejects.toThrow();
    },
    MINUTES,
  );

  it(
    'makes bucket, secrets and stack, says what it costs, and where to go from there',
    async () => {
      const output = await account.mustDeploy(['up'], environment());
      expect(output).toMatch(/ 16\.78 USD a month +the API's instance, t3\.small, disk 20 GiB/);
      expect(output).toMatch(/ 1\.60 USD a month +Postgres's volume, 20 GiB/);
      expect(output).toMatch(/\d+\.\d\d USD a month, about, by the list of us-east-1/);
      expect(output).toMatch(
        /url {10}http:\/\/[\d.]+\ntoken {8}ADMIN_TOKEN of s3:\S+\/secrets\/\.env:.*\ncommand {6}export SCHEDULER_URL=http:\/\/[\d.]+ SCHEDULER_TOKEN=.*\njobs {9}http:\/\/<name>\.(\d+-){3}\d+\.sslip\.io\n/,
      );

      const secrets = await account.read('secrets/.env');
      expect(secrets).toMatch(
        /^POSTGRES_USER=scheduler\nPOSTGRES_PASSWORD=[0-9a-f]{48}\nADMIN_TOKEN=[0-9a-f]{64}\nENCRYPTION_KEY=[A-Za-z0-9+/]{43}=\n$/,
      );
      for (const secret of secrets
        .split('\n')
        .slice(1)
        .map((line) => line.split('=')[1] ?? '')
        .filter(Boolean)) {
        expect(output).not.toContain(secret);
      }
      const where = { Bucket: BUCKET };
      expect(await account.s3.send(new GetBucketVersioningCommand(where))).toMatchObject({ Status: 'Enabled' });
      expect(await account.s3.send(new GetPublicAccessBlockCommand(where))).toMatchObject({
        PublicAccessBlockConfiguration: { BlockPublicAcls: true, RestrictPublicBuckets: true },
      });
      const { Rules } = await account.s3.send(new GetBucketLifecycleConfigurationCommand(where));
      expect(Rules).toContainEqual(
        expect.objectContaining({ NoncurrentVersionExpiration: expect.objectContaining({ NoncurrentDays: 7 }) }),
      );
      expect(await allowed()).toEqual([`${ME}/32`]);
    },
    10 * MINUTES,
  );

  it(
    'has nothing to do the second time, from wherever that is',
    async () => {
      const output = await account.mustDeploy(['up'], {
        ...environment(),
        DEPLOY_YES: '',
        ADDRESS_URL: 'http://127.0.0.1:1/',
      });
      expect(output).toContain('No changes.');
      expect(output).not.toContain('USD');
      expect(await allowed()).toEqual([`${ME}/32`]);
    },
    10 * MINUTES,
  );

  it(
    'takes all away but what holds data, and takes that into use again',
    async () => {
      await account.ec2.send(
        new RunInstancesCommand({
          ImageId: 'ami-0debdebdebdebdebd',
          MinCount: 1,
          MaxCount: 1,
          TagSpecifications: [
            { ResourceType: 'instance', Tags: [{ Key: 'scheduler-api:cluster', Value: 'scheduler' }] },
          ],
        }),
      );
      const [volume] = await volumes();
      const output = await account.mustDeploy(['down'], environment());
      expect(output).toMatch(new RegExp(`Kept, and still paid for:\\n {2}the volume ${volume} with Postgres's data`));
      expect(await account.instances()).toEqual([]);
      const { Reservations } = await account.aws<{ Reservations: { Instances: { State: { Name: string } }[] }[] }>(
        'ec2',
        'describe-instances',
      );
      const states = Reservations.flatMap(({ Instances }) => Instances.map(({ State }) => State.Name));
      expect(new Set(states)).toEqual(new Set(['terminated']));
      expect(await volumes()).toEqual([volume]);
      const { SecurityGroups } = await account.aws<{ SecurityGroups: { GroupName: string }[] }>(
        'ec2',
        'describe-security-groups',
      );
      expect(SecurityGroups.filter(({ GroupName }) => GroupName.startsWith('scheduler-'))).toEqual([]);
      expect(await account.aws('route53', 'list-hosted-zones')).toMatchObject({ HostedZones: [] });

      // Without names that others answer for.
      const again = await account.mustDeploy(['up'], { ...environment(), TF_VAR_jobs_wildcard_dns: '' });
      expect(again).toContain(`taking the volume ${volume} into use again`);
      expect(again).not.toMatch(/^jobs /m);
      expect(await volumes()).toEqual([volume]);
      expect(await account.instances()).toHaveLength(1);
    },
    15 * MINUTES,
  );

  async function allowed(): Promise<(string | undefined)[]> {
    const { SecurityGroupRules } = await account.aws<{
      SecurityGroupRules: { CidrIpv4?: string; IsEgress: boolean }[];
    }>('ec2', 'describe-security-group-rules');
    return SecurityGroupRules.filter(({ CidrIpv4, IsEgress }) => CidrIpv4 && !IsEgress).map(({ CidrIpv4 }) => CidrIpv4);
  }
});
