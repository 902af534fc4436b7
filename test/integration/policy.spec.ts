import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { CLUSTER_TAG, LAUNCH_TAG, SNAPSHOT_TAG, STACK_TAG } from '../../src/aws/ec2-types.ts';
import { launchInput } from '../../src/fleet/launch-input.ts';
import { cliCallsIn, sdkCallsIn } from '../support/calls-in-code.ts';
import {
  type Access,
  type Context,
  isAllowed,
  type Policy,
  type Statement,
  withoutLimits,
  withoutPermissions,
} from '../support/iam.ts';
import { faultsOf, faultsOfAccess, requiredTypesOf, typesOf } from '../support/iam-reference.ts';
import { evaluateModule, hasTerraform, TERRAFORM } from '../support/terraform.ts';
import { describeWhen } from '../support/when.ts';

const SRC = join(import.meta.dirname, '..', '..', 'src');
const ACCOUNT = '123456789012';
const BUCKET = 'arn:aws:s3:::bucket';
const VOLUME = own('volume/vol-0123456789abcdef0');
const ADDRESS = own('elastic-ip/eipalloc-0123456789abcdef0');
const REPOSITORY = `arn:aws:ecr:us-west-2:${ACCOUNT}:repository/api`;
const ZONE = 'arn:aws:route53:::hostedzone/Z1';
const SPOT_ROLE = `arn:aws:iam::${ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot`;
const JOB_ROLE = `arn:aws:iam::${ACCOUNT}:role/main-job`;
const AMI_OWNER = '111122223333';
/** Characters of all policies that stand in a role itself (IAM's quotas). */
const ROLE_LIMIT = 10_240;
/** Of the bucket, which is in another region than the stack. */
const BUCKET_KEY = `arn:aws:kms:eu-central-1:${ACCOUNT}:key/1`;
const DISK_KEY = `arn:aws:kms:us-west-2:${ACCOUNT}:key/2`;

/** An installation that has everything which needs a permission. */
const EVERYTHING = {
  partition: 'aws',
  account_id: ACCOUNT,
  region: 'us-west-2',
  name: 'main',
  job_subnet_ids: ['subnet-0aaaaaaaaaaaaaaaa'],
  job_security_group_ids: ['sg-0aaaaaaaaaaaaaaaa'],
  job_ami_owners: ['amazon', AMI_OWNER],
  job_role_arns: [JOB_ROLE],
  bucket: 'bucket',
  secrets_key: 'secrets/.env',
  agent_keys_prefix: 'secrets/agent-keys/',
  log_prefix: 'logs/main/',
  bucket_region: 'eu-central-1',
  kms_key_arn: BUCKET_KEY,
  ebs_kms_key_arn: DISK_KEY,
  ecr_repository_arns: [REPOSITORY],
  data_volume_arn: VOLUME,
  address_arn: ADDRESS,
  private_record: { zone_id: 'Z1', name: 'api.main.internal', jobs_name: '*.jobs.main.internal' },
  ssm: true,
};

const ours: Context = { [`aws:ResourceTag/${CLUSTER_TAG}`]: 'main' };
const theirs: Context = { [`aws:ResourceTag/${CLUSTER_TAG}`]: 'other' };
const stack: Context = { 'aws:ResourceTag/scheduler-api:stack': 'main' };
const otherStack: Context = { 'aws:ResourceTag/scheduler-api:stack': 'other' };
const launched: Context = { [`aws:RequestTag/${CLUSTER_TAG}`]: 'main', 'aws:TagKeys': [CLUSTER_TAG, LAUNCH_TAG] };
const jobTags: Context = { 'aws:TagKeys': ['Name', 'scheduler-api:job', 'scheduler-api:deployment'] };
const madeByUs: Context = { [`aws:ResourceTag/${STACK_TAG}`]: 'main', [`aws:ResourceTag/${SNAPSHOT_TAG}`]: '1' };
const snapshotTags: Context = {
  [`aws:RequestTag/${STACK_TAG}`]: 'main',
  [`aws:RequestTag/${SNAPSHOT_TAG}`]: '1',
  'aws:TagKeys': ['Name', STACK_TAG, SNAPSHOT_TAG],
};
const release: Context = { 'aws:TagKeys': ['scheduler-api:release'] };
const viaEc2: Context = { 'kms:ViaService': 'ec2.us-west-2.amazonaws.com' };
const viaS3: Context = { 'kms:ViaService': 's3.eu-central-1.amazonaws.com' };
/** As Route 53 says to write an asterisk in a condition. */
const JOBS_NAME = '\\052.jobs.main.internal';
const record: Context = {
  'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['api.main.internal'],
  'route53:ChangeResourceRecordSetsRecordTypes': ['A'],
  'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
};

