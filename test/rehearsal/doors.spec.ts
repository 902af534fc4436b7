import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type AwsAccount, SETTINGS, startAccount, whyNoAccount } from '../support/aws-account.ts';
import { describeWhen } from '../support/when.ts';

const MINUTES = 60_000;
type Rule = {
  SecurityGroupRuleId: string;
  GroupId: string;
  IsEgress: boolean;
  FromPort: number;
  CidrIpv4?: string;
  ReferencedGroupInfo?: { GroupId: string };
};

const reason = whyNoAccount();

// Switching TLS on for users: nobody who is served is cut off before the new instance serves. The real provider, moto.
describeWhen(reason === undefined, reason ?? '', 'the doors of a deployment', () => {
  let account: AwsAccount;
  beforeAll(async () => {
    account = await startAccount(SETTINGS);
    await account.aws('route53', 'create-hosted-zone', '--name', 'example.com', '--caller-reference', 'a');
  }, 10 * MINUTES);
  afterAll(async () => await account.dispose(), MINUTES);

  it(
    'stay open while TLS is switched on; agents’ stay for ever',
    async () => {
      await account.mustDeploy();
      const before = await rules();
      const users = before.filter(({ CidrIpv4 }) => CidrIpv4 === '203.0.113.7/32');
      // From port 1 on nginx gets to jobs.
      const agents = before.filter(({ ReferencedGroupInfo, FromPort }) => ReferencedGroupInfo && FromPort !== 1);
      expect(users.map(({ FromPort }) => FromPort)).toEqual([80]);
      expect(agents.map(({ FromPort }) => FromPort).sort()).toEqual([80, 8443]);
      const name = await agentsName();

      let atServing: Rule[] = [];
      account.beforeServing(async () => void (atServing = await rules()));
      const output = await account.mustDeploy([], { TF_VAR_api_domain: 'scheduler.example.com' });
      expect(output).toMatch(/url {10}https:\/\/scheduler\.example\.com\n/);
      const ids = (list: Rule[]): string[] => list.map(({ SecurityGroupRuleId }) => SecurityGroupRuleId);
      // Until the new instance served, users came in by the old door, and could by the new one.
      expect(ids(atServing)).toEqual(expect.arrayContaining(ids([...users, ...agents])));
      expect(
        atServing.filter(({ FromPort, CidrIpv4 }) => FromPort === 443 && CidrIpv4 === '203.0.113.7/32'),
      ).toHaveLength(1);
      const after = await rules();
      expect(ids(after)).toEqual(expect.arrayContaining(ids(agents)));
      expect(after.filter(({ FromPort, CidrIpv4 }) => FromPort === 80 && CidrIpv4 !== undefined)).toEqual([]);
      // Under the same name there is the new instance.
      const [instance] = await account.instances();
      expect(await agentsName()).toEqual({ ...name, address: instance?.PrivateIpAddress });
    },
    20 * MINUTES,
  );

  it(
    'may have a certificate of one’s own, and lead back when TLS is switched off',
    async () => {
      const CertificateArn = await makeCertificate('scheduler.example.net');
      const own = { TF_VAR_certificate_arn: CertificateArn, TF_VAR_domain_name: 'scheduler.example.net' };
      // As the load balancer was before: one of the same name cannot be beside it.
      const output = await account.mustDeploy([], { ...own, TF_VAR_alb_internal: 'false' });
      expect(output).toMatch(/url {10}https:\/\/scheduler\.example\.net\n/);
      const listener = expect.objectContaining({ Port: 443, Protocol: 'HTTPS', Certificates: [{ CertificateArn }] });
      expect(await listeners()).toEqual([listener]);
      expect(await doorsOfUsers()).toEqual([443]);
      const agents = await doorsOfAgents();
      expect(agents.map((door) => door.split(' ')[1])).toEqual(expect.arrayContaining(['80', '8443']));
      const { zone } = await agentsName();

      let atServing: unknown;
      account.beforeServing(
        async () => void (atServing = { listeners: await listeners(), ports: await doorsOfUsers() }),
      );
      expect(await account.mustDeploy()).toMatch(/url {10}http:\/\/[\d.]+\n/);
      // Until the new instance served, users came in by TLS.
      expect(atServing).toEqual({ listeners: [listener], ports: [80, 443] });
      expect(await listeners()).toEqual([]);
      expect(await doorsOfUsers()).toEqual([80]);
      expect(await doorsOfAgents()).toEqual(agents);
      const [instance] = await account.instances();
      expect(await agentsName()).toEqual({ zone, address: instance?.PrivateIpAddress });
    },
    20 * MINUTES,
  );

  async function doorsOfUsers(): Promise<number[]> {
    const theirs = (await rules()).filter(({ CidrIpv4 }) => CidrIpv4 === '203.0.113.7/32');
    return theirs.map(({ FromPort }) => FromPort).sort((a, b) => a - b);
  }

  async function doorsOfAgents(): Promise<string[]> {
    const { SecurityGroups } = await account.aws<{ SecurityGroups: { GroupId: string; GroupName: string }[] }>(
      'ec2',
      'describe-security-groups',
    );
    const jobs = SecurityGroups.find(({ GroupName }) => GroupName.startsWith('scheduler-jobs-'))?.GroupId;
    const theirs = (await rules()).filter(({ ReferencedGroupInfo }) => ReferencedGroupInfo?.GroupId === jobs);
    return theirs.map(({ SecurityGroupRuleId, FromPort }) => `${SecurityGroupRuleId} ${FromPort}`).sort();
  }

  async function listeners(): Promise<object[]> {
    type Balancers = { LoadBalancers: { LoadBalancerArn: string }[] };
    const { LoadBalancers } = await account.aws<Balancers>('elbv2', 'describe-load-balancers');
    const found: object[] = [];
    for (const { LoadBalancerArn } of LoadBalancers) {
      const asked = ['elbv2', 'describe-listeners', '--load-balancer-arn', LoadBalancerArn];
      const { Listeners } = await account.aws<{ Listeners: object[] }>(...asked);
      // One that nobody comes by is paid for all the same.
      found.push(...(Listeners.length > 0 ? Listeners : [{ LoadBalancerArn }]));
    }
    return found;
  }

  async function makeCertificate(name: string): Promise<string> {
    const asked = ['acm', 'request-certificate', '--domain-name', name, '--validation-method', 'DNS'];
    return (await account.aws<{ CertificateArn: string }>(...asked)).CertificateArn;
  }

  async function rules(): Promise<Rule[]> {
    const { SecurityGroupRules } = await account.aws<{ SecurityGroupRules: Rule[] }>(
      'ec2',
      'describe-security-group-rules',
    );
    return SecurityGroupRules.filter(({ IsEgress }) => !IsEgress);
  }

  async function agentsName(): Promise<{ zone: string; address: string | undefined }> {
    type Zones = { HostedZones: { Id: string; Name: string }[] };
    type Records = { ResourceRecordSets: { Name: string; ResourceRecords: { Value: string }[] }[] };
    const { HostedZones } = await account.aws<Zones>('route53', 'list-hosted-zones');
    const zone = HostedZones.find(({ Name }) => Name === 'scheduler.internal.')?.Id ?? '';
    const asked = ['route53', 'list-resource-record-sets', '--hosted-zone-id', zone];
    const { ResourceRecordSets } = await account.aws<Records>(...asked);
    const record = ResourceRecordSets.find(({ Name }) => Name === 'api.scheduler.internal.');
    return { zone, address: record?.ResourceRecords[0]?.Value };
  }
});
