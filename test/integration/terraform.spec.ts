import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CLUSTER_TAG, LAUNCH_TAG } from '../../src/aws/ec2-types.js';
import { launchInput } from '../../src/fleet/launch-input.js';
import { writeShims } from '../support/shims.js';
import { describeWhen } from '../support/when.js';

const ROOT = join(import.meta.dirname, '..', '..');
const TERRAFORM = join(ROOT, 'terraform');
const DEPLOY = join(ROOT, 'deploy', 'terraform');
const ACCOUNT = '123456789012';
const USER_DATA_LIMIT_BYTES = 16_384;

const hasTerraform = spawnSync('terraform', ['version'], { env: terraformEnv() }).status === 0;
/** A folder as for -plugin-dir, with the AWS provider: then `terraform test` runs too. */
const plugins = process.env['TERRAFORM_PLUGINS'] ?? '';
const work = mkdtempSync(join(tmpdir(), 'terraform-'));

afterAll(() => rmSync(work, { recursive: true, force: true }));

// Read in `terraform fmt`'s canonical form, which a test below holds: a block ends at the first brace in column one.
describe('terraform/ as it is written', () => {
  const source = readdirSync(TERRAFORM)
    .filter((file) => file.endsWith('.tf'))
    .map((file) => readFileSync(join(TERRAFORM, file), 'utf8'))
    .join('\n');
  const blocks = new Map([...source.matchAll(/^(\w+)((?: "[^"]+")*) \{\n([\s\S]*?)^\}/gm)].flatMap(toBlocks));

  it('asks for Terraform 1.10, provider 6 and a locking S3 backend', () => {
    const terraform = blocks.get('terraform') ?? '';
    expect(terraform).toMatch(/required_version = ">= 1\.10"/);
    expect(terraform).toMatch(/source {2}= "hashicorp\/aws"\n\s+version = "~> 6\.0"/);
    expect(terraform).toMatch(/backend "s3" \{[^}]*use_lockfile = true/);
    expect(blocks.get('variable.region')).toMatch(/default {5}= "us-west-2"/);
    expect(blocks.get('variable.allowed_cidrs')).not.toMatch(/^ {2}default/m);
  });

  it('replaces the instance without tearing the volume off the old one first', () => {
    const instance = blocks.get('aws_instance.api') ?? '';
    expect(instance).toMatch(/create_before_destroy = true/);
    expect(instance).toMatch(/user_data_replace_on_change = true/);
    expect(instance).toMatch(/http_tokens {3}= "required"/);
    expect(instance).toMatch(/instance_metadata_tags = "enabled"/);
    // Terraform destroys an attachment before it creates the new instance, whatever create_before_destroy says.
    expect([...blocks.keys()].filter((name) => name.startsWith('aws_volume_attachment.'))).toEqual([]);
    expect(blocks.get('aws_ebs_volume.data')).toMatch(/prevent_destroy = true/);
    // The old instance goes when what depends on the new one is done: that is the wait.
    expect(blocks.get('terraform_data.serving')).toMatch(/triggers_replace = aws_instance\.api\.id/);
    expect(blocks.get('aws_route53_record.api')).toMatch(/depends_on = \[terraform_data\.serving\]/);
    expect(blocks.get('aws_lb_target_group_attachment.api')).toMatch(/create_before_destroy = true/);
  });

  it('never puts the cluster tag on what it makes: the sweep would take it for an instance of a job', () => {
    expect(source.replaceAll(/#.*/g, '')).not.toContain(CLUSTER_TAG);
  });

  it('is applied whole by the deploy container’s targets', () => {
    const targets = listTargets();
    const reached = new Set<string>();
    const visit = (name: string): void => {
      if (reached.has(name) || !blocks.has(name)) return;
      reached.add(name);
      for (const [reference] of (blocks.get(name) ?? '').matchAll(/\b(?:data\.)?\w+\.\w+/g)) visit(reference);
    };
    for (const target of targets) {
      expect(blocks.has(target)).toBe(true);
      visit(target);
    }
    const made = [...blocks.keys()].filter((name) => /^(aws_|terraform_data\.)/.test(name));
    expect(made.length).toBeGreaterThan(20);
    expect(made.filter((name) => !reached.has(name))).toEqual([]);
  });

  function toBlocks([, type = '', labels = '', body = '']: RegExpMatchArray): [string, string][] {
    if (type === 'locals') {
      const values = body.matchAll(/^ {2}(\w+) += ([\s\S]*?)(?=^ {2}\w+ += |$(?![\s\S]))/gm);
      return [...values].map(([, name = '', value = '']) => [`local.${name}`, value]);
    }
    const names = [...labels.matchAll(/"([^"]+)"/g)].map(([, name]) => name);
    return [[[...(type === 'resource' ? [] : [type]), ...names].join('.'), body]];
  }
});

describeWhen(hasTerraform, 'no terraform on the PATH', 'terraform', () => {
  it('finds its files in canonical form', () => {
    expect(terraform(TERRAFORM, 'fmt', '-check', '-recursive', '-list=true')).toMatchObject({ status: 0, stdout: '' });
  });

  describe('policy', () => {
    let policy: Policy;

    beforeAll(() => {
      policy = JSON.parse(evaluate('policy', POLICY_INPUT)) as Policy;
    });

    it('allows every call of src/aws, and no more than those and the hand-over', () => {
      const calls = [...readFileSync(join(ROOT, 'src/aws/ec2.ts'), 'utf8').matchAll(/new (\w+)Command\(/g)];
      const ofTheApi = calls.map(([, action]) => `ec2:${action}`);
      expect(ofTheApi).toContain('ec2:RunInstances');
      const allowed = policy.Statement.filter(({ Effect }) => Effect === 'Allow').flatMap(({ Action }) => Action);
      expect(allowed).toEqual(expect.arrayContaining(ofTheApi));
      const others = allowed.filter((action) => !ofTheApi.includes(action));
      expect(new Set(others)).toEqual(
        new Set([
          'iam:PassRole',
          's3:GetObject',
          's3:PutObject',
          's3:DeleteObject',
          's3:ListBucket',
          'ecr:GetAuthorizationToken',
          'ec2:DescribeVolumes',
          'ec2:AttachVolume',
          'ec2:DetachVolume',
          'ec2:StopInstances',
          'route53:ChangeResourceRecordSets',
        ]),
      );
    });

    const launch = launchInput({
      spec: { profile: 'main-job', diskGiB: 30, publicIp: true },
      securityGroupIds: ['sg-0aaaaaaaaaaaaaaaa'],
      offer: { type: 't3.micro', subnetId: 'subnet-0aaaaaaaaaaaaaaaa', market: 'spot' },
      count: 1,
      imageId: 'ami-0debdebdebdebdebd',
      userDataBase64: '',
      launchId: '0',
      cluster: 'main',
      tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
    });

    it('allows our launches: what they use, and everything they make, by the tags they carry', () => {
      for (const resource of ['subnet/subnet-0aaaaaaaaaaaaaaaa', 'security-group/sg-0aaaaaaaaaaaaaaaa']) {
        expect(decide('ec2:RunInstances', own(resource))).toBe(true);
      }
      expect(decide('ec2:RunInstances', 'arn:aws:ec2:us-west-2::image/ami-0debdebdebdebdebd')).toBe(true);
      expect(launch.TagSpecifications.map(({ ResourceType }) => ResourceType)).toHaveLength(4);
      for (const { ResourceType, Tags } of launch.TagSpecifications) {
        const context: Context = {
          'ec2:MetadataHttpTokens': launch.MetadataOptions.HttpTokens,
          ...Object.fromEntries(Tags.map(({ Key, Value }) => [`aws:RequestTag/${Key}`, Value])),
        };
        expect(decide('ec2:RunInstances', own(`${ResourceType}/*`), context)).toBe(true);
        expect(
          decide('ec2:CreateTags', own(`${ResourceType}/*`), { ...context, 'ec2:CreateAction': 'RunInstances' }),
        ).toBe(true);
      }
    });

    const ours: Context = { [`aws:ResourceTag/${CLUSTER_TAG}`]: 'main' };
    const theirs: Context = { [`aws:ResourceTag/${CLUSTER_TAG}`]: 'other' };
    const stack: Context = { 'aws:ResourceTag/scheduler-api:stack': 'main' };
    const tagged: Context = { [`aws:RequestTag/${CLUSTER_TAG}`]: 'main', 'ec2:MetadataHttpTokens': 'required' };
    const jobTags = { 'aws:TagKeys': ['Name', 'scheduler-api:job', 'scheduler-api:deployment'] };

    it.each<[string, boolean, string, string, Context]>([
      [
        'a launch without our tag',
        false,
        'ec2:RunInstances',
        own('instance/*'),
        { 'ec2:MetadataHttpTokens': 'required' },
      ],
      [
        'a launch for another cluster',
        false,
        'ec2:RunInstances',
        own('instance/*'),
        { ...tagged, [`aws:RequestTag/${CLUSTER_TAG}`]: 'other' },
      ],
      [
        'a launch with IMDSv1',
        false,
        'ec2:RunInstances',
        own('instance/*'),
        { ...tagged, 'ec2:MetadataHttpTokens': 'optional' },
      ],
      ['a launch into a foreign subnet', false, 'ec2:RunInstances', own('subnet/subnet-0fffffffffffffff'), tagged],
      ['a launch with a foreign group', false, 'ec2:RunInstances', own('security-group/sg-0ffffffffffffffff'), tagged],
      ['job tags on our instance', true, 'ec2:CreateTags', own('instance/i-1'), { ...ours, ...jobTags }],
      ['job tags on a foreign instance', false, 'ec2:CreateTags', own('instance/i-1'), { ...theirs, ...jobTags }],
      ['job tags on the API’s instance', false, 'ec2:CreateTags', own('instance/i-1'), { ...stack, ...jobTags }],
      [
        'our cluster tag on a foreign instance',
        false,
        'ec2:CreateTags',
        own('instance/i-1'),
        { 'aws:TagKeys': [CLUSTER_TAG], [`aws:RequestTag/${CLUSTER_TAG}`]: 'main' },
      ],
      [
        'another cluster tag on our instance',
        false,
        'ec2:CreateTags',
        own('instance/i-1'),
        { ...ours, 'aws:TagKeys': [CLUSTER_TAG] },
      ],
      ['the end of our instance', true, 'ec2:TerminateInstances', own('instance/i-1'), ours],
      ['the end of a foreign instance', false, 'ec2:TerminateInstances', own('instance/i-1'), theirs],
      ['the end of the API’s instance', false, 'ec2:TerminateInstances', own('instance/i-1'), stack],
      ['a stop of the predecessor', true, 'ec2:StopInstances', own('instance/i-1'), stack],
      ['a stop of a job’s instance', false, 'ec2:StopInstances', own('instance/i-1'), ours],
      [
        'asking the predecessor',
        true,
        'ec2:CreateTags',
        own('instance/i-1'),
        { ...stack, 'aws:TagKeys': ['scheduler-api:release'] },
      ],
      ['moving the data volume', true, 'ec2:AttachVolume', own('volume/vol-0123456789abcdef0'), stack],
      ['moving another volume', false, 'ec2:AttachVolume', own('volume/vol-0fffffffffffffff'), stack],
      [
        'passing the job role to EC2',
        true,
        'iam:PassRole',
        `arn:aws:iam::${ACCOUNT}:role/main-job`,
        { 'iam:PassedToService': 'ec2.amazonaws.com' },
      ],
      [
        'passing the job role elsewhere',
        false,
        'iam:PassRole',
        `arn:aws:iam::${ACCOUNT}:role/main-job`,
        { 'iam:PassedToService': 'lambda.amazonaws.com' },
      ],
      [
        'passing an admin role',
        false,
        'iam:PassRole',
        `arn:aws:iam::${ACCOUNT}:role/admin`,
        { 'iam:PassedToService': 'ec2.amazonaws.com' },
      ],
      ['reading the secrets', true, 's3:GetObject', 'arn:aws:s3:::bucket/secrets/.env', {}],
      ['writing the secrets', false, 's3:PutObject', 'arn:aws:s3:::bucket/secrets/.env', {}],
      ['reading the state', false, 's3:GetObject', 'arn:aws:s3:::bucket/scheduler-api/terraform.tfstate', {}],
      ['writing logs', true, 's3:PutObject', 'arn:aws:s3:::bucket/logs/main/boot/i-1.log', {}],
      ['dropping what a job printed', true, 's3:DeleteObject', 'arn:aws:s3:::bucket/logs/main/jobs/1/2.log.gz', {}],
      ['dropping what the API printed', false, 's3:DeleteObject', 'arn:aws:s3:::bucket/logs/main/boot/i-1.log', {}],
      ['listing logs', true, 's3:ListBucket', 'arn:aws:s3:::bucket', { 's3:prefix': 'logs/main/jobs/1/' }],
      ['listing the bucket', false, 's3:ListBucket', 'arn:aws:s3:::bucket', { 's3:prefix': 'secrets/' }],
      ['an ECR token', true, 'ecr:GetAuthorizationToken', '*', {}],
      ['rewriting user data', false, 'ec2:ModifyInstanceAttribute', own('instance/i-1'), ours],
      ['another profile for a running instance', false, 'ec2:AssociateIamInstanceProfile', own('instance/i-1'), ours],
    ])('%s: %s', (_what, isAllowed, action, resource, context) => {
      expect(decide(action, resource, context)).toBe(isAllowed);
    });

    it('leaves out what an installation does not have', () => {
      const input = { ...POLICY_INPUT, data_volume_arn: null, private_record: null, job_role_arns: [] };
      const text = evaluate('policy', input);
      expect(text).not.toMatch(/PassRole|AttachVolume|StopInstances|route53/);
      expect(evaluate('policy', { ...input, ecr_repository_arns: ['arn:aws:ecr:us-west-2:1:repository/a'] })).toMatch(
        /ecr:BatchGetImage/,
      );
    });

    function decide(action: string, resource: string, context: Context = {}): boolean {
      const applies = policy.Statement.filter((statement) => matches(statement, action, resource, context));
      return applies.length > 0 && applies.every(({ Effect }) => Effect === 'Allow');
    }
  });

  describe('user data', () => {
    it('is small enough, syntactically right, and carries settings through the shell unchanged', () => {
      const awkward = `it's "$HOME" \`id\` \\ %s`;
      const text = evaluate('user-data', { ...USER_DATA_INPUT, bundle_key: `bundles/${awkward}` });
      expect(Buffer.byteLength(text)).toBeLessThan(USER_DATA_LIMIT_BYTES);
      expect(text.startsWith('#!/bin/bash\n')).toBe(true);
      const script = join(work, 'user-data');
      writeFileSync(script, text);
      expect(spawnSync('bash', ['-n', script], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
      const head = text.slice(0, text.indexOf('# shellcheck'));
      const shown = execFileSync(
        'bash',
        ['-c', `${head}\nprintf '%s\\n' "$BUNDLE_URI" "$SETTINGS" "$DATA_VOLUME_ID"`],
        {
          encoding: 'utf8',
        },
      );
      expect(shown).toBe(
        `s3://bucket/bundles/${awkward}\nCLUSTER=main\nPUBLIC_URL=http://api.main.internal\nvol-0123456789abcdef0\n`,
      );
    });

    it('knows services and volume of docker-compose.yml by their names', () => {
      const compose = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
      for (const service of ['scheduler', 'nginx', 'postgres'])
        expect(compose).toMatch(new RegExp(`^ {2}${service}:$`, 'm'));
      expect(compose).toMatch(/^ {2}postgres-data:$/m);
      expect(compose).toContain('APP_IMAGE');
    });
  });
});

describeWhen(
  hasTerraform && plugins !== '',
  hasTerraform ? 'TERRAFORM_PLUGINS names no folder with the AWS provider' : 'no terraform on the PATH',
  'terraform test',
  () => {
    it('passes with a mocked provider', () => {
      const copy = join(work, 'test');
      cpSync(TERRAFORM, copy, { recursive: true });
      const [version = ''] = readdirSync(join(plugins, 'registry.terraform.io/hashicorp/aws')).sort().reverse();
      if (!version.startsWith('6.')) {
        process.stdout.write(`terraform test runs with provider ${version}: there is no newer one in ${plugins}\n`);
        const file = join(copy, 'versions.tf');
        writeFileSync(file, readFileSync(file, 'utf8').replace('"~> 6.0"', `"${version}"`));
      }
      const init = terraform(copy, 'init', '-backend=false', `-plugin-dir=${plugins}`, '-no-color');
      expect(init).toMatchObject({ status: 0 });
      const { status, stdout, stderr } = terraform(copy, 'test', '-no-color');
      expect(`${stdout}${stderr}`).toMatch(/Success! \d+ passed, 0 failed/);
      expect(status).toBe(0);
    }, 120_000);
  },
);

describe('the deploy container’s entrypoint', () => {
  const repository = join(work, 'repository');
  const tools = join(work, 'tools');
  const calls = join(work, 'calls');
  const secrets = join(work, 'secrets.env');
  const SECRETS =
    'POSTGRES_USER=scheduler\nPOSTGRES_PASSWORD="a=b"\nADMIN_TOKEN=0123456789abcdef\nENCRYPTION_KEY=key=\n';

  beforeAll(() => {
    mkdirSync(join(repository, 'terraform'), { recursive: true });
    writeFileSync(join(repository, 'terraform', 'main.tf'), '# nothing\n');
    for (const args of [
      ['init', '-q'],
      ['add', '.'],
      ['-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'one'],
    ]) {
      execFileSync('git', args, { cwd: repository });
    }
    writeShims(tools, {
      aws: `echo "aws $*" >>"${calls}"
        case $* in
          *get-caller-identity*) [ -n "$AWS_ACCESS_KEY_ID" ] || { echo 'Unable to locate credentials'; exit 255; } >&2; echo arn:aws:iam::1:user/me ;;
          *' - '* | *' -') cat "${secrets}" ;;
          *tar.gz) set -- "\${@: -2}"; tar -tzf "$1" >>"${calls}" ;;
        esac`,
      terraform: `echo "terraform $*" >>"${calls}"
        echo "  bundle $TF_VAR_bundle_key bucket $TF_VAR_bucket rds $TF_VAR_rds_password image $TF_VAR_app_image" >>"${calls}"
        case $* in *instance_id) echo i-0123 ;; *public_ip) echo 203.0.113.9 ;; *url) echo http://203.0.113.9 ;; esac`,
    });
  });

  it('uploads the commit, then init, plan and apply with the targets, and says id and address', () => {
    const { status, stdout } = deploy({});
    expect(status).toBe(0);
    expect(stdout).toMatch(/instance id {2}i-0123\npublic ip {4}203\.0\.113\.9\nurl {10}http:\/\/203\.0\.113\.9\n$/);
    const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim();
    const lines = readFileSync(calls, 'utf8').split('\n');
    const order = lines.filter((line) => /^(aws|terraform) /.test(line));
    expect(order.map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual([
      'aws sts get-caller-identity',
      'aws s3 cp',
      'aws s3 cp',
      'terraform init -input=false',
      'terraform plan -input=false',
      'terraform apply -input=false',
      'terraform output -raw',
      'terraform output -raw',
      'terraform output -raw',
    ]);
    expect(order[2]).toMatch(new RegExp(`s3://state-bucket/bundles/${commit}\\.tar\\.gz$`));
    expect(lines).toContain('terraform/main.tf');
    expect(order[3]).toContain(
      '-backend-config=bucket=state-bucket -backend-config=key=scheduler-api/terraform.tfstate -backend-config=region=us-west-2',
    );
    expect([...(order[4] ?? '').matchAll(/-target=(\S+)/g)].map(([, target]) => target)).toEqual(listTargets());
    expect(order[5]).toMatch(/ deploy\.tfplan$/);
    expect(lines).toContain(`  bundle bundles/${commit}.tar.gz bucket state-bucket rds a=b image `);
  });

  it('takes an image, other targets, and can only plan', () => {
    const { status } = deploy({
      APP_IMAGE: 'registry.example.com/api:1',
      DEPLOY_TARGETS: 'all',
      DEPLOY_PLAN_ONLY: '1',
    });
    expect(status).toBe(0);
    const said = readFileSync(calls, 'utf8');
    expect(said).toContain('image registry.example.com/api:1');
    expect(said).not.toMatch(/-target|terraform apply|tar\.gz$/m);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'credentials',
      { AWS_ACCESS_KEY_ID: '' },
      /AWS does not know us: Unable to locate credentials\nSet AWS_ACCESS_KEY_ID/,
    ],
    ['a bucket', { TF_STATE_BUCKET: '' }, /TF_STATE_BUCKET is not set/],
    ['networks', { TF_VAR_allowed_cidrs: '' }, /allowed_cidrs is not set/],
    ['a repository', { REPOSITORY: work }, /there is no terraform\/ in/],
  ])('without %s it fails in words and calls no Terraform', (_what, env, message) => {
    const { status, stderr } = deploy(env);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(existsSync(calls) ? readFileSync(calls, 'utf8') : '').not.toMatch(/^terraform/m);
  });

  it('without settings the instance will need it fails and names them', () => {
    const { status, stderr } = deploy({}, 'POSTGRES_USER=scheduler\nADMIN_TOKEN=x\n');
    expect(status).toBe(1);
    expect(stderr).toBe(
      'scheduler-deploy: s3://state-bucket/secrets/.env does not set POSTGRES_PASSWORD ENCRYPTION_KEY\n',
    );
  });

  function deploy(env: Record<string, string>, file = SECRETS): SpawnSyncReturns<string> {
    rmSync(calls, { force: true });
    writeFileSync(secrets, file);
    return spawnSync('sh', [join(DEPLOY, 'entrypoint.sh')], {
      encoding: 'utf8',
      env: {
        PATH: `${tools}:${process.env['PATH']}`,
        REPOSITORY: repository,
        TF_STATE_BUCKET: 'state-bucket',
        TF_VAR_allowed_cidrs: '["203.0.113.7/32"]',
        AWS_ACCESS_KEY_ID: 'key',
        ...env,
      },
    });
  }
});

const POLICY_INPUT = {
  partition: 'aws',
  account_id: ACCOUNT,
  region: 'us-west-2',
  name: 'main',
  job_subnet_ids: ['subnet-0aaaaaaaaaaaaaaaa'],
  job_security_group_ids: ['sg-0aaaaaaaaaaaaaaaa'],
  job_role_arns: [`arn:aws:iam::${ACCOUNT}:role/main-job`],
  bucket: 'bucket',
  secrets_key: 'secrets/.env',
  log_prefix: 'logs/main/',
  ecr_repository_arns: [],
  data_volume_arn: own('volume/vol-0123456789abcdef0'),
  private_record: { zone_id: 'Z1', name: 'api.main.internal' },
};

const USER_DATA_INPUT = {
  name: 'main',
  region: 'us-west-2',
  bucket: 'bucket',
  secrets_key: 'secrets/.env',
  bundle_key: 'bundles/0.tar.gz',
  log_prefix: 'logs/main/',
  app_image: '',
  database: 'volume',
  data_volume_id: 'vol-0123456789abcdef0',
  record: { zone_id: 'Z1', name: 'api.main.internal' },
  settings: { PUBLIC_URL: 'http://api.main.internal', CLUSTER: 'main' },
};

function own(resource: string): string {
  return `arn:aws:ec2:us-west-2:${ACCOUNT}:${resource}`;
}

function listTargets(): string[] {
  return readFileSync(join(DEPLOY, 'targets'), 'utf8')
    .split('\n')
    .filter((line) => /^[a-z]/.test(line));
}

/** The output of a module without resources: Terraform needs neither provider nor account for it. */
function evaluate(module: string, input: object): string {
  const folder = mkdtempSync(join(work, `${module}-`));
  cpSync(join(TERRAFORM, module), folder, { recursive: true });
  writeFileSync(join(folder, 'terraform.tfvars.json'), JSON.stringify(input));
  for (const args of [
    ['init', '-backend=false'],
    ['apply', '-auto-approve'],
  ]) {
    const { status, stderr } = terraform(folder, ...args, '-input=false', '-no-color');
    if (status !== 0) throw new Error(stderr);
  }
  const outputs = JSON.parse(terraform(folder, 'output', '-json').stdout) as Record<string, { value: string }>;
  return Object.values(outputs)[0]?.value ?? '';
}

function terraform(cwd: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync('terraform', args, { cwd, encoding: 'utf8', env: terraformEnv() });
}

/** What a developer or a CI has set up for Terraform must not change what is tested. */
function terraformEnv(): NodeJS.ProcessEnv {
  const { PATH, HOME } = process.env;
  return { PATH, HOME, TF_CLI_CONFIG_FILE: '/dev/null', CHECKPOINT_DISABLE: '1' };
}

type Policy = { Statement: Statement[] };
type Statement = {
  Effect: 'Allow' | 'Deny';
  Action: string | string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
};
type Context = Record<string, string | string[]>;

/** As much of IAM's rules as our policy uses; an operator it does not know is an error, not a match. */
function matches(
  { Action, Resource, Condition = {} }: Statement,
  action: string,
  resource: string,
  context: Context,
): boolean {
  if (![Action].flat().includes(action)) return false;
  const isMeant = [Resource].flat().some((pattern) => {
    const [head = '', ...rest] = pattern.split('*');
    return rest.length === 0 ? pattern === resource : resource.startsWith(head);
  });
  return (
    isMeant &&
    Object.entries(Condition).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) => {
        const given = context[key] === undefined ? [] : [context[key]].flat();
        const expected = [wanted].flat();
        switch (operator) {
          case 'StringEquals':
            return given.length > 0 && given.every((value) => expected.includes(value));
          case 'StringLike':
            return given.length > 0 && given.every((value) => expected.some((pattern) => isLike(value, pattern)));
          case 'StringNotEquals':
            return !given.some((value) => expected.includes(value));
          case 'ForAllValues:StringEquals':
            return given.every((value) => expected.includes(value));
          case 'Null':
            return (given.length === 0) === (wanted === 'true');
          default:
            throw new Error(`unknown operator ${operator}`);
        }
      }),
    )
  );
}

function isLike(value: string, pattern: string): boolean {
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}