/** One thing that the API's role does: the call in the code, and everything of which AWS asks whether it may. */
type Row = { readonly what: string; readonly call: string; readonly touches: readonly Access[] };

const ROWS: readonly Row[] = [
  row('looks at instances', 'ec2:DescribeInstances', see('DescribeInstances')),
  row('looks at their checks', 'ec2:DescribeInstanceStatus', see('DescribeInstanceStatus')),
  row('looks for images', 'ec2:DescribeImages', see('DescribeImages')),
  row('looks for subnets', 'ec2:DescribeSubnets', see('DescribeSubnets')),
  row('launches on spot, with a profile', 'ec2:RunInstances', ...launch('spot', 'amazon')),
  row('launches an image of an account that is allowed', 'ec2:RunInstances', ...launch('on-demand', AMI_OWNER)),
  row('launches on spot as the first of its account', 'ec2:RunInstances', ...launch('spot', 'amazon'), {
    action: 'iam:CreateServiceLinkedRole',
    resource: SPOT_ROLE,
    context: { 'iam:AWSServiceName': 'spot.amazonaws.com' },
  }),
  row(
    'launches where new disks are encrypted with a key of the account’s own',
    'ec2:RunInstances',
    ...launch('on-demand', 'amazon'),
    ...disk('Decrypt', 'DescribeKey', 'GenerateDataKeyWithoutPlaintext', 'ReEncryptFrom', 'ReEncryptTo', 'CreateGrant'),
  ),
  row('names instances', 'ec2:CreateTags', onInstance('CreateTags', { ...ours, ...jobTags })),
  row('ends instances', 'ec2:TerminateInstances', onInstance('TerminateInstances', ours)),

  row('looks at snapshots', 'ec2:DescribeSnapshots', see('DescribeSnapshots')),
  // Of an encrypted volume, too: AWS's own role for this (AWSDataLifecycleManagerServiceRole) has no permission in KMS.
  row(
    'takes a snapshot of the data volume',
    'ec2:CreateSnapshot',
    { action: 'ec2:CreateSnapshot', resource: VOLUME, context: stack },
    onSnapshot('CreateSnapshot', snapshotTags),
    onSnapshot('CreateTags', { ...snapshotTags, 'ec2:CreateAction': 'CreateSnapshot' }),
  ),
  row('deletes its old snapshots', 'ec2:DeleteSnapshot', onSnapshot('DeleteSnapshot', madeByUs)),

  row('reads the settings', 's3:GetObject', object('GetObject', 'secrets/.env')),
  row(
    'reads the settings in a bucket with a key',
    's3:GetObject',
    object('GetObject', 'secrets/.env'),
    inBucket('Decrypt'),
  ),
  row('reads log lines', 's3:GetObject', object('GetObject', 'logs/main/jobs/1/2.log.gz')),
  row('keeps log lines', 's3:PutObject', object('PutObject', 'logs/main/jobs/1/2.log.gz'), inBucket('GenerateDataKey')),
  row('drops log lines', 's3:DeleteObject', object('DeleteObject', 'logs/main/jobs/1/2.log.gz')),
  row('lists log lines', 's3:ListObjectsV2', {
    action: 's3:ListBucket',
    resource: BUCKET,
    context: { 's3:prefix': 'logs/main/jobs/1/' },
  }),
  // A missing object is refused like one that may not be read: a list of what begins with its key tells.
  row('learns that log lines are gone', 's3:ListObjectsV2', {
    action: 's3:ListBucket',
    resource: BUCKET,
    context: { 's3:prefix': 'logs/main/jobs/1/2.log.gz' },
  }),

  row('logs agents in to ECR', 'ecr:GetAuthorizationToken', { action: 'ecr:GetAuthorizationToken', resource: '*' }),
  row('logs itself in to ECR', 'aws ecr get-login-password', { action: 'ecr:GetAuthorizationToken', resource: '*' }),
  row(
    'pulls its image from ECR',
    'docker pull',
    ...['BatchCheckLayerAvailability', 'BatchGetImage', 'GetDownloadUrlForLayer'].map((action) => ({
      action: `ecr:${action}`,
      resource: REPOSITORY,
    })),
  ),

  row('gets its bundle', 'aws s3 cp from BUNDLE_URI', object('GetObject', 'bundles/0.tar.gz'), inBucket('Decrypt')),
  row('gets its settings', 'aws s3 cp from SECRETS_URI', object('GetObject', 'secrets/.env'), inBucket('Decrypt')),
  row(
    'gets the agents’ keys',
    'aws s3 cp from AGENT_KEYS_URI',
    object('GetObject', 'secrets/agent-keys/current.pem'),
    inBucket('Decrypt'),
  ),
  row(
    'tells how its boot goes',
    'aws s3 cp to LOG_URI',
    object('PutObject', 'logs/main/boot/i-1.log'),
    inBucket('GenerateDataKey'),
  ),
  row(
    'keeps a backup, in parts where it is large',
    'aws s3 cp to BACKUP_URI',
    object('PutObject', 'backups/main/20260301T000000Z.dump'),
    inBucket('GenerateDataKey'),
    inBucket('Decrypt'),
  ),
  row('looks where the data volume is', 'aws ec2 describe-volumes', see('DescribeVolumes')),
  row('looks how the predecessor is', 'aws ec2 describe-instances', see('DescribeInstances')),
  row('asks the predecessor', 'aws ec2 create-tags', onInstance('CreateTags', { ...stack, ...release })),
  row('stops the predecessor', 'aws ec2 stop-instances', onInstance('StopInstances', stack)),
  row(
    'takes the data volume',
    'aws ec2 attach-volume',
    { action: 'ec2:AttachVolume', resource: VOLUME, context: stack },
    onInstance('AttachVolume', stack),
    ...disk('Decrypt', 'CreateGrant'),
  ),
  row(
    'lets go of the data volume',
    'aws ec2 detach-volume',
    { action: 'ec2:DetachVolume', resource: VOLUME, context: stack },
    onInstance('DetachVolume', stack),
  ),
  row(
    'takes the public address',
    'aws ec2 associate-address',
    { action: 'ec2:AssociateAddress', resource: ADDRESS, context: stack },
    onInstance('AssociateAddress', stack),
  ),
  row('takes the name', 'aws route53 change-resource-record-sets', changeRecord({})),
  row(
    'takes the name and that of jobs',
    'aws route53 change-resource-record-sets',
    changeRecord({ NormalizedRecordNames: ['api.main.internal', JOBS_NAME] }),
  ),
  row(
    'hears commands of operators, and answers them',
    'enable --now amazon-ssm-agent',
    { action: 'ssm:UpdateInstanceInformation', resource: own('instance/i-1') },
    ...['CreateControlChannel', 'CreateDataChannel', 'OpenControlChannel', 'OpenDataChannel'].map((action) => ({
      action: `ssmmessages:${action}`,
      resource: '*',
    })),
    ...['AcknowledgeMessage', 'DeleteMessage', 'FailMessage', 'GetEndpoint', 'GetMessages', 'SendReply'].map(
      (action) => ({
        action: `ec2messages:${action}`,
        resource: '*',
      }),
    ),
  ),
];

