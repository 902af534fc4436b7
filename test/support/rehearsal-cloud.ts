// The AWS of a rehearsal (rehearsal.ts), run by Node itself in a container that has the host's network: the local cloud stays
// on loopback, where instances, their agents and their containers' ports are, too. A container's /etc/hosts is the DNS
// of the agents, which are processes of this container: what it says about the API's name is theirs to look up again.
//
//   (no argument)   the cloud, with the options in OPTIONS
//   door            in a network of the stacks: brings what arrives there to the cloud, by a socket in the shared folder
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { clientEnvironment, openKeys, type Keys } from '../../local/cloud/keys.ts';
import { type CloudOptions, startLocalCloud } from '../../local/cloud/local-cloud.ts';
import type { BootedInstance, InstanceRuntime } from '../../local/cloud/runtime.ts';
import { callEngine } from '../../local/instances/docker-engine.ts';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';

const ENGINE = '/var/run/docker.sock';
const { WORK = '', NAME = '', IMAGE = '', PORT = '', REGION = '', OPTIONS = '{}', VPC = '' } = process.env;
const SOCKET = join(WORK, 'cloud.sock');

if (process.argv[2] === 'door') forward(() => connect(SOCKET)).listen(Number(PORT));
else await serve();

async function serve(): Promise<void> {
  const stateDir = join(WORK, 'cloud');
  // Made by the process that started this, which is a client as well.
  const keys = await openKeys(stateDir);
  const runtime = byUserData(
    apiInstances(keys),
    createDockerRuntime({ engineSocket: ENGINE, folder: '/tmp/instances' }),
  );
  const cloud = await startLocalCloud({
    port: Number(PORT),
    region: REGION,
    ...(JSON.parse(OPTIONS) as Pick<CloudOptions, 'networkIds' | 'volumes'>),
    // The door's name in the network of the stacks.
    hosts: ['aws'],
    stateDir,
    bootMs: 200,
    visibilityMs: 100,
    seed: 1,
    runtime,
  });
  await writeFile(join(WORK, 'identity-certificate.pem'), cloud.identityCertificatePem);
  forward(() => connect(Number(PORT), '127.0.0.1')).listen(SOCKET, () => console.log(`cloud ${cloud.endpoint}`));
  process.once('SIGTERM', () => void cloud.stop().then(() => process.exit(0)));
}

/** bash is the API's, sh the agent's. */
function byUserData(ofTheApi: InstanceRuntime, ofJobs: InstanceRuntime): InstanceRuntime {
  return {
    open: async (cloud) => await ofJobs.open?.(cloud),
    boot: async (instance) => await (instance.userData.startsWith('#!/bin/bash\n') ? ofTheApi : ofJobs).boot(instance),
    halt: async (id, how) => {
      await Promise.all([ofTheApi.halt(id, how), ofJobs.halt(id, how)]);
    },
    close: async () => await ofJobs.close?.(),
  };
}

/** Each a container with the host's engine, which runs its user data as cloud-init does. Stopped, it is gone for good. */
function apiInstances(keys: Keys): InstanceRuntime {
  let next = randomInt(256);
  const nameOf = (id: string): string => `${NAME}-${id}`;
  const must = async (path: string, body?: object): Promise<void> => {
    const { status, text } = await callEngine(ENGINE, { method: 'POST', path, body });
    if (status >= 300) throw new Error(`POST ${path}: ${status} ${text}`);
  };
  return {
    boot: async (instance) => {
      // Each stack's own, of those that user data may call the VPC's.
      next = (next + 1) % 256;
      const subnet = `${VPC}.${next}.0/24`;
      await must(`/containers/create?name=${nameOf(instance.id)}`, {
        Image: IMAGE,
        Cmd: ['bash', '-c', CLOUD_INIT],
        Env: Object.entries(environment(instance, { keys, subnet })).map(([name, value]) => `${name}=${value}`),
        Labels: { [NAME]: '' },
        HostConfig: { NetworkMode: 'host', Init: true, Binds: [`${WORK}:${WORK}`, `${ENGINE}:${ENGINE}`] },
      });
      await must(`/containers/${nameOf(instance.id)}/start`);
    },
    halt: async (id) => {
      await callEngine(ENGINE, { method: 'DELETE', path: `/containers/${nameOf(id)}?force=1&v=1` });
    },
  };
}

const CLOUD_INIT = `
  token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/api/token")
  curl -fsS -H "X-aws-ec2-metadata-token: $token" "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/user-data" | gunzip >/root/user-data
  chmod 700 /root/user-data && /root/user-data
  exec sleep infinity`;

function environment(
  { id, privateIp, metadataEndpoint }: BootedInstance,
  { keys, subnet }: { keys: Keys; subnet: string },
): Record<string, string> {
  return {
    PATH: `${join(WORK, 'tools')}:${process.env['PATH']}`,
    WORK,
    INSTANCE: id,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataEndpoint,
    AWS_ENDPOINT_URL: `http://127.0.0.1:${PORT}`,
    ...clientEnvironment(keys, REGION),
    // Paths mean the same to the host's engine, which mounts them into the stack's containers.
    STACK_DIR: join(WORK, id, 'stack'),
    STACK_DATA_DIR: join(WORK, id, 'data'),
    // One engine, one host: stacks need names and addresses of their own.
    COMPOSE_PROJECT: `${NAME}-${id}`,
    HTTP_ADDRESS: privateIp,
    AGENT_ADDRESS: privateIp,
    READY_URL: `http://${privateIp}/health/ready`,
    FRONT_SUBNET: subnet,
  };
}

function forward(open: () => Socket): Server {
  return createServer((inner) => {
    const outer = open();
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      one.pipe(other);
      one.on('error', () => other.destroy());
    }
  });
}
