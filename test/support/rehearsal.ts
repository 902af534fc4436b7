import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EC2Client, RunInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { createImages } from '../../local/cloud/images.ts';
import { openKeys, type Keys } from '../../local/cloud/keys.ts';
import type { CloudOptions } from '../../local/cloud/local-cloud.ts';
import { INSTANCE_LABEL } from '../../local/instances/container-policy.ts';
import { freePort } from '../../local/ports.ts';
import { checkOut, docker } from './compose.ts';
import { ownPlace, type Place } from './rehearsal-place.ts';
import { rehearsalShims } from './rehearsal-shims.ts';
import { writeShims } from './shims.ts';
import { until } from '../../local/until.ts';

const IMAGE = 'scheduler-api-instance-test';
/** Of the API, as instances build it: a tag for each rehearsal, so that none moves while another one starts containers. */
const APP_IMAGE = 'scheduler-api-rehearsal-test';
const IDENTITY_CERTIFICATE = '/run/identity-certificate.pem';
const PATIENCE_MS = 70_000;
const VOLUME_GIB = 20;

export type Answer = { status: number; text: string };

/** An AWS account on this machine's Docker engine, with instances of the API that run Terraform's user data. */
export type Rehearsal = {
  readonly place: Place;
  /** The folder that stands for all disks. */
  readonly work: string;
  /** Of the local cloud, and of each instance's metadata service on the instance's own address. */
  readonly port: number;
  /** A new instance for the API, as Terraform makes one. @returns its id */
  launch(userData: Uint8Array): Promise<string>;
  terminate(id: string): Promise<void>;
  /** What the instance reported last; '' = nothing yet. */
  state(id: string): Promise<string>;
  log(id: string): string;
  /** Names of the running containers of its stack. */
  stackOf(id: string): Promise<string[]>;
  /** Where the API's name leads to now, as an agent sees it. */
  apiAddress(): Promise<string>;
  /** Of the instance that has the public address, which users call; undefined = none has it yet. */
  publicAddress(): string | undefined;
  addressOf(id: string): Promise<string>;
  /** Of the API at its public address, as an administrator. Status 0 without an answer. */
  readonly ask: (method: string, path: string, body?: object) => Promise<Answer>;
  /** Ids of the instances of each call that was made and answered well. */
  calls(action: string): Promise<string[][]>;
  /** One line for each container of a job's instance: id, start and number of restarts. */
  jobContainers(instance: string): Promise<string>;
  /** Process of an instance's agent. */
  agent(instance: string): Promise<string>;
  dispose(): Promise<void>;
};