/** What the role must never be allowed. Each limit of the policy is what keeps one of them out. */
const FORBIDDEN: readonly (readonly [string, Access])[] = [
  ['a launch without our tag', run('instance/*', { 'ec2:MetadataHttpTokens': 'required' })],
  ['a launch for another cluster', run('volume/*', { [`aws:RequestTag/${CLUSTER_TAG}`]: 'other' })],
  ['a launch with IMDSv1', run('instance/*', { ...launched, 'ec2:MetadataHttpTokens': 'optional' })],
  ['a launch that leaves IMDS to the account', run('instance/*', launched)],
  ['a launch into a foreign subnet', run('subnet/subnet-0fffffffffffffff', {})],
  ['a launch with a foreign group', run('security-group/sg-0ffffffffffffffff', {})],
  ['an image of anybody', image('999999999999')],
  ['an image of the marketplace', image('aws-marketplace')],
  ['our cluster tag on a foreign instance', onInstance('CreateTags', launched)],
  [
    'another cluster’s tag at a launch',
    onInstance('CreateTags', {
      [`aws:RequestTag/${CLUSTER_TAG}`]: 'other',
      'aws:TagKeys': [CLUSTER_TAG],
      'ec2:CreateAction': 'RunInstances',
    }),
  ],
  [
    'a launch that counts as the API’s',
    onInstance('CreateTags', {
      ...launched,
      'aws:TagKeys': [CLUSTER_TAG, LAUNCH_TAG, STACK_TAG],
      'ec2:CreateAction': 'RunInstances',
    }),
  ],
  ['a disk of a snapshot of the account', onSnapshot('RunInstances', { 'ec2:Owner': ACCOUNT })],
  ['job tags on a foreign instance', onInstance('CreateTags', { ...theirs, ...jobTags })],
  ['job tags on the API’s instance', onInstance('CreateTags', { ...stack, ...jobTags })],
  ['another cluster tag on our instance', onInstance('CreateTags', { ...ours, 'aws:TagKeys': [CLUSTER_TAG] })],
  ['no tags on our instance', onInstance('CreateTags', ours)],
  ['the end of a foreign instance', onInstance('TerminateInstances', theirs)],
  ['the end of the API’s instance', onInstance('TerminateInstances', stack)],
  ['another user data', onInstance('ModifyInstanceAttribute', ours)],
  ['another profile', onInstance('AssociateIamInstanceProfile', ours)],

  ['a stop of a job’s instance', onInstance('StopInstances', ours)],
  ['a question to another stack', onInstance('CreateTags', { ...otherStack, ...release })],
  ['another tag on the predecessor', onInstance('CreateTags', { ...stack, 'aws:TagKeys': [CLUSTER_TAG] })],
  ['no tags on the predecessor', onInstance('CreateTags', stack)],
  ['another volume', { action: 'ec2:AttachVolume', resource: own('volume/vol-0fffffffffffffff'), context: stack }],
  ['the data volume on a job’s instance', onInstance('AttachVolume', ours)],
  ['a snapshot of another volume', { action: 'ec2:CreateSnapshot', resource: own('volume/vol-0f'), context: stack }],
  [
    'a snapshot for another stack',
    onSnapshot('CreateSnapshot', { ...snapshotTags, [`aws:RequestTag/${STACK_TAG}`]: 'other' }),
  ],
  [
    'a snapshot that does not say who made it',
    onSnapshot('CreateSnapshot', { [`aws:RequestTag/${STACK_TAG}`]: 'main' }),
  ],
  ['our tags on a foreign snapshot', onSnapshot('CreateTags', snapshotTags)],
  [
    'another stack’s tag on a snapshot',
    onSnapshot('CreateTags', {
      ...snapshotTags,
      [`aws:RequestTag/${STACK_TAG}`]: 'other',
      'ec2:CreateAction': 'CreateSnapshot',
    }),
  ],
  [
    'the end of another stack’s snapshot',
    onSnapshot('DeleteSnapshot', { ...madeByUs, [`aws:ResourceTag/${STACK_TAG}`]: 'other' }),
  ],
  ['the end of a snapshot that a person made', onSnapshot('DeleteSnapshot', stack)],
  ['another address', { action: 'ec2:AssociateAddress', resource: own('elastic-ip/eipalloc-0f'), context: stack }],
  ['the public address on a job’s instance', onInstance('AssociateAddress', ours)],
  ['another name', changeRecord({ NormalizedRecordNames: ['www.main.internal'] })],
  ['a name beside those of jobs', changeRecord({ NormalizedRecordNames: [JOBS_NAME, '\\052.main.internal'] })],
  ['the name with another record', changeRecord({ RecordTypes: ['CNAME'] })],
  ['the end of the name', changeRecord({ Actions: ['DELETE'] })],

  ['the job role for another service', passRole(JOB_ROLE, 'lambda.amazonaws.com')],
  ['an admin’s role', passRole(`arn:aws:iam::${ACCOUNT}:role/admin`, 'ec2.amazonaws.com')],
  [
    'the role of another service',
    {
      action: 'iam:CreateServiceLinkedRole',
      resource: SPOT_ROLE,
      context: { 'iam:AWSServiceName': 'ecs.amazonaws.com' },
    },
  ],

  [
    'the account’s parameters',
    { action: 'ssm:GetParameter', resource: `arn:aws:ssm:us-west-2:${ACCOUNT}:parameter/x` },
  ],
  ['a command of its own', { action: 'ssm:SendCommand', resource: own('instance/i-1') }],

  ['other settings', object('PutObject', 'secrets/.env')],
  ['other keys of agents', object('PutObject', 'secrets/agent-keys/current.pem')],
  ['a backup', object('GetObject', 'backups/main/20260301T000000Z.dump')],
  ['the end of a backup', object('DeleteObject', 'backups/main/20260301T000000Z.dump')],
  ['a backup of another stack', object('PutObject', 'backups/other/20260301T000000Z.dump')],
  ['another bundle', object('PutObject', 'bundles/0.tar.gz')],
  ['Terraform’s state', object('GetObject', 'scheduler-api/terraform.tfstate')],
  ['the end of the API’s own log', object('DeleteObject', 'logs/main/boot/i-1.log')],
  ['the bucket’s list', { action: 's3:ListBucket', resource: BUCKET, context: { 's3:prefix': 'secrets/' } }],
  ['the bucket’s key for what is elsewhere', { action: 'kms:Decrypt', resource: BUCKET_KEY, context: {} }],
  ['the bucket’s key by way of EC2', { action: 'kms:Decrypt', resource: BUCKET_KEY, context: viaEc2 }],
  ['the disks’ key for what is elsewhere', { action: 'kms:Decrypt', resource: DISK_KEY, context: {} }],
  ['the disks’ key lent by hand', { action: 'kms:CreateGrant', resource: DISK_KEY, context: viaEc2 }],
  [
    'the disks’ key lent to another service',
    {
      action: 'kms:CreateGrant',
      resource: DISK_KEY,
      context: { 'kms:GrantIsForAWSResource': 'true', 'kms:ViaService': 'rds.us-west-2.amazonaws.com' },
    },
  ],
];

