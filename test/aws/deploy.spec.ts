import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { partsOf, whyNoCloudInit } from '../support/cloud-init.ts';
import { unpackUserData } from '../support/user-data.ts';
import { describeWhen, itWhen } from '../support/when.ts';

const MINUTES = 60_000;
const reason = whyNoAccount();
const noCloudInit = whyNoCloudInit();

// The deploy container and Terraform's AWS provider are real; AWS is moto, which boots nothing: the test says what the
// instance would say of its boot.
describeWhen(reason === undefined, reason ?? '', 'a deployment with the real provider', () => {
  let account: AwsAccount;
  beforeAll(async () => void (account = await startAccount(SETTINGS)), 10 * MINUTES);
  afterAll(async () => await account.dispose(), MINUTES);

  const ids = async (): Promise<string[]> => (await account.instances()).map(({ InstanceId = '' }) => InstanceId);
  const addresses = async () =>
    (await account.aws<{ Addresses: { PublicIp: string; InstanceId?: string }[] }>('ec2', 'describe-addresses'))
      .Addresses;

  /** Of the API's role, those that do not stand in itself. */
  const attachedPolicies = async (): Promise<string[]> => {
    type Details = { RoleDetailList: { RoleName: string; AttachedManagedPolicies: { PolicyName: string }[] }[] };
    const { RoleDetailList } = await account.aws<Details>(
      'iam',
      'get-account-authorization-details',
      '--filter',
      'Role',
    );
    const [role, ...others] = RoleDetailList.filter(({ RoleName }) => RoleName.startsWith('scheduler-api-'));
    expect([role === undefined, others]).toEqual([false, []]);
    return role?.AttachedManagedPolicies.map(({ PolicyName }) => PolicyName).sort() ?? [];
  };

  it(
    'makes the stack in an empty account',
    async () => {
      const output = await account.mustDeploy();
      const [instance] = await ids();
      const [address] = await addresses();
      expect(output).toMatch(
        new RegExp(
          `instance id {2}${instance}\npublic ip {4}${address?.PublicIp}\nurl {10}http://${address?.PublicIp}\n`,
        ),
      );
      expect(address?.InstanceId).toBe(instance);
      expect(await ids()).toHaveLength(1);
      const script = unpackUserData(await account.userData(instance ?? ''));
      expect(script).toContain(`SSM_AGENT_URL='https://s3.us-west-2.amazonaws.com/amazon-ssm-us-west-2/latest'`);
      expect(await attachedPolicies()).toEqual([]);
      expect(script).toContain(`PUBLIC_URL=http://${address?.PublicIp}`);
      expect(script).toContain('AGENT_URL=https://api.scheduler.internal:8443');
      for (const key of ['current', 'next']) {
        expect(await account.read(`secrets/agent-keys/${key}.pem`)).toMatch(
          /^-----BEGIN PRIVATE KEY-----\n[^]*-----END CERT/,
        );
      }
    },
    10 * MINUTES,
  );

  itWhen(
    noCloudInit === undefined,
    noCloudInit ?? '',
    'gives its instance what cloud-init takes for one script',
    async () => {
      const [instance = ''] = await ids();
      const given = await account.userData(instance);
      expect(partsOf(given)).toEqual([{ type: 'text/x-shellscript', script: unpackUserData(given) }]);
    },
    MINUTES,
  );

  it(
    'has nothing to do the second time',
    async () => {
      const before = await ids();
      expect(await account.mustDeploy()).toContain('No changes.');
      expect(await ids()).toEqual(before);
    },
    10 * MINUTES,
  );

  it(
    'leaves the old instance alone when the new one fails, and tries again on the same commit',
    async () => {
      const [old = ''] = await ids();
      const [address] = await addresses();
      account.commit((directory) => appendFileSync(join(directory, 'README.md'), '\none more line\n'));
      account.boots({ states: ['prepared', 'failed in boot, line 7: a typo'], log: 'ADMIN_TOKEN: too short\n' });
      const { code, output } = await account.deploy();
      expect(code).not.toBe(0);
      expect(output).toMatch(
        /i-\w+ does not serve \(failed in boot, line 7: a typo\)\. Its log, s3:\S+\.log, ends with:/,
      );
      expect(output).toContain('ADMIN_TOKEN: too short');
      const [, failed = ''] = await ids();
      expect(await ids()).toEqual([old, failed]);
      expect(await addresses()).toMatchObject([{ PublicIp: address?.PublicIp, InstanceId: old }]);

      account.boots({ states: ['prepared', 'serving'] });
      await account.mustDeploy();
      const [now = ''] = await ids();
      expect(await ids()).toHaveLength(1);
      expect([old, failed]).not.toContain(now);
      // The one that served was there until its successor did.
      expect(account.booted.at(-1)).toMatchObject({ id: now, said: 'serving', alive: expect.arrayContaining([old]) });
      expect(await addresses()).toMatchObject([{ PublicIp: address?.PublicIp, InstanceId: now }]);
    },
    15 * MINUTES,
  );

  it(
    'takes over the state of a release that had no name for agents beside a load balancer',
    async () => {
      await account.terraform('state', 'mv', 'aws_route53_zone.private', "'aws_route53_zone.private[0]'");
      await account.terraform('state', 'mv', 'aws_route53_record.api', "'aws_route53_record.api[0]'");
      const before = await ids();
      expect(await account.mustDeploy()).toContain('0 added, 0 changed, 0 destroyed');
      expect(await ids()).toEqual(before);
    },
    10 * MINUTES,
  );

  it(
    'takes a rotated .env to a new instance, and nothing else',
    async () => {
      const [old = ''] = await ids();
      await account.write('secrets/.env', (await account.read('secrets/.env')).replace('a-password', 'another'));
      await account.mustDeploy();
      const [now = ''] = await ids();
      expect(now).not.toBe(old);
      expect(account.booted.at(-1)?.alive).toContain(old);
      expect(await account.mustDeploy()).toContain('No changes.');
    },
    15 * MINUTES,
  );

  it(
    'gives its address away, and gets one again that nobody knows before the apply',
    async () => {
      const [old = ''] = await ids();
      let atServing: unknown;
      account.beforeServing(async () => void (atServing = await addresses()));
      // With AWS's own policies, where nobody may write one.
      await account.mustDeploy([], { TF_VAR_elastic_ip: 'false', TF_VAR_iam: 'managed' });
      // Until another instance serves, users come by it.
      expect(atServing).toMatchObject([{ InstanceId: old }]);
      expect(await addresses()).toEqual([]);
      expect(await attachedPolicies()).toEqual([
        'AmazonEC2ContainerRegistryPullOnly',
        'AmazonEC2FullAccess',
        'AmazonS3FullAccess',
        'AmazonSSMManagedEC2InstanceDefaultPolicy',
      ]);

      const [without = ''] = await ids();
      const output = await account.mustDeploy();
      const [address] = await addresses();
      const [now = ''] = await ids();
      expect(now).not.toBe(without);
      expect(account.booted.at(-1)).toMatchObject({ id: now, alive: expect.arrayContaining([without]) });
      expect(address?.InstanceId).toBe(now);
      expect(unpackUserData(await account.userData(now))).toContain(`PUBLIC_URL=http://${address?.PublicIp}`);
      expect(output).toMatch(new RegExp(`url {10}http://${address?.PublicIp}\n`));
      expect(await attachedPolicies()).toEqual([]);
    },
    15 * MINUTES,
  );
});
