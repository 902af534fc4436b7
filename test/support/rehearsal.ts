import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EC2Client, RunInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { createImages } from '../../local/cloud/images.ts';
import { INSTANCE_LABEL } from '../../local/instances/container-policy.ts';
import { freePort } from '../../local/postgres.ts';
import { checkOut, docker } from './compose.js';
import { REHEARSAL_SHIMS } from './rehearsal-shims.js';
import { writeShims } from './shims.js';

const IMAGE = 'scheduler-api-instance-test';
const REGION = 'us-west-2';
const BUCKET = 'rehearsal';
const API_NAME = 'api.rehearsal.internal';
const ADMIN_TOKEN = '0123456789abcdef0123456789abcdef';
const PROBE_MS = 50;
/** What is in the bucket's secrets/.env; `APP_IMAGE` so that an image that is in use here keeps its tag. */
const SECRETS = {
  POSTGRES_USER: 'scheduler',
  POSTGRES_PASSWORD: 'pass%word/with:marks',
  ADMIN_TOKEN,
  ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  APP_IMAGE: 'scheduler-api-rehearsal-test',
  IDENTITY_CERTIFICATES: '/run/identity-certificate.pem',
};

type Answer = { status: number; text: string };
/** Milliseconds of one clock. */
type Outage = { from: number; to: number };

/** An AWS account on this machine's Docker engine, with instances of the API that run Terraform's user data. */
export type Rehearsal = {
  /** The folder that stands for all disks. */
  readonly work: string;
  /** Of the local cloud, and of each instance's metadata service on the instance's own address. */
  readonly port: number;
  /** A new instance for the API, as Terraform makes one, with more settings for its .env file. @returns its id */
  launch(settings?: Record<string, string>): Promise<string>;
  terminate(id: string): Promise<void>;
  /** What the instance reported last; '' = nothing yet. */
  state(id: string): Promise<string>;
  log(id: string): string;
  /** Names of the running containers of its stack. */
  stackOf(id: string): Promise<string[]>;
  /** Where the API's name leads to now, as an agent sees it. */
  apiAddress(): Promise<string>;
  addressOf(id: string): Promise<string>;
  /** Of the API under its name, as an administrator. Status 0 when nobody answers. */
  ask(method: string, path: string, body?: object): Promise<Answer>;
  /** Calls the API under its name until `stop`. */
  watch(path: string): { stop(): Promise<Outage[]> };
  /** Ids of the instances of each call that was made and answered well. */
  calls(action: string): Promise<string[][]>;
  /** One line for each container of a job's instance: id, start and number of restarts. */
  jobContainers(instance: string): Promise<string>;
  /** Process of an instance's agent. */
  agent(instance: string): Promise<string>;
  dispose(): Promise<void>;
};