describe('the calls of the API to AWS', () => {
  const calls = callsOfTheCode();

  it('are found in the code', () => {
    const sdk = `import { EC2Client } from '@aws-sdk/client-ec2';\nnew RunInstancesCommand({}); paginateDescribeVpcs({})`;
    expect(sdkCallsIn(sdk)).toEqual(['ec2:RunInstances', 'ec2:paginateDescribeVpcs']);
    expect(() => sdkCallsIn(`${sdk}\nawait import('@aws-sdk/client-s3')`)).toThrow();
    const cli = `  retry aws s3 cp --only-show-errors "$A_URI" file\n# aws ec2 run-instances\n  x=$(aws ec2 describe-vpcs)
      echo | aws s3 cp - "\${B_URI}$x.log" || true; retry docker pull -q x; command -v aws >/dev/null`;
    expect(cliCallsIn(cli)).toEqual([
      'aws s3 cp from A_URI',
      'aws ec2 describe-vpcs',
      'aws s3 cp to B_URI',
      'docker pull',
    ]);
    expect(calls).toEqual(expect.arrayContaining(['ec2:RunInstances', 'ecr:GetAuthorizationToken', 's3:PutObject']));
    expect(calls).toEqual(expect.arrayContaining(['aws ec2 attach-volume', 'aws s3 cp to LOG_URI', 'docker pull']));
  });

  it('have a row each, and each row is of one', () => {
    expect(differences(calls)).toEqual({ withoutRow: [], withoutCall: [] });
    expect(differences([...calls, 'ec2:StartInstances'])).toMatchObject({ withoutRow: ['ec2:StartInstances'] });
    const fewer = calls.filter((call) => call !== 'ec2:TerminateInstances');
    expect(differences(fewer)).toMatchObject({ withoutCall: ['ec2:TerminateInstances'] });
  });

  it('touch what AWS’s reference says that they touch', async () => {
    const accesses = [...ROWS.flatMap(({ touches }) => touches), ...FORBIDDEN.map(([, access]) => access)];
    expect((await Promise.all(accesses.map(faultsOfAccess))).flat()).toEqual([]);
    expect((await Promise.all(ROWS.map(missingTypes))).flat()).toEqual([]);

    const [launching] = ROWS.filter(({ call }) => call === 'ec2:RunInstances');
    const touches = launching?.touches.filter(({ resource }) => !resource.includes(':subnet/')) ?? [];
    expect(await missingTypes(row('launches nowhere', 'ec2:RunInstances', ...touches))).toEqual([
      'launches nowhere: ec2:RunInstances touches a subnet',
    ]);
    const invented = { action: 'ec2:StopInstances', resource: VOLUME, context: { 'ec2:Owner': 'amazon' } };
    expect(await faultsOfAccess(invented)).toEqual([
      `ec2:StopInstances takes no resource like ${VOLUME}`,
      `ec2:StopInstances on ${VOLUME} has no key ec2:Owner`,
    ]);
  });

  function differences(some: readonly string[]): { withoutRow: string[]; withoutCall: string[] } {
    const named = new Set(ROWS.map(({ call }) => call));
    return {
      withoutRow: [...new Set(some)].filter((call) => !named.has(call)),
      withoutCall: [...named].filter((call) => !some.includes(call)),
    };
  }

  /** A row tells of every type of resource that each of its actions touches always. */
  async function missingTypes({ what, touches }: Row): Promise<string[]> {
    const missing: string[] = [];
    for (const action of new Set(touches.map((access) => access.action))) {
      const resources = touches.filter((access) => access.action === action).map(({ resource }) => resource);
      const types = (await Promise.all(resources.map(async (one) => await typesOf(action, one)))).flat();
      const required = await requiredTypesOf(action);
      missing.push(...required.filter((t) => !types.includes(t)).map((t) => `${what}: ${action} touches a ${t}`));
    }
    return missing;
  }
});

