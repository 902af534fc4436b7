import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  EC2Client,
  type Instance,
} from '@aws-sdk/client-ec2';
import {
  CreateBucketCommand,
  GetObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { checkOut, docker } from './compose.ts';
import { startMoto, whyNoMoto } from './moto.ts';

const PLUGINS = process.env['TERRAFORM_PLUGINS'] ?? '';
const PROVIDERS = join(PLUGINS, 'registry.terraform.io/hashicorp/aws');
/** What it consists of stays, which is the cache of the next build. */
const FORGET_IMAGE = ['rmi', '-f', '--no-prune'];
const RUN_MS = 20 * 60_000;
const LOOK_MS = 200;
const STATE_MS = 3_000;

/** As `secrets/.env` may be. */
export const SETTINGS = {
  POSTGRES_USER: 'scheduler',
  POSTGRES_PASSWORD: 'a-password',
  ADMIN_TOKEN: '0123456789abcdef0123456789abcdef',
  ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
};

export type Ran = { code: number; output: string };
/** What a new instance of the API says of itself, one state after the other; the log is what it printed by then. */
export type Boot = { readonly states: readonly string[]; readonly log?: string };

/** An account that moto plays, a checkout to deploy from, and the deploy container with Terraform's real AWS provider. */
export type AwsAccount = {
  readonly directory: string;
  readonly ec2: EC2Client;
  readonly s3: S3Client;
  /** The deploy container, as `docker-compose run --rm scheduler-deploy` starts it; with an input as `run --rm -T` does. */
  deploy(args?: readonly string[], environment?: Record<string, string>, input?: string): Promise<Ran>;
  /** @returns what it printed. @throws Error with that unless it ends well */
  mustDeploy(args?: readonly string[], environment?: Record<string, string>): Promise<string>;
  /** The AWS CLI, with what it prints as JSON. @throws Error with its words */
  aws<T>(...args: string[]): Promise<T>;
  /** Terraform itself, on the state of the stack. @throws Error with its words */
  terraform(...args: string[]): Promise<void>;
  /** What instances of the API that are made from now on do at their first boot: moto boots nothing. */
  boots(boot: Boot): void;
  /** Called just before an instance reports that it serves. */
  beforeServing(look: () => Promise<void>): void;
  /** The boots that were played, in order, with the instances of the API that were there when the last state was said. */
  readonly booted: readonly { readonly id: string; readonly said: string; readonly alive: readonly string[] }[];
  /** An object of the bucket. @throws when there is none */
  read(key: string): Promise<string>;
  write(key: string, text: string): Promise<void>;
  /** Of the API, those that are gone left out; the oldest first. */
  instances(): Promise<Instance[]>;
  /** Of an instance, in base64, as EC2 was given it. */
  userData(id: string): Promise<string>;
  /** Changes the checkout and commits that. */
  commit(change: (directory: string) => void): void;
  dispose(): Promise<void>;
};

/** Why there is no such account here; undefined = there can be. */
export function whyNoAccount(): string | undefined {
  if (PLUGINS === '') return 'TERRAFORM_PLUGINS names no folder with the AWS provider';
  if (!existsSync(PROVIDERS)) return `${PLUGINS} has no AWS provider`;
  if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status !== 0) return 'no Docker engine answers';
  return whyNoMoto();
}