export async function startRehearsal(): Promise<Rehearsal> {
  const name = `rehearsal-${randomBytes(4).toString('hex')}`;
  const work = await mkdtemp(join(tmpdir(), `${name}-`));
  const checkout = await checkOut();
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const cloud = `${name}-cloud`;
  const dispose = async (): Promise<void> => {
    // Ends the instances, and with them the agents' containers.
    await docker('stop', '-t', '30', cloud).catch(() => undefined);
    await removeAll(name);
    // Much of it belongs to root and to Postgres.
    await docker('run', '--rm', '-v', `${work}:/work`, IMAGE, 'find', '/work', '-mindepth', '1', '-delete');
    for (const folder of [work, checkout]) await rm(folder, { recursive: true, force: true });
  };
  try {
    await docker('build', '-q', '-t', IMAGE, join(checkout, 'test/docker/instance'));
    furnish(work);
    await docker('network', 'create', name);
    const start = async (container: string, env: Record<string, string>, ...args: string[]): Promise<void> => {
      const settings = Object.entries({ WORK: work, NAME: name, IMAGE, ...env }).map(
        ([key, value]) => `-e${key}=${value}`,
      );
      const folders = [
        '-v',
        `${work}:${work}`,
        '-v',
        `${checkout}:/checkout:ro`,
        '-v',
        '/var/run/docker.sock:/var/run/docker.sock',
      ];
      const [network = '', ...program] = args;
      const command = ['node', '/checkout/test/support/rehearsal-cloud.ts', ...program];
      const hosts = network === 'host' ? ['-v', `${join(work, 'hosts')}:/etc/hosts`] : ['--network-alias', 'aws'];
      await docker(
        'run',
        '-d',
        '--init',
        '--name',
        container,
        '--network',
        network,
        ...hosts,
        ...folders,
        ...settings,
        IMAGE,
        ...command,
      );
    };
    await start(cloud, { PORT: String(port) }, 'host');
    await start(`${name}-door`, { PORT: '80' }, name, 'door');
    await untilLogged(cloud, `cloud ${endpoint}`);
    const account = openAccount(endpoint);
    await fillBucket(account.s3, checkout);
    return { work, port, ...operations({ name, work, endpoint, cloud, ...account }), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

type Place = { name: string; work: string; endpoint: string; cloud: string; ec2: EC2Client; s3: S3Client };

function operations({ name, work, endpoint, cloud, ec2, s3 }: Place): Omit<Rehearsal, 'work' | 'port' | 'dispose'> {
  const hosts = (): Map<string, string> =>
    new Map(
      readFileSync(join(work, 'hosts'), 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .map(([address = '', host = '']) => [host, address]),
    );
  const ask: Rehearsal['ask'] = async (method, path, body) =>
    await askAt(hosts().get(API_NAME), { method, path, ...(body && { body }) });
  const ledger = async (): Promise<Ledger> => (await (await fetch(`${endpoint}/_local/ledger`)).json()) as Ledger;
  const inCloud = async (...command: string[]): Promise<string> => await docker('exec', cloud, ...command);
  return {
    launch: async (more = {}) => {
      const { Instances } = await ec2.send(
        new RunInstancesCommand({
          ImageId: createImages()[0]?.id,
          InstanceType: 't3.small',
          MinCount: 1,
          MaxCount: 1,
          UserData: Buffer.from(userData(more)).toString('base64'),
          MetadataOptions: { HttpTokens: 'required', InstanceMetadataTags: 'enabled' },
        }),
      );
      return Instances?.[0]?.InstanceId ?? '';
    },
    terminate: async (id) => {
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    },
    state: async (id) => {
      const object = new GetObjectCommand({ Bucket: BUCKET, Key: `logs/boot/${id}.state` });
      const { Body } = await s3.send(object).catch(() => ({ Body: undefined }));
      return ((await Body?.transformToString()) ?? '').trim();
    },
    log: (id) => readFileSync(join(work, id, 'stack/boot.log'), 'utf8'),
    stackOf: async (id) =>
      words(await docker('ps', '--filter', `label=com.docker.compose.project=${name}-${id}`, '--format', '{{.Names}}')),
    apiAddress: async () => words(await inCloud('getent', 'hosts', API_NAME))[0] ?? '',
    addressOf: async (id) => (await ledger()).instances.find((instance) => instance.id === id)?.privateIp ?? '',
    ask,
    watch: (path) => watch(async () => (await ask('GET', path)).status === 200),
    calls: async (action) =>
      (await ledger()).calls
        .filter((call) => call.action === action && call.outcome === 'ok')
        .map(({ instanceIds }) => instanceIds ?? []),
    jobContainers: async (instance) => {
      const ids = words(await docker('ps', '-aq', '--filter', `label=${INSTANCE_LABEL}=${instance}`));
      return await docker('inspect', '--format', '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}', ...ids);
    },
    agent: async (instance) => await inCloud('cat', `/tmp/instances/${instance}/pid`),
  };
}

type Ledger = {
  instances: { id: string; privateIp: string }[];
  calls: { action: string; outcome: string; instanceIds?: string[] }[];
};

/** As terraform/user-data/main.tf puts it together, which test/integration/terraform.spec.ts evaluates. */
function userData(more: Record<string, string>): string {
  const settings = {
    STACK_NAME: 'main',
    SECRETS_URI: `s3://${BUCKET}/secrets/.env`,
    BUNDLE_URI: `s3://${BUCKET}/bundles/0.tar.gz`,
    LOG_URI: `s3://${BUCKET}/logs/boot/`,
    APP_IMAGE: '',
    DATABASE: 'volume',
    DATA_VOLUME_ID: 'vol-0123456789abcdef0',
    RECORD_ZONE_ID: 'Z1',
    RECORD_NAME: API_NAME,
    SETTINGS: Object.entries({ AWS_REGION: REGION, CLUSTER: 'main', PUBLIC_URL: `http://${API_NAME}`, ...more })
      .map(([key, value]) => `${key}=${value}`)
      .join('\n'),
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key}='${value}'`);
  const script = readFileSync(join(import.meta.dirname, '../../terraform/user-data/user-data.sh'), 'utf8');
  return ['#!/bin/bash', `export AWS_DEFAULT_REGION='${REGION}'`, ...lines, script].join('\n');
}

function furnish(work: string): void {
  writeShims(join(work, 'tools'), REHEARSAL_SHIMS);
  mkdirSync(join(work, 'ebs/volume'), { recursive: true });
  mkdirSync(join(work, 'cloud'));
  // As long as with the record in it: it is written in place.
  writeFileSync(join(work, 'hosts'), `127.0.0.1 localhost\n${' '.repeat(16 + API_NAME.length)}\n`);
  const name = /rehearsal-[0-9a-f]{8}/.exec(work)?.[0] ?? '';
  writeFileSync(
    join(work, 'docker-compose.rehearsal.yml'),
    `services:
  scheduler:
    networks: [aws]
    environment: { AWS_ENDPOINT_URL: 'http://aws' }
    volumes: ['${work}/identity-certificate.pem:${SECRETS.IDENTITY_CERTIFICATES}:ro']
networks:
  aws: { external: true, name: ${name} }
`,
  );
}

function openAccount(endpoint: string): { ec2: EC2Client; s3: S3Client } {
  const settings = { endpoint, region: REGION, credentials: { accessKeyId: 'local', secretAccessKey: 'local' } };
  return { ec2: new EC2Client(settings), s3: new S3Client({ ...settings, forcePathStyle: true }) };
}

async function fillBucket(s3: S3Client, checkout: string): Promise<void> {
  const bundle = execFileSync('tar', ['-cz', '-C', checkout, '.'], { maxBuffer: 256 * 1024 * 1024 });
  const secrets = Object.entries(SECRETS).map(([key, value]) => `${key}=${value}\n`);
  await s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'bundles/0.tar.gz', Body: bundle }));
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'secrets/.env', Body: secrets.join('') }));
}

/** A connection of its own each time, as an agent's curl makes one. */
async function askAt(
  host: string | undefined,
  { method, path, body }: { method: string; path: string; body?: object },
): Promise<Answer> {
  if (host === undefined) return { status: 0, text: `nobody knows ${API_NAME}` };
  const json = body && JSON.stringify(body);
  const headers = {
    host: API_NAME,
    authorization: `Bearer ${ADMIN_TOKEN}`,
    ...(json !== undefined && { 'content-type': 'application/json' }),
  };
  return await new Promise((done) => {
    const failed = (error: Error): void => done({ status: 0, text: error.message });
    const call = request({ host, method, path, headers, agent: false, timeout: 70_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', failed).on('end', () => done({ status: response.statusCode ?? 0, text }));
    });
    call.on('timeout', () => call.destroy(new Error('no answer'))).on('error', failed);
    call.end(json);
  });
}

/** From the end of the last good answer before it, an outage lasts to the end of the first one after it. */
function watch(isGood: () => Promise<boolean>): { stop(): Promise<Outage[]> } {
  const outages: Outage[] = [];
  const over = new AbortController();
  const watching = (async () => {
    let lastGood = performance.now();
    let isOut = false;
    while (!over.signal.aborted) {
      const good = await isGood();
      const now = performance.now();
      if (good && isOut) outages.push({ from: lastGood, to: now });
      if (good) lastGood = now;
      isOut = !good;
      await new Promise((done) => setTimeout(done, PROBE_MS));
    }
    if (isOut) outages.push({ from: lastGood, to: Infinity });
  })();
  return {
    stop: async () => {
      over.abort();
      await watching;
      return outages;
    },
  };
}

async function untilLogged(container: string, text: string): Promise<void> {
  const end = Date.now() + 60_000;
  for (;;) {
    const log = await docker('logs', container);
    if (log.includes(text)) return;
    if (Date.now() > end) throw new Error(`${container} does not say "${text}":\n${log}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Everything whose name says that it is of this rehearsal. */
async function removeAll(name: string): Promise<void> {
  const filter = ['--filter', `name=${name}`, '-q'];
  const containers = words(await docker('ps', '-a', ...filter));
  if (containers.length > 0) await docker('rm', '-f', '-v', ...containers);
  const volumes = words(await docker('volume', 'ls', ...filter));
  if (volumes.length > 0) await docker('volume', 'rm', '-f', ...volumes);
  const networks = words(await docker('network', 'ls', ...filter));
  if (networks.length > 0) await docker('network', 'rm', ...networks);
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}