describeWhen(hasTerraform(), 'no terraform on the PATH', 'the policy of the API’s role', () => {
  let policy: Policy;

  beforeAll(() => {
    policy = evaluate(EVERYTHING);
  });

  it('says nothing that AWS’s reference does not know', async () => {
    expect(await faultsOf(policy)).toEqual([]);
  });

  it.each<[string, string, Partial<Statement>]>([
    ['there is no action ec2:LaunchInstances', 'See', { Action: 'ec2:LaunchInstances' }],
    ['ec2:DescribeImages takes no resource like', 'See', { Action: 'ec2:DescribeImages', Resource: own('image/*') }],
    ['ec2:TerminateInstances takes no resource like', 'EndOwnInstances', { Resource: own('volume/*') }],
    ['s3:DeleteObject takes no resource like', 'DropOldLogsOfJobs', { Resource: BUCKET }],
    ['ec2:RunInstances needs a resource of the type image', 'LaunchImages', { Resource: own('subnet/*') }],
    [
      'ec2:TerminateInstances on .* has no key aws:RequestTag/a',
      'EndOwnInstances',
      { Condition: { StringEquals: { 'aws:RequestTag/a': 'b' } } },
    ],
    [
      'ec2:RunInstances on .* has no key ec2:Owner',
      'LaunchTagged',
      { Condition: { StringEquals: { 'ec2:Owner': 'amazon' } } },
    ],
    [
      'StringEquals does not fit aws:TagKeys',
      'AskThePredecessor',
      { Condition: { StringEquals: { 'aws:TagKeys': ['Name'] } } },
    ],
    [
      'ForAllValues:StringEquals does not fit kms:ViaService',
      'OpenDisks',
      { Condition: { 'ForAllValues:StringEquals': { 'kms:ViaService': 'ec2' } } },
    ],
    [
      'StringEquals does not fit kms:GrantIsForAWSResource',
      'LendTheDisksKeyToEc2',
      { Condition: { StringEquals: { 'kms:GrantIsForAWSResource': 'true' } } },
    ],
  ])('would be named for it: %s', async (fault, sid, change) => {
    const Statement = policy.Statement.map((one) => (one.Sid === sid ? { ...one, ...change } : one));
    expect((await faultsOf({ Statement })).join('\n')).toMatch(new RegExp(fault));
  });

  it.each(ROWS.map((one) => [one.what, one] as const))('allows the API what it does: it %s', (_what, one) => {
    expect(denied(policy, [one])).toEqual([]);
  });

  it.each(FORBIDDEN)('allows nothing else: %s', (_what, access) => {
    expect(isAllowed(policy, access)).toBe(false);
  });

  it('has no permission without a call', () => {
    expect(unused(policy)).toEqual([]);

    const [see, ...others] = policy.Statement;
    if (!see) throw new Error('the policy is empty');
    const more = { ...see, Action: [see.Action, 'ec2:StartInstances'].flat() };
    expect(unused({ Statement: [more, ...others] })).toEqual(['See: ec2:StartInstances on *']);
  });

  it('denies a call when one of its permissions is taken away', () => {
    for (const { Sid, Effect } of policy.Statement) {
      if (Effect === 'Deny') continue;
      const without = { Statement: policy.Statement.filter((statement) => statement.Sid !== Sid) };
      expect([Sid, denied(without, ROWS)]).toEqual([Sid, expect.arrayContaining([expect.any(String)])]);
    }
  });

  it('has no limit that keeps nothing out', () => {
    const allowed = [...withoutLimits(policy)]
      .filter(({ policy: wider }) => FORBIDDEN.every(([, access]) => !isAllowed(wider, access)))
      .map(({ what }) => what);
    expect(allowed).toEqual([]);
  });

  it('names a statement once', () => {
    const sids = policy.Statement.map(({ Sid }) => Sid);
    expect(new Set(sids).size).toBe(sids.length);
    expect(sids.join('')).toMatch(/^[A-Za-z0-9]+$/);
  });

  it('leaves out what an installation does not have', async () => {
    const least = {
      ...EVERYTHING,
      ...{ data_volume_arn: null, address_arn: null, private_record: null, kms_key_arn: null, ebs_kms_key_arn: null },
      ...{ job_role_arns: [], ecr_repository_arns: [], ssm: false },
    };
    const smallest = evaluate(least);
    expect(JSON.stringify(smallest)).not.toMatch(
      /PassRole|Volume|Snapshot|backups|StopInstances|Address|route53|kms:|ssm|ec2messages|ecr:(?!GetAuthorizationToken)/,
    );
    expect(await faultsOf(smallest)).toEqual([]);
    expect(policy.Statement).toEqual(expect.arrayContaining([...smallest.Statement]));
  });

  it('lets no snapshot of the data be read where the account’s own images may be launched', () => {
    const own = evaluate({ ...EVERYTHING, job_ami_owners: ['amazon', ACCOUNT] });
    const disk = (volume: string) =>
      isAllowed(own, onSnapshot('RunInstances', { 'ec2:Owner': ACCOUNT, 'ec2:ParentVolume': volume }));
    expect([disk('vol-of-the-image'), disk(VOLUME)]).toEqual([true, false]);
  });

  it('knows a name as Route 53 writes it', () => {
    const names = { name: 'api.Main.Internal.', jobs_name: '*.jobs.Main.Internal.' };
    const written = evaluate({ ...EVERYTHING, private_record: { zone_id: 'Z1', ...names } });
    expect(denied(written, ROWS)).toEqual([]);
  });

  it('fits into a role, for a large installation, too', () => {
    const many = (count: number, text: string): string[] => Array.from({ length: count }, (_, at) => `${text}${at}`);
    const large = {
      ...EVERYTHING,
      name: 'n'.repeat(24),
      bucket: 'b'.repeat(63),
      job_subnet_ids: many(6, 'subnet-0aaaaaaaaaaaaaaa'),
      job_security_group_ids: many(5, 'sg-0aaaaaaaaaaaaaaa'),
      job_role_arns: many(10, `${JOB_ROLE}-of-one-of-the-jobs`),
      ecr_repository_arns: many(12, `${REPOSITORY}/of/a-team`),
    };
    expect(evaluateModule('policy', large).length).toBeLessThan(ROLE_LIMIT);
  });

  it('knows the names of services in China', () => {
    const inChina = JSON.stringify({ ...EVERYTHING, region: 'cn-north-1', bucket_region: 'cn-northwest-1' })
      .replaceAll('arn:aws:', 'arn:aws-cn:')
      .replace('"partition":"aws"', '"partition":"aws-cn"');
    const text = JSON.stringify(evaluate(JSON.parse(inChina) as object));
    expect(text).not.toContain('arn:aws:');
    // Their names end as in the other regions where the service is one that a role of its own is made for.
    const services = [...text.matchAll(/"((?:ec2|s3)\.[^"]*|[^"]*amazonaws[^"]*)"/g)].map(([, name = '']) => name);
    expect(new Set(services)).toEqual(
      new Set([
        'ec2.amazonaws.com.cn',
        'ec2.cn-north-1.amazonaws.com.cn',
        's3.cn-northwest-1.amazonaws.com.cn',
        'spot.amazonaws.com',
        SPOT_ROLE.replace('arn:aws:', 'arn:aws-cn:'),
      ]),
    );
  });

  /** What the policy would let the role do, though nothing in the code does it. */
  function unused(some: Policy): string[] {
    const needless = [...withoutPermissions(some)].filter(({ policy: fewer }) => denied(fewer, ROWS).length === 0);
    return needless.map(({ what }) => what);
  }

  function denied(some: Policy, rows: readonly Row[]): string[] {
    return rows.flatMap(({ what, touches }) =>
      touches
        .filter((access) => !isAllowed(some, access))
        .map(({ action, resource }) => `it ${what}: ${action} on ${resource}`),
    );
  }

  function evaluate(input: object): Policy {
    return JSON.parse(evaluateModule('policy', input)) as Policy;
  }
});