/** @param elsewhere what the user data of its instances speak of, where they are not the rehearsal's own */
export async function startRehearsal(elsewhere?: Place): Promise<Rehearsal> {
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
    const place = elsewhere ?? (await ownPlace(checkout));
    furnish({ name, work, place });
    const keys = await openKeys(join(work, 'cloud'));
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
        // What the local cloud imports, found from /checkout.
        `${join(import.meta.dirname, '../../node_modules')}:/node_modules:ro`,
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
    const OPTIONS = JSON.stringify(cloudOptionsOf(place));
    await start(cloud, { PORT: String(port), REGION: place.region, VPC: place.vpc ?? '', OPTIONS }, 'host');
    await start(`${name}-door`, { PORT: '80' }, name, 'door');
    await untilLogged(cloud, `cloud ${endpoint}`);
    const account = openAccount(endpoint, { keys, region: place.region });
    await fillBucket(account.s3, place);
    const all = { name, work, place, endpoint, keys, cloud, ...account };
    return { place, work, port, ...operations(all), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

type All = {
  name: string;
  work: string;
  place: Place;
  endpoint: string;
  keys: Keys;
  cloud: string;
  ec2: EC2Client;
  s3: S3Client;
};

function operations({ name, work, place, endpoint, keys, cloud, ec2, s3 }: All) {
  const ledger = async (): Promise<Ledger> => {
    const headers = { authorization: `Bearer ${keys.controlToken}` };
    return (await (await fetch(`${endpoint}/_local/ledger`, { headers })).json()) as Ledger;
  };
  const inCloud = async (...command: string[]): Promise<string> => await docker('exec', cloud, ...command);
  const publicAddress: Rehearsal['publicAddress'] = () => {
    const address = readIfThere(join(work, 'address'));
    return address === '' ? undefined : address;
  };
  return {
    launch: async (userData) => {
      const { Instances } = await ec2.send(
        new RunInstancesCommand({
          ImageId: createImages()[0]?.id,
          InstanceType: 't3.small',
          MinCount: 1,
          MaxCount: 1,
          UserData: Buffer.from(userData).toString('base64'),
          MetadataOptions: { HttpTokens: 'required', InstanceMetadataTags: 'enabled' },
        }),
      );
      return Instances?.[0]?.InstanceId ?? '';
    },
    terminate: async (id) => {
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    },
    state: async (id) => {
      const object = new GetObjectCommand({ Bucket: place.bucket, Key: `${place.bootPrefix}${id}.state` });
      const { Body } = await s3.send(object).catch(() => ({ Body: undefined }));
      return ((await Body?.transformToString()) ?? '').trim();
    },
    log: (id) => readIfThere(join(work, id, 'stack/boot.log')),
    stackOf: async (id) =>
      words(await docker('ps', '--filter', `label=com.docker.compose.project=${name}-${id}`, '--format', '{{.Names}}')),
    apiAddress: async () => words(await inCloud('getent', 'hosts', place.apiName))[0] ?? '',
    publicAddress,
    addressOf: async (id) => (await ledger()).instances.find((instance) => instance.id === id)?.privateIp ?? '',
    ask: async (method, path, body) => await askAt(publicAddress(), { method, path, body, place }),
    calls: async (action) =>
      (await ledger()).calls
        .filter((call) => call.action === action && call.outcome === 'ok')
        .map(({ instanceIds }) => instanceIds ?? []),
    jobContainers: async (instance) => {
      const ids = words(await docker('ps', '-aq', '--filter', `label=${INSTANCE_LABEL}=${instance}`));
      return await docker('inspect', '--format', '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}', ...ids);
    },
    agent: async (instance) => await inCloud('cat', `/tmp/instances/${instance}/pid`),
  } satisfies Partial<Rehearsal>;
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

type Ledger = {
  instances: { id: string; privateIp: string }[];
  calls: { action: string; outcome: string; instanceIds?: string[] }[];
};

function furnish({ name, work, place }: { name: string; work: string; place: Place }): void {
  writeShims(join(work, 'tools'), rehearsalShims(place));
  mkdirSync(join(work, 'ebs/volume'), { recursive: true });
  mkdirSync(join(work, 'cloud'));
  writeFileSync(join(work, 'address'), '');
  // As long as with the record in it: it is written in place.
  writeFileSync(join(work, 'hosts'), `127.0.0.1 localhost\n${' '.repeat(16 + place.apiName.length)}\n`);
  const image = `${APP_IMAGE}:${name}`;
  const front = place.vpc && `\n  front: { ipam: { config: [{ subnet: '\${FRONT_SUBNET}' }] } }`;
  writeFileSync(
    join(work, 'docker-compose.rehearsal.yml'),
    `services:
  scheduler:
    image: ${image}
    networks: [aws]
    environment: { AWS_ENDPOINT_URL: 'http://aws', IDENTITY_CERTIFICATES: ${IDENTITY_CERTIFICATE} }
    volumes: ['${work}/identity-certificate.pem:${IDENTITY_CERTIFICATE}:ro']
  settings: { image: '${image}' }
  agent-keys: { image: '${image}' }
networks:
  aws: { external: true, name: ${name} }${front ?? ''}
`,
  );
}

function cloudOptionsOf({ volumeId, subnetIds, securityGroupId }: Place): Partial<CloudOptions> {
  const networkIds = {
    ...(subnetIds && { subnets: subnetIds }),
    ...(securityGroupId && { securityGroup: securityGroupId }),
  };
  return { networkIds, volumes: { [volumeId]: VOLUME_GIB } };
}

function openAccount(endpoint: string, { keys, region }: { keys: Keys; region: string }) {
  const settings = { endpoint, region, credentials: keys };
  return { ec2: new EC2Client(settings), s3: new S3Client({ ...settings, forcePathStyle: true }) };
}

async function fillBucket(s3: S3Client, { bucket, objects }: Place): Promise<void> {
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  for (const [Key, Body] of objects) await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
}

/** A connection of its own each time, as an agent's curl makes one. */
async function askAt(
  host: string | undefined,
  { method, path, body, place }: { method: string; path: string; body: object | undefined; place: Place },
): Promise<Answer> {
  if (host === undefined) return { status: 0, text: 'nobody has the public address' };
  const json = body && JSON.stringify(body);
  const headers = {
    host: place.apiName,
    authorization: `Bearer ${place.adminToken}`,
    ...(json !== undefined && { 'content-type': 'application/json' }),
  };
  return await new Promise((done) => {
    const failed = (error: Error): void => done({ status: 0, text: error.message });
    const call = request({ host, method, path, headers, agent: false, timeout: PATIENCE_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', failed).on('end', () => done({ status: response.statusCode ?? 0, text }));
    });
    call.on('timeout', () => call.destroy(new Error('no answer'))).on('error', failed);
    call.end(json);
  });
}

async function untilLogged(container: string, text: string): Promise<void> {
  let log = '';
  const isLogged = async (): Promise<boolean> => (log = await docker('logs', container)).includes(text);
  await until(isLogged, 60_000, () => `${container} does not say "${text}":\n${log}`);
}

/** Everything whose name says that it is of this rehearsal; of its image the layers stay, which are the next one's cache. */
async function removeAll(name: string): Promise<void> {
  const filter = ['--filter', `name=${name}`, '-q'];
  const containers = words(await docker('ps', '-a', ...filter));
  if (containers.length > 0) await docker('rm', '-f', '-v', ...containers);
  const volumes = words(await docker('volume', 'ls', ...filter));
  if (volumes.length > 0) await docker('volume', 'rm', '-f', ...volumes);
  const networks = words(await docker('network', 'ls', ...filter));
  if (networks.length > 0) await docker('network', 'rm', ...networks);
  const image = `${APP_IMAGE}:${name}`;
  if (words(await docker('images', '-q', image)).length === 0) return;
  await docker('tag', image, `${APP_IMAGE}:latest`);
  await docker('rmi', image);
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}