/** @param settings of the bucket's secrets/.env; none = there is neither bucket nor file */
export async function startAccount(
  settings: Record<string, string> | null,
  { region = 'us-west-2', bucket = 'the-bucket' }: { region?: string; bucket?: string } = {},
): Promise<AwsAccount> {
  const directory = await checkOut();
  const moto = await startMoto(region);
  // Of its containers, and of its image: another checkout's would be another release.
  const name = `deploy-test-${randomBytes(4).toString('hex')}`;
  const client = {
    endpoint: moto.endpoint,
    region,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  };
  const [ec2, s3] = [new EC2Client(client), new S3Client({ ...client, forcePathStyle: true })];
  const git = (...args: string[]): void => void execFileSync('git', args, { cwd: directory, stdio: 'ignore' });
  const commit: AwsAccount['commit'] = (change) => {
    change(directory);
    git('add', '-A');
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'changed');
  };
  const booting = playBoots({ ec2, s3, bucket });
  const run = async (args: readonly string[], environment: Record<string, string>, input?: string): Promise<Ran> => {
    const variables = { ...moto.environment, ...environment };
    const flags = Object.entries(variables).flatMap(([key, value]) => ['-e', `${key}=${value}`]);
    const mounts = ['-v', `${directory}:/repository:ro`, '-v', `${PLUGINS}:/plugins:ro`];
    const hearing = input === undefined ? [] : ['-i'];
    return await new Promise((done) => {
      const { stdin } = execFile(
        'docker',
        ['run', '--rm', ...hearing, '--label', name, '--network', 'host', ...mounts, ...flags, ...args],
        { timeout: RUN_MS, maxBuffer: 64 << 20 },
        (error, stdout, stderr) => {
          if (process.env['DEPLOY_LOG'])
            appendFileSync(process.env['DEPLOY_LOG'], `=== ${args.join(' ')}\n${stdout}${stderr}`);
          done({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, output: stdout + stderr });
        },
      );
      stdin?.end(input);
    });
  };
  try {
    await docker('build', '-q', '-t', name, join(directory, 'deploy/terraform'));
    useProviderOfThisMachine(directory);
    git('init', '-q');
    commit(() => undefined);
    if (settings) {
      const Body = Object.entries(settings)
        .map(([key, value]) => `${key}=${value}\n`)
        .join('');
      const LocationConstraint = region as 'us-west-2';
      await s3.send(
        new CreateBucketCommand({
          Bucket: bucket,
          ...(region !== 'us-east-1' && { CreateBucketConfiguration: { LocationConstraint } }),
        }),
      );
      const VersioningConfiguration = { Status: 'Enabled' } as const;
      await s3.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration }));
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'secrets/.env', Body }));
    }
  } catch (error) {
    await docker(...FORGET_IMAGE, name).catch(() => undefined);
    await moto.stop();
    throw error;
  }
  const deploy: AwsAccount['deploy'] = async (args = [], environment = {}, input) =>
    await run(
      [name, ...args],
      {
        TF_STATE_BUCKET: bucket,
        TF_VAR_allowed_cidrs: '["203.0.113.7/32"]',
        TF_CLI_ARGS_init: '-plugin-dir=/plugins',
        TF_CLI_CONFIG_FILE: '/dev/null',
        POLL_SECONDS: '1',
        ...environment,
      },
      input,
    );
  return {
    directory,
    ec2,
    s3,
    commit,
    deploy,
    mustDeploy: async (args, environment) => {
      const { code, output } = await deploy(args, environment);
      if (code !== 0) throw new Error(`the deployment ended with ${code}:\n${output}`);
      return output;
    },
    aws: async <T>(...args: string[]) => {
      const { code, output } = await run(
        ['--entrypoint', 'aws', name, '--endpoint-url', moto.endpoint, '--output', 'json', ...args],
        {},
      );
      if (code !== 0) throw new Error(`aws ${args.join(' ')}: ${output}`);
      return (output.trim() === '' ? null : JSON.parse(output)) as T;
    },
    terraform: async (...args) => {
      const backend = ['bucket=' + bucket, 'key=scheduler-api/terraform.tfstate', 'region=' + region];
      const init = `terraform init -input=false -plugin-dir=/plugins ${backend.map((one) => `-backend-config=${one}`).join(' ')}`;
      const script = `cp -r /repository/terraform /tmp/t && cd /tmp/t && ${init} && terraform ${args.join(' ')}`;
      const { code, output } = await run(['--entrypoint', 'sh', name, '-c', script], {
        TF_CLI_CONFIG_FILE: '/dev/null',
      });
      if (code !== 0) throw new Error(`terraform ${args.join(' ')}: ${output}`);
    },
    boots: booting.boots,
    booted: booting.booted,
    beforeServing: booting.beforeServing,
    read: async (key) => {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return (await Body?.transformToString()) ?? '';
    },
    write: async (key, text) => {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: text }));
    },
    instances: async () => await listInstances(ec2),
    userData: async (InstanceId) => {
      const { UserData } = await ec2.send(new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'userData' }));
      return UserData?.Value ?? '';
    },
    dispose: async () => {
      await booting.stop();
      const left = (await docker('ps', '-aq', '--filter', `label=${name}`)).split(/\s+/).filter(Boolean);
      if (left.length > 0) await docker('rm', '-f', ...left);
      await docker(...FORGET_IMAGE, name);
      await moto.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Says in the bucket what a new instance of the API would say there. */
function playBoots({ ec2, s3, bucket }: { ec2: EC2Client; s3: S3Client; bucket: string }) {
  let look: () => Promise<void> = () => Promise.resolve();
  let boot: Boot = { states: ['prepared', 'serving'] };
  const booted: { id: string; said: string; alive: string[] }[] = [];
  const over = new AbortController();
  const known = new Set<string>();
  const put = async (id: string, ending: string, Body: string): Promise<void> => {
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: `logs/scheduler/boot/${id}.${ending}`, Body }));
  };
  const playing = (async () => {
    while (!over.signal.aborted) {
      const instances = await listInstances(ec2).catch(() => []);
      for (const { InstanceId = '' } of instances.filter((one) => !known.has(one.InstanceId ?? ''))) {
        known.add(InstanceId);
        if (boot.log !== undefined) await put(InstanceId, 'log', boot.log);
        for (const [at, state] of boot.states.entries()) {
          // What Terraform would do too soon, it has done by then.
          await new Promise((done) => setTimeout(done, STATE_MS));
          if (at === boot.states.length - 1) {
            const alive = (await listInstances(ec2)).map((one) => one.InstanceId ?? '');
            booted.push({ id: InstanceId, said: state, alive });
            if (state === 'serving') await look();
          }
          await put(InstanceId, 'state', `${state}\n`);
        }
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  })();
  return {
    booted,
    beforeServing: (next: () => Promise<void>) => {
      look = next;
    },
    boots: (next: Boot) => {
      boot = next;
    },
    stop: async () => {
      over.abort();
      await playing;
    },
  };
}

async function listInstances(ec2: EC2Client): Promise<Instance[]> {
  const { Reservations = [] } = await ec2.send(
    new DescribeInstancesCommand({
      Filters: [
        { Name: 'tag-key', Values: ['scheduler-api:stack'] },
        { Name: 'instance-state-name', Values: ['pending', 'running', 'stopping', 'stopped'] },
      ],
    }),
  );
  return Reservations.flatMap(({ Instances = [] }) => Instances).sort(
    (a, b) => Number(a.LaunchTime) - Number(b.LaunchTime),
  );
}

/** The files require provider 6; where only an older one is available, that one checks them. */
function useProviderOfThisMachine(directory: string): void {
  const [version = ''] = readdirSync(PROVIDERS).sort().reverse();
  if (version.startsWith('6.')) return;
  process.stdout.write(`deployed with provider ${version}: there is no newer one in ${PLUGINS}\n`);
  const file = join(directory, 'terraform/versions.tf');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"~> 6.0"', `"${version}"`));
}