function callsOfTheCode(): string[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => /(?<!\.spec)\.ts$/.test(file));
  const sdk = files.flatMap((file) => sdkCallsIn(readFileSync(join(SRC, file), 'utf8')));
  const scripts = [join(TERRAFORM, 'user-data', 'user-data.sh'), join(SRC, '..', 'deploy', 'backup-to-s3.sh')];
  return [...sdk, ...scripts.flatMap((script) => cliCallsIn(readFileSync(script, 'utf8')))];
}

function row(what: string, call: string, ...touches: Access[]): Row {
  return { what, call, touches };
}

function own(resource: string): string {
  return `arn:aws:ec2:us-west-2:${ACCOUNT}:${resource}`;
}

function see(action: string): Access {
  return { action: `ec2:${action}`, resource: '*' };
}

/** Everything that the very input of our launches touches: what it uses, what it makes, and the tags of that. */
function launch(market: 'spot' | 'on-demand', amiOwner: string): Access[] {
  const input = launchInput({
    spec: { profile: 'main-job', diskGiB: 30, publicIp: true },
    securityGroupIds: ['sg-0aaaaaaaaaaaaaaaa'],
    offer: { type: 't3.micro', subnetId: 'subnet-0aaaaaaaaaaaaaaaa', market },
    count: 1,
    ami: { id: 'ami-0debdebdebdebdebd', rootDevice: '/dev/xvda', architecture: null },
    userDataBase64: '',
    launchId: '0',
    cluster: 'main',
    tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
  });
  const uses = input.NetworkInterfaces.flatMap(({ SubnetId, Groups = [] }) => [
    `subnet/${SubnetId}`,
    ...Groups.map((id) => `security-group/${id}`),
  ]);
  const makes = input.TagSpecifications.flatMap(({ ResourceType, Tags }) => {
    const tags: Context = {
      ...Object.fromEntries(Tags.map(({ Key, Value }) => [`aws:RequestTag/${Key}`, Value])),
      'aws:TagKeys': Tags.map(({ Key }) => Key),
    };
    const ofInstance = ResourceType === 'instance' && { 'ec2:MetadataHttpTokens': input.MetadataOptions.HttpTokens };
    return [
      run(`${ResourceType}/*`, { ...tags, ...ofInstance }),
      {
        action: 'ec2:CreateTags',
        resource: own(`${ResourceType}/*`),
        context: { ...tags, 'ec2:CreateAction': 'RunInstances' },
      },
    ];
  });
  return [
    image(amiOwner),
    // The image's disk begins as one.
    { action: 'ec2:RunInstances', resource: 'arn:aws:ec2:us-west-2::snapshot/snap-1' },
    ...uses.map((resource) => run(resource, {})),
    ...makes,
    ...(input.IamInstanceProfile ? [passRole(JOB_ROLE, 'ec2.amazonaws.com')] : []),
  ];
}

