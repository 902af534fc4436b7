import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { unpackUserData } from '../support/user-data.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
const JOBS = { TF_VAR_jobs_domain: 'jobs.example.com' };
const PUBLIC_JOBS = { ...JOBS, TF_VAR_ingress_cidrs: '["0.0.0.0/0"]' };
const TLS = { TF_VAR_api_domain: 'scheduler.example.com' };
const reason = whyNoAccount();

type Rule = {
  GroupId: string;
  IsEgress: boolean;
  FromPort: number;
  ToPort: number;
  CidrIpv4?: string;
  ReferencedGroupInfo?: { GroupId: string };
};
type Name = { Name: string; ResourceRecords?: { Value: string }[]; AliasTarget?: { DNSName: string } };

// The addresses of jobs, as the real provider makes, changes and takes them away. AWS is moto.
describeWhen(reason === undefined, reason ?? '', 'the jobs’ addresses of a deployment', () => {
  let account: AwsAccount;
  let zone: string;
  beforeAll(async () => {
    account = await startAccount(SETTINGS);
    const make = ['route53', 'create-hosted-zone', '--name', 'example.com', '--caller-reference', 'a'];
    zone = (await account.aws<{ HostedZone: { Id: string } }>(...make)).HostedZone.Id;
  }, 10 * MINUTES);
  afterAll(async () => await account.dispose(), MINUTES);

  it(
    'are made of its address without a domain, for those who may call the API',
    async () => {
      account.beforeServing(takeNames);
      await account.mustDeploy();
      const name = `${(await address()).replaceAll('.', '-')}.sslip.io`;
      const given = await settings();
      expect(given).toContain(`\nJOBS_URL=http://${name}\n`);
      expect(given).not.toContain('_CIDRS=');
      expect(await doors()).toEqual(['api 203.0.113.7/32 80']);
      expect(await doorOfJobs()).toEqual({ from: 'api', ports: [1, 65_535] });
      expect([await namesOfJobs(), Object.keys(await namesWithin())]).toEqual([[], ['*.jobs', 'api']]);
      expect(await account.mustDeploy()).toContain('No changes.');
    },
    20 * MINUTES,
  );

  it(
    'lead to the API’s address, and open jobs to others than the API once its nginx refuses them',
    async () => {
      let atServing: unknown;
      account.beforeServing(async () => {
        atServing = [await doors(), await namesOfJobs(), await namesWithin()];
        await takeNames();
      });
      await account.mustDeploy([], {
        ...PUBLIC_JOBS,
        TF_VAR_job_security_group_ids: JSON.stringify([await makeGroup()]),
      });
      expect(atServing).toEqual([
        ['api 203.0.113.7/32 80'],
        [],
        { api: expect.any(String), '*.jobs': expect.any(String) },
      ]);
      expect(await doors()).toEqual(['api 203.0.113.7/32 80', 'ingress 0.0.0.0/0 80']);
      expect(await doorOfJobs()).toEqual({ from: 'api', ports: [1, 65_535] });
      expect(await namesOfJobs()).toMatchObject([{ ResourceRecords: [{ Value: await address() }] }]);
      const given = await settings();
      expect(given).toContain('JOBS_URL=http://jobs.example.com\n');
      expect(given).toContain('\nALLOWED_CIDRS=203.0.113.7/32\n');
      expect(given).toContain("\nINGRESS_CIDRS=0.0.0.0/0,172.31.0.0/16'\n");
    },
    20 * MINUTES,
  );

  it(
    'lead callers among the jobs to the instance itself, whose nginx lets their groups in',
    async () => {
      const [{ PrivateIpAddress = '' } = {}] = await account.instances();
      expect(await namesWithin()).toEqual({ api: PrivateIpAddress, '*.jobs': PrivateIpAddress });
      expect(await settings()).toContain("SETTINGS='JOBS_PRIVATE_URL=http://jobs.scheduler.internal\n");
      expect(await doorsOfContainers()).toEqual(['jobs 80', 'jobs 8443', 'own 80', 'own 8443']);
    },
    5 * MINUTES,
  );

  it(
    'stay where they are until the new instance serves with TLS, which has a certificate for them',
    async () => {
      let atServing: unknown;
      account.beforeServing(async () => void (atServing = [await doors(), await namesOfJobs()]));
      await account.mustDeploy([], { ...PUBLIC_JOBS, ...TLS });
      expect(atServing).toMatchObject([
        ['alb 203.0.113.7/32 443', 'api 203.0.113.7/32 80', 'ingress 0.0.0.0/0 80'],
        [{ ResourceRecords: [{ Value: expect.any(String) }] }],
      ]);
      expect(await doors()).toEqual(['alb 203.0.113.7/32 443', 'ingress 0.0.0.0/0 443']);
      expect(await namesOfJobs()).toMatchObject([{ AliasTarget: { DNSName: expect.stringContaining('elb') } }]);
      expect(await certificates()).toEqual(['*.jobs.example.com', 'scheduler.example.com']);
      expect(await settings()).toContain('JOBS_URL=https://jobs.example.com\n');
      expect(await account.mustDeploy([], { ...PUBLIC_JOBS, ...TLS })).toContain('No changes.');
    },
    20 * MINUTES,
  );

  it(
    'are gone without a trace, also where their callers may all call the API from then on',
    async () => {
      await account.mustDeploy([], { ...TLS, TF_VAR_allowed_cidrs: '["0.0.0.0/0"]' });
      expect(await doors()).toEqual(['alb 0.0.0.0/0 443']);
      expect([await namesOfJobs(), await doorOfJobs()]).toEqual([[], undefined]);
      expect(Object.keys(await namesWithin())).toEqual(['api']);
      expect(await doorsOfContainers()).toEqual(['jobs 80', 'jobs 8443']);
      expect(await certificates()).toEqual(['scheduler.example.com']);
      expect(await settings()).not.toMatch(/JOBS_URL|_CIDRS/);
    },
    20 * MINUTES,
  );

  it(
    'are gone with the stack, whoever made them',
    async () => {
      account.beforeServing(takeNames);
      // Another name: moto refuses to make one again that was gone.
      await account.mustDeploy([], { TF_VAR_jobs_domain: 'apps.example.com' });
      expect(Object.keys(await namesWithin())).toEqual(['*.jobs', 'api']);
      await account.mustDeploy(['down'], { DEPLOY_YES: '1' });
      expect([await namesOfJobs(), await namesWithin()]).toEqual([[], {}]);
    },
    20 * MINUTES,
  );

  /** Of callers from outside, with the group they are in. */
  async function doors(): Promise<string[]> {
    const [rules, nameOf] = await rulesAndGroups();
    return rules
      .filter(({ CidrIpv4 }) => CidrIpv4 !== undefined)
      .map(({ GroupId, CidrIpv4, FromPort }) => `${nameOf(GroupId)} ${CidrIpv4} ${FromPort}`)
      .sort();
  }

  async function doorOfJobs() {
    const [rules, nameOf] = await rulesAndGroups();
    const [rule, ...others] = rules.filter(({ GroupId }) => nameOf(GroupId) === 'jobs');
    expect(others).toEqual([]);
    return rule && { from: nameOf(rule.ReferencedGroupInfo?.GroupId), ports: [rule.FromPort, rule.ToPort] };
  }

  /** Which groups of jobs reach which ports of the API's instance. */
  async function doorsOfContainers(): Promise<string[]> {
    const [rules, nameOf] = await rulesAndGroups();
    return rules
      .filter(({ GroupId, ReferencedGroupInfo: from }) => nameOf(GroupId) === 'api' && nameOf(from?.GroupId) !== 'alb')
      .flatMap(({ ReferencedGroupInfo: from, FromPort }) => (from ? [`${nameOf(from.GroupId)} ${FromPort}`] : []))
      .sort();
  }

  /** Of the operator's own, for instances of jobs. */
  async function makeGroup(): Promise<string> {
    const make = ['ec2', 'create-security-group', '--group-name', 'scheduler-own-', '--description', 'jobs'];
    const { Vpcs } = await account.aws<{ Vpcs: { VpcId: string }[] }>('ec2', 'describe-vpcs');
    return (await account.aws<{ GroupId: string }>(...make, '--vpc-id', Vpcs[0]?.VpcId ?? '')).GroupId;
  }

  async function rulesAndGroups() {
    type Rules = { SecurityGroupRules: Rule[] };
    type Groups = { SecurityGroups: { GroupId: string; GroupName: string }[] };
    const { SecurityGroupRules } = await account.aws<Rules>('ec2', 'describe-security-group-rules');
    const { SecurityGroups } = await account.aws<Groups>('ec2', 'describe-security-groups');
    const names = new Map(
      SecurityGroups.map(({ GroupId, GroupName }) => [GroupId, /^scheduler-(\w+)-/.exec(GroupName)?.[1]]),
    );
    const nameOf = (id = ''): string | undefined => names.get(id);
    return [SecurityGroupRules.filter(({ IsEgress, GroupId }) => !IsEgress && nameOf(GroupId)), nameOf] as const;
  }

  async function namesOfJobs(): Promise<Name[]> {
    const asked = ['route53', 'list-resource-record-sets', '--hosted-zone-id', zone];
    const { ResourceRecordSets } = await account.aws<{ ResourceRecordSets: Name[] }>(...asked);
    return ResourceRecordSets.filter(({ Name }) => /^(\*|\\052)\.jobs\.example\.com\.$/.test(Name));
  }

  /** Names in the stack's own zone, without that, and where they lead. */
  async function namesWithin(): Promise<Record<string, string | undefined>> {
    const asked = ['route53', 'list-resource-record-sets', '--hosted-zone-id', await zoneWithin()];
    if (asked.at(-1) === '') return {};
    const { ResourceRecordSets } = await account.aws<{ ResourceRecordSets: Name[] }>(...asked);
    const names = ResourceRecordSets.map(({ Name, ResourceRecords }) => ({
      name: Name.replace('\\052', '*').replace(/\.?scheduler\.internal\.$/, ''),
      leadsTo: ResourceRecords?.[0]?.Value,
    })).filter(({ name }) => name !== '');
    return Object.fromEntries(names.map(({ name, leadsTo }) => [name, leadsTo] as const).sort());
  }

  async function zoneWithin(): Promise<string> {
    const { HostedZones } = await account.aws<{ HostedZones: { Id: string; Name: string }[] }>(
      ...['route53', 'list-hosted-zones'],
    );
    return HostedZones.find(({ Name }) => Name === 'scheduler.internal.')?.Id ?? '';
  }

  /** As the newest instance does it in its first boot, before Terraform gets to it. */
  async function takeNames(): Promise<void> {
    const Value = (await account.instances()).at(-1)?.PrivateIpAddress;
    const Changes = ['api', '*.jobs'].map((name) => ({
      Action: 'UPSERT',
      ResourceRecordSet: { Name: `${name}.scheduler.internal`, Type: 'A', TTL: 5, ResourceRecords: [{ Value }] },
    }));
    const change = ['route53', 'change-resource-record-sets', '--hosted-zone-id', await zoneWithin()];
    await account.aws(...change, '--change-batch', JSON.stringify({ Changes }));
  }

  async function certificates(): Promise<string[]> {
    type Made = { CertificateSummaryList: { CertificateArn: string; DomainName: string }[] };
    const { CertificateSummaryList } = await account.aws<Made>('acm', 'list-certificates');
    return CertificateSummaryList.map(({ DomainName }) => DomainName).sort();
  }

  async function address(): Promise<string> {
    const { Addresses } = await account.aws<{ Addresses: { PublicIp: string }[] }>('ec2', 'describe-addresses');
    return Addresses[0]?.PublicIp ?? '';
  }

  async function settings(): Promise<string> {
    const [instance] = await account.instances();
    return unpackUserData(await account.userData(instance?.InstanceId ?? ''));
  }
});
