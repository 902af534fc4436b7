import { createPublicKey, X509Certificate } from 'node:crypto';
import { execFileSync, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CLUSTER_TAG } from '../../src/aws/ec2-types.ts';
import { writeShims } from '../support/shims.ts';
import { evaluateModule, hasTerraform, terraform, TERRAFORM } from '../support/terraform.ts';
import { describeWhen } from '../support/when.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const DEPLOY = join(ROOT, 'deploy', 'terraform');
const USER_DATA_LIMIT_BYTES = 16_384;

const isThere = hasTerraform();
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
    for (const name of ['api', 'jobs_private']) {
      expect(blocks.get(`aws_route53_record.${name}`)).toMatch(/depends_on = \[\s*terraform_data\.serving[,\]]/);
    }
    // What no plan of terraform/tests knows: the load balancer of jobs has its addresses only once it is there.
    expect(blocks.get('aws_route53_record.jobs_private')).toMatch(
      /records\s+= local\.has_ingress \? local\.ingress_private_ips : \[aws_instance\.api\.private_ip\]/,
    );
    expect(blocks.get('aws_lb_target_group_attachment.api')).toMatch(/create_before_destroy = true/);
  });

  it('never puts the cluster tag on what it makes: the sweep would take it for an instance of a job', () => {
    expect(source.replaceAll(/#.*/g, '')).not.toContain(CLUSTER_TAG);
  });

  it('has a balancer that ends idle connections before nginx does: a request may be on its way on one that nginx ends', () => {
    const [, balancer] = /idle_timeout = (\d+)/.exec(blocks.get('aws_lb.this') ?? '') ?? [];
    const nginx = readFileSync(join(ROOT, 'deploy/nginx/nginx.conf.template'), 'utf8');
    const [, ours] = /^ {2}keepalive_timeout (\d+)s;/m.exec(nginx) ?? [];
    expect(Number(ours)).toBeGreaterThan(Number(balancer));
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

describeWhen(isThere, 'no terraform on the PATH', 'terraform', () => {
  it('finds its files in canonical form', () => {
    expect(terraform(TERRAFORM, 'fmt', '-check', '-recursive', '-list=true')).toMatchObject({ status: 0, stdout: '' });
  });

  describe('user data', () => {
    it('is small enough, syntactically right, and carries settings through the shell unchanged', () => {
      const awkward = `it's "$HOME" \`id\` \\ %s`;
      const text = evaluateModule('user-data', { ...USER_DATA_INPUT, bundle_key: `bundles/${awkward}` });
      expect(gzipSync(text).byteLength).toBeLessThan(USER_DATA_LIMIT_BYTES);
      expect(text.startsWith('#!/bin/bash\n')).toBe(true);
      const script = join(work, 'user-data');
      writeFileSync(script, text);
      expect(spawnSync('bash', ['-n', script], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
      const head = text.slice(0, text.indexOf('# shellcheck'));
      const shown = execFileSync(
        'bash',
        ['-c', `${head}\nprintf '%s\\n' "$BUNDLE_URI" "$DECIDED" "$SETTINGS" "$DATA_VOLUME_ID" "$JOBS_RECORD_NAME"`],
        {
          encoding: 'utf8',
        },
      );
      expect(shown).toBe(
        `s3://bucket/bundles/${awkward}\nCLUSTER=main\nPUBLIC_URL=http://api.main.internal\nvol-0123456789abcdef0\n*.jobs.main.internal\n`,
      );
    });

    it('of the ingress is small enough, and has the files and settings of nginx unchanged', () => {
      const source = readFileSync(join(TERRAFORM, 'ingress.tf'), 'utf8');
      const [, list = ''] = /ingress_files = \[([^\]]+)\]/.exec(source) ?? [];
      const names = [...list.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name);
      const files = Object.fromEntries(
        names.map((name) => [name, readFileSync(join(ROOT, 'deploy/nginx', name), 'utf8')]),
      );
      const [image = ''] = /nginx:[0-9.]+-alpine/.exec(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8')) ?? [];
      const environment = {
        SCHEDULER_HOST: 'api.main.internal',
        JOBS_URL: 'https://jobs.example.com',
        JOBS_HOSTS: "it's",
      };
      const text = evaluateModule('ingress', { image, files, environment });
      expect(gzipSync(text).byteLength).toBeLessThan(USER_DATA_LIMIT_BYTES);
      const script = join(work, 'ingress-user-data');
      // Without its last line, which begins.
      writeFileSync(
        script,
        text.replace(/\nmain "\$@"\n*$/, '\nwrite_files "$1"; printf "%s\\n" "$IMAGE" "$ENVIRONMENT"\n'),
      );
      const folder = join(work, 'ingress-files');
      mkdirSync(folder);
      const { stdout, stderr, status } = spawnSync('bash', [script, folder], { encoding: 'utf8' });
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
      expect(stdout.split('\n')).toEqual([
        ...['nginx:1.28-alpine', 'AGENT_LISTENER=off', 'API_LISTENER=off', "JOBS_HOSTS=it's"],
        ...[
          'JOBS_URL=https://jobs.example.com',
          'LOOKUP_LISTENER=off',
          'NGINX_RATE=50',
          'SCHEDULER_HOST=api.main.internal',
        ],
        ...['TRUSTED_PROXY=255.255.255.255', ''],
      ]);
      for (const [name, content] of Object.entries(files))
        expect(readFileSync(join(folder, name), 'utf8')).toBe(content);
      // What nginx includes there is among them.
      const included = ['nginx.conf.template', 'ingress-on.inc.template', 'api-off.inc.template']
        .flatMap((name) => [...(files[name] ?? '').matchAll(/include \/etc\/nginx\/conf\.d\/([^;*]+)/g)])
        .map(([, name = '']) => name.replace('${API_LISTENER}', 'off').replace('${INGRESS}', 'on'))
        .filter((name) => !name.includes('${'));
      for (const name of included) expect(names).toContain(`${name}.template`);
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
  isThere && plugins !== '',
  isThere ? 'TERRAFORM_PLUGINS names no folder with the AWS provider' : 'no terraform on the PATH',
  'terraform test',
  () => {
    it('passes with a mocked provider', () => {
      const copy = join(work, 'test/terraform');
      cpSync(TERRAFORM, copy, { recursive: true });
      // What the ingress' instances get of them.
      for (const file of ['deploy/nginx', 'docker-compose.yml']) {
        cpSync(join(ROOT, file), join(work, 'test', file), { recursive: true });
      }
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
    }, 300_000);
  },
);

it('an apply waits no longer for an instance that has gone', () => {
  const tools = join(work, 'wait');
  writeShims(tools, { aws: 'case "$*" in *describe-instances*) echo terminated ;; *) exit 1 ;; esac' });
  const { status, stdout } = spawnSync('sh', [join(ROOT, 'terraform', 'wait-until-serving.sh')], {
    encoding: 'utf8',
    timeout: 50_000,
    env: {
      PATH: `${tools}:${process.env['PATH']}`,
      INSTANCE_ID: 'i-1',
      LOG_URI: 's3://logs/',
      WAIT_SECONDS: '600',
      POLL_SECONDS: '0',
    },
  });
  expect(status).toBe(1);
  expect(stdout).toContain('i-1 does not serve (EC2: terminated).');
});

describe('the deploy container’s entrypoint', () => {
  const repository = join(work, 'repository');
  const tools = join(work, 'tools');
  const calls = join(work, 'calls');
  const secrets = join(work, 'secrets.env');
  const keys = join(work, 'agent-keys');
  /** What the instance of the state said last. */
  const state = join(work, 'state');
  const SECRETS =
    'POSTGRES_USER=scheduler\nPOSTGRES_PASSWORD="a=b"\nADMIN_TOKEN=0123456789abcdef\nENCRYPTION_KEY=key=\n';

  beforeAll(() => {
    for (const folder of ['terraform', 'deploy/nginx']) mkdirSync(join(repository, folder), { recursive: true });
    mkdirSync(keys);
    for (const file of ['terraform/main.tf', 'deploy/nginx/start.sh', 'docker-compose.yml']) {
      writeFileSync(join(repository, file), '# nothing\n');
    }
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
          *head-object*.env*) echo 'aVersion "anEtag"' ;;
          *head-object*) [ -e "${keys}/$(basename "$(sed 's/.*--key \\([^ ]*\\).*/\\1/' <<<"$*")")" ] && echo 'None "the-key"' && exit
            echo "An error occurred ($HEAD_REFUSAL) when calling the HeadObject operation" >&2; exit 254 ;;
          *get-bucket-location*) echo eu-central-1 ;;
          *boot/*.state*) cat "${state}" ;;
          *.pem) set -- "\${@: -2}"; cp "$1" "${keys}/$(basename "$2")" ;;
          *get-caller-identity*) [ -n "$AWS_ACCESS_KEY_ID" ] || { echo 'Unable to locate credentials'; exit 255; } >&2; printf '1\\tarn:aws:iam::1:user/me\\n' ;;
          *' - '* | *' -') cat "${secrets}" ;;
          *tar.gz) set -- "\${@: -2}"; tar -tzf "$1" >>"${calls}" ;;
        esac`,
      terraform: `echo "terraform $*" >>"${calls}"
        echo "  bundle $TF_VAR_bundle_key bucket $TF_VAR_bucket rds $TF_VAR_rds_password image $TF_VAR_app_image" >>"${calls}"
        echo "  secrets $TF_VAR_secrets_version in $TF_VAR_bucket_region" >>"${calls}"
        case $* in
          *instance_id) echo i-0123 ;; *public_ip) echo 203.0.113.9 ;; *url) echo http://203.0.113.9 ;;
          'show -json'*) echo '{}' ;;
          'state pull'*) echo '{"resources":[{"mode":"managed","type":"aws_instance","name":"api","instances":[{"attributes":{"id":"i-0123","availability_zone":"'"\${REGION_OF_STATE-us-west-2}"'a"}}]}]}' ;;
        esac`,
    });
  });

  it('uploads the commit, then init, plan and apply with the targets, and says id and address', () => {
    const hasKeys = existsSync(join(keys, 'current.pem'));
    const { status, stdout } = deploy({});
    expect(status).toBe(0);
    expect(stdout).toMatch(/instance id {2}i-0123\npublic ip {4}203\.0\.113\.9\nurl {10}http:\/\/203\.0\.113\.9\n$/);
    const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim();
    const lines = readFileSync(calls, 'utf8').split('\n');
    const order = lines.filter((line) => /^(aws|terraform) /.test(line));
    const changing = order.filter((line) => /^terraform (init|plan|apply)|s3 cp .* s3:\S+$/.test(line));
    expect(changing.map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual([
      ...(hasKeys ? [] : ['aws s3 cp', 'aws s3 cp']),
      'aws s3 cp',
      'terraform init -input=false',
      'terraform plan -input=false',
      'terraform apply -input=false',
    ]);
    const [uploaded, init, plan, apply] = changing.slice(-4);
    expect(uploaded).toMatch(new RegExp(`s3://state-bucket/bundles/${commit}\\.tar\\.gz$`));
    expect(lines).toContain('terraform/main.tf');
    // The bucket is where S3 says it is, which need not be where the stack goes.
    expect(init).toContain(
      '-backend-config=bucket=state-bucket -backend-config=key=scheduler-api/terraform.tfstate -backend-config=region=eu-central-1',
    );
    expect([...(plan ?? '').matchAll(/-target=(\S+)/g)].map(([, target]) => target)).toEqual(listTargets());
    expect(plan).not.toContain('-replace');
    expect(apply).toMatch(/ deploy\.tfplan$/);
    expect(lines).toContain(`  bundle bundles/${commit}.tar.gz bucket state-bucket rds a=b image `);
    expect(lines).toContain('  secrets aVersion-the-key in eu-central-1');
  });

  it('makes the keys of agents’ TLS once', () => {
    rmSync(keys, { recursive: true });
    mkdirSync(keys);
    expect(deploy({}).status).toBe(0);
    const made = ['current.pem', 'next.pem'].map((name) => readFileSync(join(keys, name), 'utf8'));
    for (const pem of made) {
      const { publicKey } = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERT')));
      const spki = { type: 'spki', format: 'der' } as const;
      expect(createPublicKey(pem).export(spki)).toEqual(publicKey.export(spki));
    }
    expect(made[0]).not.toBe(made[1]);
    expect(deploy({}).status).toBe(0);
    expect(['current.pem', 'next.pem'].map((name) => readFileSync(join(keys, name), 'utf8'))).toEqual(made);
  });

  it('makes none where S3 does not say that there are none', () => {
    rmSync(keys, { recursive: true });
    mkdirSync(keys);
    const { status, stderr } = deploy({ HEAD_REFUSAL: '403' });
    expect(status).toBe(1);
    expect(stderr).toContain(
      'it cannot be determined whether s3://state-bucket/secrets/agent-keys/current.pem is there: An error occurred (403)',
    );
    expect(readdirSync(keys)).toEqual([]);
  });

  it('tries an instance again whose boot failed, and leaves others alone', () => {
    const plan = (said: string): string => {
      expect(deploy({}, SECRETS, said).status).toBe(0);
      return readFileSync(calls, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('terraform plan'))
        .join('\n');
    };
    expect(plan('failed in boot, line 7')).toMatch(/ -replace=aws_instance\.api$/);
    expect(plan('waiting for the data volume')).not.toContain('-replace');
  });

  it.each([
    [`${SECRETS}AWS_REGION=eu-west-1\n`, /sets AWS_REGION=eu-west-1, and this deploys into us-west-2/],
    [
      `${SECRETS}ALLOWED_SUBNETS=subnet-1\nexport CLUSTER=mine\n`,
      /sets CLUSTER ALLOWED_SUBNETS, which Terraform decides/,
    ],
  ])('refuses a file of settings that contradicts the stack', (file, message) => {
    const { status, stderr } = deploy({}, file);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(readFileSync(calls, 'utf8')).not.toMatch(/^terraform/m);
  });

  it.each([
    ['\uFEFF# a byte order mark', 5],
    ['LOG_LEVEL = debug', 5],
    ['LOG_LEVEL', 5],
    ['LOG_LEVEL=debug # while we look', 5],
    [`LOG_LEVEL='debug' # while we look`, 5],
    [`NAME='two\nlines'`, '5 6'],
    ['NAME="a\\tb"', 5],
    ['NAME=${LOG_LEVEL}', 5],
  ])('refuses a line that its readers read differently, by its number: %s', (line, numbers) => {
    const { status, stderr } = deploy({}, `${SECRETS}${line}\n`);
    expect(status).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`^scheduler-deploy: s3://state-bucket/secrets/\\.env, line ${numbers}: a line is NAME=value`),
    );
    expect(stderr).not.toContain('LOG_LEVEL');
  });

  it('takes all other lines', () => {
    const lines = readFileSync(join(import.meta.dirname, '../../.env.example'), 'utf8');
    const others = [
      '',
      ' # ${A}',
      "A='b # c'",
      'B="it\'s"',
      'C=a#b$c',
      'export D=two words',
      'E=',
      "F=''",
      'G=a=b==\r',
    ];
    const { status, stderr } = deploy({}, `${lines}${SECRETS}${others.join('\n')}`);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  it('takes no state of another region for its own', () => {
    const { status, stderr } = deploy({ REGION_OF_STATE: 'eu-west-1' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/is of a stack in eu-west-1a, and this deploys into us-west-2: set TF_STATE_KEY/);
    expect(readFileSync(calls, 'utf8')).not.toMatch(/^terraform plan/m);
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

  function deploy(env: Record<string, string>, file = SECRETS, said = 'serving'): SpawnSyncReturns<string> {
    rmSync(calls, { force: true });
    writeFileSync(secrets, file);
    writeFileSync(state, `${said}\n`);
    return spawnSync('sh', [join(DEPLOY, 'entrypoint.sh')], {
      encoding: 'utf8',
      env: {
        PATH: `${tools}:${process.env['PATH']}`,
        REPOSITORY: repository,
        TF_STATE_BUCKET: 'state-bucket',
        TF_VAR_allowed_cidrs: '["203.0.113.7/32"]',
        HEAD_REFUSAL: '404',
        AWS_ACCESS_KEY_ID: 'key',
        ...env,
      },
    });
  }
});

const USER_DATA_INPUT = {
  name: 'main',
  region: 'us-west-2',
  bucket: 'bucket',
  secrets_key: 'secrets/.env',
  secrets_version: '1',
  instance_type: 't3.small',
  agent_keys_prefix: 'secrets/agent-keys/',
  bundle_key: 'bundles/0.tar.gz',
  log_prefix: 'logs/main/',
  app_image: '',
  database: 'volume',
  rds_authorities_url: 'https://truststore.example.com/global/global-bundle.pem',
  data_volume_id: 'vol-0123456789abcdef0',
  record: { zone_id: 'Z1', name: 'api.main.internal', jobs_name: '*.jobs.main.internal' },
  decided: { CLUSTER: 'main' },
  settings: { PUBLIC_URL: 'http://api.main.internal' },
};

function listTargets(): string[] {
  return readFileSync(join(DEPLOY, 'targets'), 'utf8')
    .split('\n')
    .filter((line) => /^[a-z]/.test(line));
}