function run(resource: string, context: Context): Access {
  return { action: 'ec2:RunInstances', resource: own(resource), context };
}

function image(owner: string): Access {
  const resource = 'arn:aws:ec2:us-west-2::image/ami-0debdebdebdebdebd';
  return { action: 'ec2:RunInstances', resource, context: { 'ec2:Owner': owner } };
}

function onInstance(action: string, context: Context): Access {
  return { action: `ec2:${action}`, resource: own('instance/i-1'), context };
}

function onSnapshot(action: string, context: Context): Access {
  return { action: `ec2:${action}`, resource: 'arn:aws:ec2:us-west-2::snapshot/snap-1', context };
}

function passRole(resource: string, service: string): Access {
  return { action: 'iam:PassRole', resource, context: { 'iam:PassedToService': service } };
}

function object(action: string, key: string): Access {
  return { action: `s3:${action}`, resource: `${BUCKET}/${key}` };
}

function inBucket(action: string): Access {
  return { action: `kms:${action}`, resource: BUCKET_KEY, context: viaS3 };
}

/** EC2 asks for itself, in the caller's name; what it keeps for as long as a disk is attached is a grant. */
function disk(...actions: string[]): Access[] {
  return actions.map((action) => ({
    action: `kms:${action}`,
    resource: DISK_KEY,
    context: action === 'CreateGrant' ? { ...viaEc2, 'kms:GrantIsForAWSResource': 'true' } : viaEc2,
  }));
}

function changeRecord(changes: Readonly<Record<string, readonly string[]>>): Access {
  const changed = Object.entries(changes).map(([key, values]) => [`route53:ChangeResourceRecordSets${key}`, values]);
  const context = { ...record, ...Object.fromEntries(changed) } as Context;
  return { action: 'route53:ChangeResourceRecordSets', resource: ZONE, context };
}
